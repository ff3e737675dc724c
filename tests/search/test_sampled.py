"""A sampled set of paths: drawn by beta, computed alone, and differentiable in the probabilities of its edges."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional

from cinert.paths import legal_edges, union, walk
from latency.cost import Relaxed, SpaceCosts
from latency.cost_cell import node_rows
from latency.cost_flow import edge_marginals
from search.loop import Search, read_supernet
from search.methods import RELAXED
from search.mixed_cell import MixedCell, live_weights
from search.relaxation import ArchParameters
from search.sampled import draw_mixture, draw_ops, draw_paths, straight_through
from search.supernet import Supernet


def test_paths_are_drawn_by_beta(tiny, randomised, lut):
    parameters = randomised(ArchParameters(tiny), 1)
    costs = SpaceCosts.from_lut(lut, tiny)
    edges = parameters.relax().edges.detach()
    drawn = draw_paths(costs.edges, edges, 3000, np.random.default_rng(0))
    crossed = Counter(edge for path in drawn for edge in walk(path))
    found = torch.tensor([crossed[edge] / 3000 for edge in costs.edges])
    # Standard error below 0.01.
    torch.testing.assert_close(found, edge_marginals(costs, edges), atol=0.04, rtol=0)


def test_only_the_sampled_cells_are_computed_and_learn(either, randomised):
    supernet, parameters = Supernet(either), randomised(ArchParameters(either), 0)
    only = union([("ct", "ep", "ns"), ("ns", "skip", "ns")])
    logits = supernet(torch.randn(1, 1, *either.input_shape_DHW), straight_through(parameters.relax()), only)
    (logits * torch.randn_like(logits)).sum().backward()
    learnt = {name for name, cell in supernet.cells.items() if any(p.grad is not None for p in cell.parameters())}
    assert learnt == {f"l{edge.layer}_s{edge.source}_{edge.kind}" for edge in only if edge.kind != "skip"}
    assert all(p.grad is None for name, cell in supernet.cells.items() if name not in learnt for p in cell.parameters())
    assert float(parameters.beta.grad.abs().max()) > 0


def test_sampled_edges_weigh_one_as_in_the_decoded_network(tiny):
    """The supernet on two paths, with one-hot cells and no partial channels, runs the vertices of the network."""
    torch.manual_seed(0)
    supernet = Supernet(tiny).eval()
    x = torch.randn(1, 1, *tiny.input_shape_DHW)
    edges = legal_edges(tiny.layers, tiny.scales)
    relaxed = straight_through(ArchParameters(tiny).relax())
    assert torch.equal(relaxed.edges, torch.ones(len(edges)))
    skips = union([("skip", "skip", "skip")])
    torch.testing.assert_close(supernet(x, relaxed, skips), supernet.head(supernet.stem(x)))
    two = union([("ns", "skip", "skip"), ("skip", "skip", "skip")])
    live = live_weights(relaxed.cells)["ns"]
    cell = supernet.cells["l0_s0_ns"](supernet.stem(x), relaxed.cells["ns"], live, torch.tensor(1.0))
    torch.testing.assert_close(supernet(x, relaxed, two), supernet.head(supernet.stem(x) + cell))
    zeros = Relaxed(relaxed.cells, torch.zeros(len(edges)))
    torch.testing.assert_close(supernet(x, zeros, skips), supernet.head(0 * supernet.stem(x)))


def choices(nodes, ops):
    """Every way to give each node one (input, op) pair, as places in its rows."""
    return itertools.product(*(range((node + 1) * ops) for node in range(nodes)))


def test_one_op_a_node_is_drawn_by_its_probability(either, randomised):
    weights = randomised(ArchParameters(either), 2).relax().cells["ns"]
    rng = np.random.default_rng(0)
    drawn = torch.stack([draw_ops(weights, rng) for _ in range(3000)]).detach()
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(drawn[:, 0].sum(dim=1), torch.ones(3000))
    assert torch.equal(drawn[:, 1:].sum(dim=(1, 2)), torch.ones(3000))
    # Standard error below 0.01.
    torch.testing.assert_close(drawn.mean(0), weights.detach(), atol=0.04, rtol=0)


class Given:
    """Draws what it is told to."""

    def __init__(self, picks):
        self.picks = iter(picks)

    def choice(self, n, p):
        return next(self.picks)


def test_the_mean_gradient_over_draws_is_that_of_the_expected_loss(either, randomised):
    """One node, a loss linear in the cell's output: every draw, weighted by its probability, against Eq. 1."""
    space = dataclasses.replace(either, nodes=1)
    torch.manual_seed(0)
    cell = MixedCell(space, "ns", 0).double()
    parameters = randomised(ArchParameters(space), 3).double()
    x = torch.randn(2, space.vertex_channels(0), *space.shapes_DHW[0], dtype=torch.float64)
    direction = torch.randn_like(x)
    leaves = [parameter for name, parameter in parameters.named_parameters() if name.endswith("ns")]

    def gradient(weights):
        loss = (cell(x, weights, live_weights({"ns": weights})["ns"], torch.tensor(1.0)) * direction).sum()
        return torch.autograd.grad(loss, leaves, materialize_grads=True)

    exact = gradient(parameters.relax().cells["ns"])
    probabilities = parameters.relax().cells["ns"].detach().flatten()
    draws = [gradient(draw_ops(parameters.relax().cells["ns"], Given([pick]))) for pick in range(len(space.ops))]
    mean = [sum(p * part for p, part in zip(probabilities, parts, strict=True)) for parts in zip(*draws, strict=True)]
    for found, expected in zip(mean, exact, strict=True):
        torch.testing.assert_close(found, expected)
    # Gamma has one input to choose from, alpha has to learn.
    assert any(bool(expected.any()) for expected in exact)


