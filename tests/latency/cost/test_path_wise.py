"""Zeng's path-wise term against values worked out by hand, and its gradient against finite differences."""

import dataclasses

import pytest
import torch

from cinert.arch import Arch, NodeEdge, live_edges
from cinert.errors import BadInputError
from cinert.paths import legal_edges
from cinert.sampling import random_arch
from latency.cost import Relaxed, SpaceCosts, cell_ms, path_wise_ms
from latency.estimate import estimate

# Rows of a cell with three nodes: (node, input) = (0,0) (1,0) (1,1) (2,0) (2,1) (2,2).
ROWS = [(node, source) for node in range(3) for source in range(node + 1)]


def test_uniform_weights_by_hand(two_layers, lut):
    """Every node splits its weight evenly over its inputs and six ops."""
    costs = SpaceCosts.from_lut(lut, two_layers)
    uniform = torch.tensor([[1 / (node + 1) / 6] * 6 for node, _ in ROWS], dtype=torch.float64)
    edges = legal_edges(2, 2)
    relaxed = Relaxed(dict.fromkeys(("ct", "ns", "ep"), uniform), torch.full((len(edges),), 1 / 3, dtype=torch.float64))
    # Mean op at scale 0: (4 + 5 + 2 + 1.5 + 0.1 + 0) / 6; each of three nodes pays one mean op.
    mean_op = 12.6 / 6
    cells = cell_ms(costs, relaxed.cells)
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
    assert float(cell_ms(costs, relaxed.cells)["ns", 0]) == pytest.approx(0.9 + 0.75 * 4.0 + 0.25 * 1.5)


def test_zero_costs_nothing(two_layers, lut):
    costs = SpaceCosts.from_lut(lut, two_layers)
    assert two_layers.ops[-1] == "zero"
    assert costs.op_ms[:, -1].tolist() == [0.0, 0.0]
    assert (costs.op_ms[:, :-1] > 0).all()


@pytest.mark.parametrize("seed", range(8))
def test_one_hot_equals_the_sum_of_the_paths_estimates(two_layers, lut, one_hot_cells, seed):
    drawn = random_arch(two_layers, seed, paths=2)
    # An op that reads an empty node is not deployed, and decoding drops it; so does this test.
    cells = {kind: live_edges(cell) for kind, cell in drawn.cells.items()}
    arch = Arch(space=two_layers, cells=cells, paths=drawn.paths)
    costs = SpaceCosts.from_lut(lut, two_layers)
    edges = torch.ones(len(costs.edges), dtype=torch.float64)
    alone = [estimate(Arch(space=two_layers, cells=cells, paths=(path,)), lut).ms for path in arch.paths]
    assert float(path_wise_ms(costs, Relaxed(one_hot_cells(arch), edges), arch.paths)) == pytest.approx(
        sum(alone), abs=1e-9
    )


def test_several_edges_of_a_node_pay_their_additions(two_layers, lut, one_hot_cells, price_additions):
    cell = ((NodeEdge(0, "conv"), NodeEdge(0, "maxpool")), (NodeEdge(0, "conv"), NodeEdge(1, "conv")), ())
    arch = Arch(space=two_layers, cells=dict.fromkeys(("ct", "ns", "ep"), cell), paths=(("ct", "ep"),))
    priced = price_additions(lut)
    costs = SpaceCosts.from_lut(priced, two_layers)
    relaxed = Relaxed(one_hot_cells(arch), torch.ones(len(costs.edges), dtype=torch.float64))
    assert float(cell_ms(costs, relaxed.cells)["ns", 0]) == pytest.approx(0.9 + 3 * 4.0 + 1.5 + 2 * 0.05)
    assert float(path_wise_ms(costs, relaxed, arch.paths)) == pytest.approx(estimate(arch, priced).ms, abs=1e-9)
    with pytest.raises(BadInputError, match="several edges"):
        cell_ms(SpaceCosts.from_lut(lut, two_layers), relaxed.cells)


def test_an_unknown_composition_is_refused(two_layers, lut):
    other = dataclasses.replace(lut, prices=dataclasses.replace(lut.prices, composition="product"))
    with pytest.raises(BadInputError, match="'product'"):
        SpaceCosts.from_lut(other, two_layers)


def test_gradients_by_finite_differences(two_layers, lut, relax, parameters):
    costs = SpaceCosts.from_lut(lut, two_layers)

    def latency(alpha, gamma, beta):
        return path_wise_ms(costs, relax(costs, alpha, gamma, beta), [("ct", "ep"), ("ns", "ns")])

    alpha, gamma, beta = parameters(costs)
    assert torch.autograd.gradcheck(latency, (alpha, gamma, beta))
    latency(alpha, gamma, beta).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in (alpha, gamma, beta))


def test_estimate_of_a_union_by_hand(two_layers, lut):
    """Two paths share their contracting cell; they meet once at scale 0, and pay one addition there."""
    cell = ((NodeEdge(0, "conv"),), (), (NodeEdge(0, "identity"),))
    arch = Arch(space=two_layers, cells=dict.fromkeys(("ct", "ns", "ep"), cell), paths=(("ct", "ep"), ("ns", "skip")))
    result = estimate(arch, lut)
    down = (0.7 + 0.3 + 4.0 + 0.1) * 0.25
    up = 0.9 + 0.3 + 4.0 + 0.1
    flat = 0.6 + 0.3 + 4.0 + 0.1
    assert result.ms == pytest.approx(0.25 + 1.0 + 0.5 + down + up + flat + 0.2)
    assert sum(result.parts.values()) == pytest.approx(result.ms)
    assert (result.low_ms, result.high_ms) == pytest.approx((0.9 * result.ms, 1.1 * result.ms))
    assert result.throughput_fps == pytest.approx(1000 * 1.2 / result.ms)
