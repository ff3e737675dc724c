"""The union term: equal to the estimate where decided, and to the mean estimate of drawn networks where not."""

import dataclasses
import itertools
import math

import pytest
import torch

from cinert.arch import Arch, NodeEdge, live_edges
from cinert.paths import CELL_KINDS, walk
from cinert.sampling import random_arch
from latency.cost import SpaceCosts, cell_ms
from latency.cost_flow import drawn_visits, kept_visits
from latency.cost_union import live_weights, union_ms
from latency.estimate import estimate


@pytest.fixture(scope="module")
def deep(two_layers):
    """Five layers and three scales, where paths share cells and meet in vertices."""
    return dataclasses.replace(
        two_layers, name="deep", layers=5, strides=((2, 2, 2), (1, 2, 2)), widths=(4, 8, 16), partial_channels=4
    )


@pytest.fixture(scope="module")
def deep_lut(deep, lut_of, price_additions):
    return price_additions(lut_of(deep))


@pytest.mark.parametrize("seed", range(12))
def test_decoded_networks_cost_their_estimate(deep, deep_lut, one_hot_cells, seed):
    arch = random_arch(deep, seed, paths=1 + seed % 6, cover=True)
    costs = SpaceCosts.from_lut(deep_lut, deep)
    found = union_ms(costs, one_hot_cells(arch), kept_visits(costs, arch.paths))
    assert float(found) == pytest.approx(estimate(arch, deep_lut).ms, abs=1e-6)


def test_several_edges_of_a_node_and_edges_that_carry_zeros(deep, deep_lut, one_hot_cells):
    """Node 1 adds two edges; node 0 is empty, so that what reads it is not deployed."""
    cell = ((), (NodeEdge(0, "conv"), NodeEdge(0, "dilated"), NodeEdge(1, "conv")), (NodeEdge(2, "maxpool"),))
    paths = (("ct", "ct", "ep", "ns", "ep"), ("ct", "ep", "skip", "ns", "ns"), ("ct", "ct", "ep", "skip", "ep"))
    arch = Arch(space=deep, cells=dict.fromkeys(CELL_KINDS, cell), paths=paths)
    costs = SpaceCosts.from_lut(deep_lut, deep)
    found = union_ms(costs, one_hot_cells(arch), kept_visits(costs, paths))
    assert float(found) == pytest.approx(estimate(arch, deep_lut).ms, abs=1e-6)


def test_two_paths_by_hand(two_layers, lut, one_hot_cells):
    """ct-ep and ns-skip meet at the end; ct-ep and ct-ep share everything."""
    cell = ((NodeEdge(0, "conv"),), (), (NodeEdge(0, "identity"),))
    cells = one_hot_cells(Arch(space=two_layers, cells=dict.fromkeys(CELL_KINDS, cell), paths=(("ct", "ep"),)))
    costs = SpaceCosts.from_lut(lut, two_layers)
    down, up, flat = (0.7 + 0.3 + 4.1) * 0.25, 0.9 + 0.3 + 4.1, 0.6 + 0.3 + 4.1
    apart = union_ms(costs, cells, kept_visits(costs, [("ct", "ep"), ("ns", "skip")]))
    assert float(apart) == pytest.approx(1.75 + down + up + flat + 0.2)
    shared = union_ms(costs, cells, kept_visits(costs, [("ct", "ep"), ("ct", "ep")]))
    assert float(shared) == pytest.approx(1.75 + down + up)
    longest = union_ms(
        dataclasses.replace(costs, composition="critical path"),
        cells,
        kept_visits(costs, [("ct", "ep"), ("ns", "skip")]),
    )
    assert float(longest) == pytest.approx(1.75 + down + up + 0.2)


@pytest.mark.parametrize("seed", range(2))
def test_soft_weights_cost_the_mean_estimate_of_what_they_draw(two_layers, lut_of, relax, parameters, seed):
    """Every cell and every pair of paths, each with its probability."""
    space = dataclasses.replace(two_layers, nodes=1, ops=("conv", "maxpool"), layers=3)
    lut = lut_of(space)
    costs = SpaceCosts.from_lut(lut, space)
    relaxed = relax(costs, *(parameter.detach() for parameter in parameters(costs, seed)))
    probability = dict(zip(costs.edges, relaxed.edges.tolist(), strict=True))
    paths = {
        path: math.prod(probability[edge] for edge in walk(path))
        for path in itertools.product(("ct", "ns", "ep", "skip"), repeat=3)
        if all(edge in probability for edge in walk(path))
    }
    assert sum(paths.values()) == pytest.approx(1)
    mean = 0.0
    for ops in itertools.product(range(2), repeat=3):
        cells = {kind: ((NodeEdge(0, space.ops[op]),),) for kind, op in zip(CELL_KINDS, ops, strict=True)}
        of_cells = math.prod(float(relaxed.cells[kind][0, op]) for kind, op in zip(CELL_KINDS, ops, strict=True))
        for two in itertools.product(paths, repeat=2):
            arch = Arch(space=space, cells=cells, paths=tuple(dict.fromkeys(two)))
            mean += of_cells * math.prod(paths[path] for path in two) * estimate(arch, lut).ms
    assert float(union_ms(costs, relaxed.cells, drawn_visits(costs, relaxed.edges, 2))) == pytest.approx(mean, abs=1e-9)


