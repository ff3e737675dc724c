"""The supernet computes what Zeng's equations say, however it is made fast."""

import dataclasses

import pytest
import torch
from torch.nn import functional

from latency.cost import Relaxed
from search.max_pool import max_pool
from search.mixed_cell import MixedCell, live_weights
from search.relaxation import ArchParameters, cell_inputs
from search.scaled import scaled_concatenation
from search.supernet import Supernet


def plain_cell(cell, x, weights):
    """Zeng 2020, Eq. 1 and 4, edge by edge and op by op, with a shuffle after each node."""
    states = [cell.preprocessing(x)]
    rows = dict(zip(cell_inputs(cell.nodes), weights, strict=True))
    for node in range(cell.nodes):
        total = 0
        for input_ in range(node + 1):
            part, rest = states[input_][:, : cell.channels], states[input_][:, cell.channels :]
            mixed = torch.zeros_like(part)
            for op, weight in zip(cell.ops, rows[node, input_], strict=True):
                mixed = mixed + weight * plain_op(cell, op, input_, node, part)
            total = total + torch.cat([mixed, rows[node, input_].sum() * rest], dim=1)
        b, c, *size = total.shape
        states.append(total.view(b, cell.parts, c // cell.parts, *size).transpose(1, 2).reshape(b, c, *size))
    return torch.cat(states[1:], dim=1)


def plain_op(cell, op, input_, node, x):
    if op == "zero":
        return torch.zeros_like(x)
    if op == "identity":
        return x
    if op == "maxpool":
        return functional.max_pool3d(x, 3, stride=1, padding=1)
    wide, c = cell.wide[f"i{input_}_{op}"], cell.channels
    mine = slice((node - input_) * c, (node - input_ + 1) * c)
    if op == "separable":
        x = functional.conv3d(x, wide.depthwise.weight[mine], padding=1, groups=c)
        x = functional.conv3d(x, wide.convolution.weight[mine])
    else:
        dilation = 2 if op == "dilated" else 1
        x = functional.conv3d(x, wide.convolution.weight[mine], padding=dilation, dilation=dilation)
    return functional.relu(functional.batch_norm(x, None, None, training=True, eps=1e-5))


def run(cell, x, weights):
    return cell(x, weights, live_weights({"ns": weights})["ns"], torch.tensor(1.0))


@pytest.mark.parametrize("kind", ["ct", "ns", "ep"])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_cell_equals_the_equations(tiny, randomised, kind, parts):
    space = dataclasses.replace(tiny, partial_channels=parts, nodes=3)
    source = {"ct": 0, "ns": 1, "ep": 1}[kind]
    torch.manual_seed(0)
    cell = MixedCell(space, kind, source).double()
    weights = randomised(ArchParameters(space), 4).double().relax().cells[kind]
    x = torch.randn(2, space.vertex_channels(source), *space.shapes_DHW[source], dtype=torch.float64)
    found, expected = run(cell, x, weights), plain_cell(cell, x, weights)
    torch.testing.assert_close(found, expected)
    # The same gradient too: the probability is the batch norm's scale, and must be learnt as a weight.
    direction = torch.randn_like(expected)
    leaves = [weights.detach().requires_grad_(), x.requires_grad_(), *cell.parameters()]
    fast = torch.autograd.grad((run(cell, x, leaves[0]) * direction).sum(), leaves)
    slow = torch.autograd.grad((plain_cell(cell, x, leaves[0]) * direction).sum(), leaves)
    torch.testing.assert_close(fast, slow)


def test_scaled_concatenation_has_the_gradient_of_a_product():
    torch.manual_seed(0)
    features = [torch.randn(2, width, 2, 3, 2, dtype=torch.float64, requires_grad=True) for width in (1, 3)]
    scale = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(scaled_concatenation(features, scale), torch.cat(features, dim=1) * scale)
    assert torch.autograd.gradcheck(lambda scale, *parts: scaled_concatenation(parts, scale), (scale, *features))
    assert scaled_concatenation([features[0][:0], features[1][:0]], scale).shape == (0, 4, 2, 3, 2)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 6), (1, 2, 1, 3, 2)])
