"""Zeng's path-wise term against values worked out by hand, and its gradient against finite differences."""

import pytest
import torch

from cinert.arch import Arch, live_edges
from cinert.paths import legal_edges
from cinert.sampling import random_arch
from latency.cost import Relaxed, SpaceCosts, cell_ms, path_wise_ms
from latency.estimate import estimate

# Rows of a cell with three nodes: (node, input) = (0,0) (1,0) (1,1) (2,0) (2,1) (2,2).
ROWS = [(node, source) for node in range(3) for source in range(node + 1)]


def one_hot(space, arch):
    """The relaxed form of a decoded architecture."""
    cells = {}
    for kind in ("ct", "ns", "ep"):
        weights = torch.zeros(len(ROWS), len(space.ops), dtype=torch.float64)
        for node, edges in enumerate(arch.cells[kind]):
            for edge in edges:
                weights[ROWS.index((node, edge.input)), space.ops.index(edge.op)] = 1
        cells[kind] = weights
    return Relaxed(cells, torch.ones(len(legal_edges(space.layers, space.scales)), dtype=torch.float64))


def test_uniform_weights_by_hand(two_layers, lut):
    """Every node splits its weight evenly over its inputs and six ops."""
    costs = SpaceCosts.from_lut(lut, two_layers)
    uniform = torch.tensor([[1 / (node + 1) / 6] * 6 for node, _ in ROWS], dtype=torch.float64)
    edges = legal_edges(2, 2)
    relaxed = Relaxed(dict.fromkeys(("ct", "ns", "ep"), uniform), torch.full((len(edges),), 1 / 3, dtype=torch.float64))
    # Mean op at scale 0: (4 + 5 + 2 + 1.5 + 0.1 + 0) / 6; each of three nodes pays one mean op.
    mean_op = 12.6 / 6
    cells = cell_ms(costs, relaxed)
    assert float(cells["ns", 0]) == pytest.approx(0.6 + 0.3 + 3 * mean_op)
    assert float(cells["ct", 0]) == pytest.approx((0.7 + 0.3 + 3 * mean_op) * 0.25)
    assert float(cells["ep", 1]) == pytest.approx(0.9 + 0.3 + 3 * mean_op)
    fixed = 1.0 + 0.5 + 0.25
    down_up = fixed + (float(cells["ct", 0]) + float(cells["ep", 1])) / 3
    flat_skip = fixed + float(cells["ns", 0]) / 3
    paths = [("ct", "ep"), ("ns", "skip")]
    assert float(path_wise_ms(costs, relaxed, paths[:1])) == pytest.approx(down_up)
    assert float(path_wise_ms(costs, relaxed, paths)) == pytest.approx(down_up + flat_skip)


def test_gamma_weighs_the_inputs(two_layers, lut):
    """Weight moved from a dear op on one input to a cheap op on another moves the cost by their difference."""
    costs = SpaceCosts.from_lut(lut, two_layers)
    weights = torch.zeros(len(ROWS), 6, dtype=torch.float64)
    weights[ROWS.index((1, 0)), 0] = 0.75  # conv
    weights[ROWS.index((1, 1)), 3] = 0.25  # maxpool
    relaxed = Relaxed(
        dict.fromkeys(("ct", "ns", "ep"), weights), torch.ones(len(legal_edges(2, 2)), dtype=torch.float64)
    )
    assert float(cell_ms(costs, relaxed)["ns", 0]) == pytest.approx(0.9 + 0.75 * 4.0 + 0.25 * 1.5)


def test_zero_costs_nothing(two_layers, lut):
    costs = SpaceCosts.from_lut(lut, two_layers)
    assert two_layers.ops[-1] == "zero"
    assert costs.op_ms[:, -1].tolist() == [0.0, 0.0]
    assert (costs.op_ms[:, :-1] > 0).all()


@pytest.mark.parametrize("seed", range(8))
def test_one_hot_equals_the_sum_of_the_paths_estimates(two_layers, lut, seed):
    drawn = random_arch(two_layers, seed, paths=2)
    # An op that reads an empty node is not deployed, and decoding drops it; so does this test.
    cells = {kind: live_edges(cell) for kind, cell in drawn.cells.items()}
    arch = Arch(space=two_layers, cells=cells, paths=drawn.paths)
    costs = SpaceCosts.from_lut(lut, two_layers)
    alone = [estimate(Arch(space=two_layers, cells=cells, paths=(path,)), lut).ms for path in arch.paths]
    assert float(path_wise_ms(costs, one_hot(two_layers, arch), arch.paths)) == pytest.approx(sum(alone), abs=1e-9)


def test_gradients_by_finite_differences(two_layers, lut):
    costs = SpaceCosts.from_lut(lut, two_layers)
    generator = torch.Generator().manual_seed(0)
    edges = legal_edges(2, 2)
    alpha = torch.randn(3, len(ROWS), 6, dtype=torch.float64, generator=generator, requires_grad=True)
    gamma = torch.randn(3, len(ROWS), dtype=torch.float64, generator=generator, requires_grad=True)
    beta = torch.randn(len(edges), dtype=torch.float64, generator=generator, requires_grad=True)

    def latency(alpha, gamma, beta):
        cells = {}
        for position, kind in enumerate(("ct", "ns", "ep")):
            parts = [torch.softmax(gamma[position, start:stop], 0) for start, stop in ((0, 1), (1, 3), (3, 6))]
            cells[kind] = torch.cat(parts)[:, None] * torch.softmax(alpha[position], -1)
        leaving = [
            [e for e, edge in enumerate(edges) if (edge.layer, edge.source) == v] for v in ((0, 0), (1, 0), (1, 1))
        ]
        probabilities = torch.cat([torch.softmax(beta[indices], 0) for indices in leaving])
        order = torch.tensor([index for indices in leaving for index in indices])
        relaxed = Relaxed(cells, torch.zeros(len(edges), dtype=torch.float64).index_copy(0, order, probabilities))
        return path_wise_ms(costs, relaxed, [("ct", "ep"), ("ns", "ns")])

    assert torch.autograd.gradcheck(latency, (alpha, gamma, beta))
    latency(alpha, gamma, beta).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in (alpha, gamma, beta))