def test_ops_that_may_read_an_empty_node_are_paid_as_often_as_it_is_filled(two_layers, lut, relax, parameters):
    """Expected ops of a cell against all its genotypes."""
    costs = SpaceCosts.from_lut(lut, two_layers)
    weights = relax(costs, *(parameter.detach() for parameter in parameters(costs))).cells["ns"]
    ops, nodes = two_layers.ops, []
    for node in range(3):
        first = node * (node + 1) // 2
        pairs = itertools.product(range(node + 1), range(len(ops)))
        nodes.append([(float(weights[first + source, op]), source, ops[op]) for source, op in pairs])
    expected = torch.zeros(len(weights), len(ops), dtype=torch.float64)
    for choice in itertools.product(*nodes):
        cell = tuple(() if op == "zero" else (NodeEdge(source, op),) for _, source, op in choice)
        for node, edges in enumerate(live_edges(cell)):
            for edge in edges:
                row = node * (node + 1) // 2 + edge.input
                expected[row, ops.index(edge.op)] += math.prod(value for value, _, _ in choice)
    yields = [column for column, op in enumerate(ops) if op != "zero"]
    torch.testing.assert_close(live_weights(weights, costs)[:, yields], expected[:, yields])


def longest_way_ms(arch, costs, cells):
    """Longest way through the vertices of a decoded network, by trying all paths in its edges."""
    price = {key: float(value) for key, value in cell_ms(costs, cells).items()}
    entering = {}
    for edge in arch.edges:
        entering[edge.layer + 1, edge.target] = entering.get((edge.layer + 1, edge.target), 0) + 1
    best = 0.0
    for way in itertools.product(*([e for e in arch.edges if e.layer == layer] for layer in range(arch.space.layers))):
        if all(before.target == after.source for before, after in itertools.pairwise(way)):
            cells_ms = sum(price[edge.kind, edge.source] for edge in way if edge.kind != "skip")
            merges = sum((entering[e.layer + 1, e.target] - 1) * float(costs.merge_ms[e.target]) for e in way)
            best = max(best, cells_ms + merges)
    return costs.fixed_ms + best


@pytest.mark.parametrize("seed", range(8))
def test_longest_way_of_decoded_networks_against_brute_force(deep, deep_lut, one_hot_cells, seed):
    drawn = random_arch(deep, seed, paths=4, cover=True)
    arch = dataclasses.replace(drawn, cells={kind: live_edges(cell) for kind, cell in drawn.cells.items()})
    costs = dataclasses.replace(SpaceCosts.from_lut(deep_lut, deep), composition="critical path")
    cells = one_hot_cells(arch)
    found = float(union_ms(costs, cells, kept_visits(costs, arch.paths)))
    assert found == pytest.approx(longest_way_ms(arch, costs, cells), abs=1e-9)
    assert found <= estimate(arch, deep_lut).ms + 1e-9


@pytest.mark.parametrize("composition", ["sum", "critical path"])
def test_gradients_by_finite_differences(two_layers, lut, relax, parameters, composition):
    costs = dataclasses.replace(SpaceCosts.from_lut(lut, two_layers), composition=composition)

    def latency(alpha, gamma, beta):
        relaxed = relax(costs, alpha, gamma, beta)
        return union_ms(costs, relaxed.cells, drawn_visits(costs, relaxed.edges, 2))

    alpha, gamma, beta = parameters(costs)
    assert torch.autograd.gradcheck(latency, (alpha, gamma, beta))
    latency(alpha, gamma, beta).backward()
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in (alpha, gamma, beta))


def test_more_paths_cost_more(deep, deep_lut, relax, parameters):
    costs = SpaceCosts.from_lut(deep_lut, deep)
    relaxed = relax(costs, *(parameter.detach() for parameter in parameters(costs)))
    found = [float(union_ms(costs, relaxed.cells, drawn_visits(costs, relaxed.edges, n))) for n in (1, 2, 4, 400)]
    assert found == sorted(set(found))