def test_max_pool_by_axes_is_max_pool(shape):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    found, expected = max_pool(x), functional.max_pool3d(x, 3, stride=1, padding=1)
    assert torch.equal(found, expected)
    direction = torch.randn_like(x)
    fast, slow = (torch.autograd.grad((pooled * direction).sum(), x)[0] for pooled in (found, expected))
    torch.testing.assert_close(fast, slow)


def test_equal_maxima_pass_the_gradient_on_once():
    x = torch.ones(1, 1, 3, 4, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(max_pool(x).sum(), x)
    assert float(gradient.sum()) == x.numel()
    # Of equal ones the first counts, as in torch: the voxel at the origin has the eight windows about it.
    assert torch.equal(gradient, torch.autograd.grad(functional.max_pool3d(x, 3, 1, 1).sum(), x)[0])


def test_zero_contributes_nothing(tiny):
    """All weight on zero: only the channels that skip the ops are left."""
    cell = MixedCell(tiny, "ns", 0)
    weights = torch.zeros(3, len(tiny.ops))
    weights[:, tiny.ops.index("zero")] = torch.tensor([1.0, 0.5, 0.5])
    x = torch.randn(1, tiny.vertex_channels(0), *tiny.shapes_DHW[0])
    first = run(cell, x, weights)[:, : tiny.widths[0]]
    state = cell.preprocessing(x)
    # Shuffled in two groups: computed channels at even places, untouched ones at odd places.
    assert not first[:, 0::2].any()
    torch.testing.assert_close(first[:, 1::2], state[:, 2:])


def test_an_edge_without_probability_changes_nothing(tiny):
    torch.manual_seed(0)
    net = Supernet(tiny).eval()
    x = torch.randn(1, 1, *tiny.input_shape_DHW)
    relaxed = ArchParameters(tiny).relax()
    edges = relaxed.edges.detach().clone()
    gone = next(number for number, edge in enumerate(net.edges) if edge.kind == "ct")
    edges[gone] = 0
    before = net(x, Relaxed(relaxed.cells, edges))
    with torch.no_grad():
        for parameter in net.cells["l0_s0_ct"].parameters():
            parameter.mul_(3)
    assert before.shape == (1, 4, *tiny.input_shape_DHW)
    torch.testing.assert_close(net(x, Relaxed(relaxed.cells, edges)), before)
    assert not torch.equal(net(x, relaxed), before)


def test_every_parameter_receives_a_gradient(either):
    net, parameters = Supernet(either), ArchParameters(either)
    logits = net(torch.randn(2, 1, *either.input_shape_DHW), parameters.relax())
    (logits * torch.randn_like(logits)).sum().backward()
    untouched = [
        name
        for module in (net, parameters)
        for name, parameter in module.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert untouched == []


def test_cells_that_are_run_again_for_their_gradient_have_the_same_one(either, randomised):
    torch.manual_seed(0)
    net, parameters = Supernet(either).double(), randomised(ArchParameters(either), 6).double()
    again = Supernet(either, checkpoints=True).double()
    again.load_state_dict(net.state_dict())
    x = torch.randn(2, 1, *either.input_shape_DHW, dtype=torch.float64)
    direction = torch.randn(2, 4, *either.input_shape_DHW, dtype=torch.float64)
    kept, recomputed = (
        torch.autograd.grad(
            (one(x, parameters.relax()) * direction).sum(), [*one.parameters(), *parameters.parameters()]
        )
        for one in (net, again)
    )
    for found, expected in zip(recomputed, kept, strict=True):
        torch.testing.assert_close(found, expected)
    assert not any("running" in name for name in net.state_dict())