def test_drawn_ops_follow_the_exact_gradient_of_the_expected_loss(tiny, randomised):
    """Two nodes, batch norm between them, cross-entropy: the mean over all draws points where the exact one does."""
    space = dataclasses.replace(tiny, relaxation="joint")
    torch.manual_seed(0)
    supernet = Supernet(space).double()
    parameters = randomised(ArchParameters(space), 4, scale=0.5).double()
    x = torch.randn(2, 1, *space.input_shape_DHW, dtype=torch.float64)
    labels = torch.randint(0, 4, (2, *space.input_shape_DHW))
    only = frozenset(union([("ns", "skip", "skip")]))
    alpha = parameters.alpha["ns"]
    mean, exact = torch.zeros_like(alpha), torch.zeros_like(alpha)
    for picks in choices(space.nodes, len(space.ops)):
        relaxed = parameters.relax()
        weights = draw_ops(relaxed.cells["ns"], Given(picks))
        sampled = Relaxed({**relaxed.cells, "ns": weights}, torch.ones_like(relaxed.edges))
        loss = functional.cross_entropy(supernet(x, sampled, only), labels)
        probability = torch.stack(
            [relaxed.cells["ns"][node_rows(node)].flatten()[pick] for node, pick in enumerate(picks)]
        ).prod()
        exact += torch.autograd.grad(probability * loss.detach(), alpha, retain_graph=True)[0]
        mean += probability.detach() * torch.autograd.grad(loss, alpha)[0]
    assert float(functional.cosine_similarity(mean.flatten(), exact.flatten(), dim=0)) > 0.8


@pytest.mark.parametrize("mixture", ["full", "sampled", "sampled-ops"])
def test_a_sample_is_what_the_mixture_says(tiny, randomised, lut, mixture):
    relaxed = randomised(ArchParameters(tiny), 5).relax()
    edges = SpaceCosts.from_lut(lut, tiny).edges
    drawn, only = draw_mixture(mixture, relaxed, edges, 2, np.random.default_rng(0))
    assert (only is None) == (mixture == "full")
    assert (drawn.cells is relaxed.cells) == (mixture != "sampled-ops")
    again, same = draw_mixture(mixture, relaxed, edges, 2, np.random.default_rng(0))
    assert same == only
    assert all(torch.equal(drawn.cells[kind], again.cells[kind]) for kind in drawn.cells)


def test_ops_that_were_not_drawn_do_not_learn(tiny, randomised):
    supernet, parameters = Supernet(tiny), randomised(ArchParameters(tiny), 0)
    relaxed = parameters.relax()
    # Of tiny's two nodes the first takes conv, the second separable from the first.
    conv, separable = tiny.ops.index("conv"), len(tiny.ops) + tiny.ops.index("separable")
    weights = {kind: draw_ops(relaxed.cells[kind], Given([conv, separable])) for kind in relaxed.cells}
    only = frozenset(union([("ns", "skip", "skip")]))
    logits = supernet(torch.randn(1, 1, *tiny.input_shape_DHW), Relaxed(weights, relaxed.edges), only)
    (logits * torch.randn_like(logits)).sum().backward()
    learnt = {
        name.rsplit(".", 2)[0] for name, p in supernet.named_parameters() if ".wide." in name and p.grad is not None
    }
    assert learnt == {"cells.l0_s0_ns.wide.i0_conv", "cells.l0_s0_ns.wide.i1_separable"}


@pytest.mark.parametrize("mixture", ["sampled", "sampled-ops"])
def test_a_sampled_search_learns_and_leaves_the_same_behind(tiny, lut, fold, mixture):
    settings = dataclasses.replace(
        RELAXED["zeng2020"], epochs=4, mixture=mixture, latency_term="union", loss="lagrangian", latency_weight=None
    ).settings(budget_ms=4.0, batch_size=4)
    states = []
    for _ in range(2):
        search = Search(tiny, SpaceCosts.from_lut(lut, tiny), fold.train, settings, torch.device("cpu"))
        reports = []
        while not search.finished:
            reports.append(search.run_epoch())
        states.append(search.architecture.state_dict())
        assert reports[1].multiplier is None
        assert all(report.multiplier > 0 for report in reports[2:])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert states[0]["beta"].any()


@pytest.mark.parametrize("method", ["cinert", "rtdnas", "msnas"])
def test_a_search_that_stops_anywhere_ends_the_same(tmp_path, tiny, lut, fold, method):
    """Multiplier, momentum, and cells that no sample has met are put back."""
    chosen = RELAXED[method].choose({"epochs": 4})
    space = chosen.searched(tiny)
    told = {"paths": 2, "seed": 0, "batch_size": 5, "learning_rate": 0.01}
    settings = chosen.settings(budget_ms=6.0, **told)

    def begin():
        return Search(space, SpaceCosts.from_lut(lut, space), fold.train, settings, torch.device("cpu"))

    whole, first = begin(), begin()
    while not whole.finished:
        whole.run_epoch()
    for _ in range(3):
        first.run_epoch()
    first.save(tmp_path / "supernet.safetensors", {})
    second = begin()
    second.restore(read_supernet(tmp_path / "supernet.safetensors"))
    second.run_epoch()
    for part in ("architecture", "supernet"):
        expected, found = (getattr(search, part).state_dict() for search in (whole, second))
        assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
