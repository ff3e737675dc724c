"""Zeng's path-wise term against values worked out by hand, and its gradient against finite differences."""

import dataclasses

import pytest
import torch

from cinert.arch import Arch, NodeEdge
from cinert.paths import CELL_KINDS
from cinert.sampling import random_arch
from latency.cost import Relaxed, SpaceCosts, path_wise_ms
from latency.cost_cell import node_count
from latency.estimate import estimate

# Rows of a cell with three nodes: (node, input) = (0,0) (1,0) (1,1) (2,0) (2,1) (2,2).
ROWS = [(node, source) for node in range(3) for source in range(node + 1)]
WEIGHTED = ("conv", "dilated", "separable")


@pytest.fixture
def costs(two_layers, lut):
    return SpaceCosts.from_lut(lut, two_layers)


@pytest.fixture
def weighted(two_layers, lut_of):
    """Ops that leave no node empty and repeat nothing."""
    space = dataclasses.replace(two_layers, ops=WEIGHTED)
    return SpaceCosts.from_lut(lut_of(space), space)


def test_uniform_weights_by_hand(weighted):
    """Every node splits its weight evenly over its inputs and three ops."""
    uniform = torch.tensor([[1 / (node + 1) / 3] * 3 for node, _ in ROWS], dtype=torch.float64)
    relaxed = Relaxed(
        dict.fromkeys(CELL_KINDS, uniform), torch.full((len(weighted.edges),), 1 / 3, dtype=torch.float64)
    )
    # Mean op at scale 0: (4 + 5 + 2) / 3; each of three nodes pays one, all three are read and joined.
    ops = 3 * 11 / 3
    flat = 0.6 * 1.024 + ops + 0.3
    down = (0.7 * 1.024 + ops + 0.3) * 0.25
    up = 0.9 * 1.048 + ops + 0.3
    ends = 1.25 + 0.5 * 1.024
    one = path_wise_ms(weighted, relaxed, [("ct", "ep")])
    assert float(one) == pytest.approx(ends + (down + up) / 3)
    two = path_wise_ms(weighted, relaxed, [("ct", "ep"), ("ns", "skip")])
    assert float(two) == pytest.approx(2 * ends + (down + up + flat) / 3)


def test_gamma_weighs_the_inputs(weighted):
    """Weight moved from a dear op on one input to a cheap op on another moves the cost by their difference."""
    edges = torch.ones(len(weighted.edges), dtype=torch.float64)

    def cost(dear, cheap):
        weights = torch.zeros(len(ROWS), 3, dtype=torch.float64)
        weights[ROWS.index((0, 0)), 0] = weights[ROWS.index((2, 0)), 0] = 1
        weights[ROWS.index((1, 0)), 1] = dear
        weights[ROWS.index((1, 1)), 2] = cheap
        return float(path_wise_ms(weighted, Relaxed(dict.fromkeys(CELL_KINDS, weights), edges), [("ns", "skip")]))

    assert cost(1.0, 0.0) - cost(0.25, 0.75) == pytest.approx(0.75 * (5.0 - 2.0))


def test_zero_saves_its_op_and_a_place_in_what_is_joined_and_read(costs, two_layers):
    """Node 2 is there with probability 0.4: its op, a third of the concatenation, and what the next cell reads."""
    edges = torch.ones(len(costs.edges), dtype=torch.float64)
    weights = torch.zeros(len(ROWS), 6, dtype=torch.float64)
    weights[0, 0] = weights[1, 0] = 1
    weights[3, two_layers.ops.index("conv")] = 0.4
    weights[3, two_layers.ops.index("zero")] = 0.6
    found = path_wise_ms(costs, Relaxed(dict.fromkeys(CELL_KINDS, weights), edges), [("ns", "ns")])
    cell = 2.4 * 4.0 + 0.3 * 2.4 / 3
    read = 0.6 * (1.024 + 1 + 2.4 * 0.008) + 0.5 * (1 + 2.4 * 0.008)
    assert float(found) == pytest.approx(1.25 + 2 * cell + read)


def test_count_of_filled_nodes():
    found = node_count(torch.tensor([0.5, 1.0, 0.2], dtype=torch.float64))
    assert found.tolist() == pytest.approx([0.4, 0.5, 0.1])
    # An empty cell is never decoded: the count is of those that are not.
    found = node_count(torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert found.tolist() == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize("composition", ["sum", "critical path"])
@pytest.mark.parametrize("seed", range(20))
def test_one_hot_equals_the_sum_of_the_paths_estimates(deep, lut_of, one_hot_cells, seed, composition):
    lut, arch = lut_of(deep, composition), random_arch(deep, seed, paths=3, cover=True)
    costs = SpaceCosts.from_lut(lut, deep)
    paths = [path for path in arch.paths if set(path) != {"skip"}]
    alone = [estimate(dataclasses.replace(arch, paths=(path,)), lut).ms for path in paths]
    relaxed = Relaxed(one_hot_cells(arch), torch.ones(len(costs.edges), dtype=torch.float64))
    assert float(path_wise_ms(costs, relaxed, paths)) == pytest.approx(sum(alone), abs=1e-6)


def test_several_edges_of_a_node_pay_their_additions(two_layers, lut, costs, one_hot_cells):
    cell = ((NodeEdge(0, "conv"), NodeEdge(0, "maxpool")), (NodeEdge(0, "conv"), NodeEdge(1, "conv")), ())
    arch = Arch(space=two_layers, cells=dict.fromkeys(CELL_KINDS, cell), paths=(("ct", "ep"),))
    relaxed = Relaxed(one_hot_cells(arch), torch.ones(len(costs.edges), dtype=torch.float64))
    forms = costs.forms(relaxed.cells)
    assert float(forms["ns"].ops_ms[0]) == pytest.approx(3 * 4.0 + 1.5 + 2 * 0.2)
    assert float(path_wise_ms(costs, relaxed, arch.paths)) == pytest.approx(estimate(arch, lut).ms, abs=1e-6)


def test_gradients_by_finite_differences(costs, relax, parameters):
    def latency(alpha, gamma, beta):
        return path_wise_ms(costs, relax(costs, alpha, gamma, beta), [("ct", "ep"), ("ns", "ns")])

    alpha, gamma, beta = parameters(costs)
    assert torch.autograd.gradcheck(latency, (alpha, gamma, beta))
    latency(alpha, gamma, beta).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in (alpha, gamma, beta))


def test_single_precision_gives_the_same(costs, relax, parameters):
    relaxed = relax(costs, *(parameter.detach() for parameter in parameters(costs)))
    single = Relaxed({kind: weights.float() for kind, weights in relaxed.cells.items()}, relaxed.edges.float())
    paths = [("ct", "ep"), ("ns", "ns")]
    expected = float(path_wise_ms(costs, relaxed, paths))
    assert float(path_wise_ms(costs, single, paths)) == pytest.approx(expected, rel=1e-5)
