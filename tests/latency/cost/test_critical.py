"""Lu's critical-path term: each equation by hand, k_c^l against enumeration, gradients by finite differences."""

import dataclasses
import itertools
from collections import Counter

import pytest
import torch

from cinert.arch import Arch, NodeEdge
from cinert.paths import CELL_KINDS, EDGE_KINDS, legal_edges, walk
from cinert.spaces import load_space
from latency.cost import Relaxed, SpaceCosts
from latency.cost_critical import critical_cell_ms, critical_path_ms
from latency.cost_flow import edge_marginals, forward_shares, path_shares

GRIDS = [(2, 1), (2, 2), (4, 2), (4, 3), (5, 3)]


@pytest.fixture
def costs(two_layers, lut):
    return SpaceCosts.from_lut(lut, two_layers)


def grid(costs, layers, scales):
    """The same prices on another grid; flows need nothing but its edges."""
    space = dataclasses.replace(
        costs.space, layers=layers, strides=((1, 1, 1),) * (scales - 1), widths=(8,) * scales, name="grid"
    )
    return dataclasses.replace(costs, space=space, edges=legal_edges(layers, scales))


def paths_of(layers, scales, kinds=EDGE_KINDS, *, returning=True):
    """All words over the edge kinds that stay on the grid, and end at scale 0."""
    for path in itertools.product(kinds, repeat=layers):
        targets = [edge.target for edge in walk(path)]
        if all(0 <= target < scales for target in targets) and (targets[-1] == 0 or not returning):
            yield path


def test_longest_way_through_a_cell_by_hand(costs, one_hot_cells, two_layers):
    """Node 0: conv on X_0. Node 1: dilated on X_0. Node 2: max-pool on node 0."""
    cell = ((NodeEdge(0, "conv"),), (NodeEdge(0, "dilated"),), (NodeEdge(1, "maxpool"),))
    arch = Arch(space=two_layers, cells=dict.fromkeys(CELL_KINDS, cell), paths=(("ct", "ep"),))
    found = critical_cell_ms(costs, one_hot_cells(arch))
    # X_0 - conv - node 0 - max-pool - node 2 is 5.5; X_0 - dilated - node 1 is 5, and its way on to node 2 is free.
    # A full vertex of width 8 has 24 channels, one of width 16 has 48.
    assert float(found["ns", 0]) == pytest.approx(0.6 * 1.024 + 0.3 + 5.5)
    assert float(found["ct", 0]) == pytest.approx((0.7 * 1.024 + 0.3 + 5.5) * 0.25)
    assert float(found["ep", 1]) == pytest.approx(0.9 * 1.048 + 0.3 + 5.5)


def test_expected_connections_by_hand(costs):
    """Uniform joint softmax: node j has 6 (j + 1) pairs, and a connection to it costs 12.6 / (6 (j + 1))."""
    uniform = torch.tensor([[1 / (node + 1) / 6] * 6 for node in range(3) for _ in range(node + 1)])
    found = critical_cell_ms(costs, dict.fromkeys(CELL_KINDS, uniform.double()))
    assert float(found["ns", 0]) == pytest.approx(0.6 * 1.024 + 0.3 + 2.1 * (1 + 1 / 2 + 1 / 3), rel=1e-6)


@pytest.mark.parametrize(
    ("occurrence", "ct", "ns", "ep"),
    [
        # Cells alone: ct from scale 0 and ns from scale 0 arrive once each; then ns and ep arrive at scale 0, and ct
        # and ns at scale 1, where no path can end.
        ("forward", 1 / 2, [1 / 2, 1 / 4], 1 / 4),
        # ct-ep and ns-ns.
        ("exact", 1 / 2, [1 / 2, 1 / 2], 1 / 2),
        # beta below: 0.2 to ct, 0.5 to ns, 0.3 to skip, and 0.6 to ns in the last layer.
        ("beta", 0.2, [0.5, 0.8 * 0.6], 0.2),
    ],
)
def test_layers_add_up_by_hand(costs, occurrence, ct, ns, ep):
    uniform = torch.full((6, 6), 1 / 6, dtype=torch.float64)
    by_name = {(0, "ct"): 0.2, (0, "ns"): 0.5, (0, "skip"): 0.3, (1, "ns"): 0.6, (1, "skip"): 0.4, (1, "ep"): 1.0}
    beta = torch.tensor([by_name[edge.layer, edge.kind] for edge in costs.edges], dtype=torch.float64)
    relaxed = Relaxed(dict.fromkeys(CELL_KINDS, uniform), beta)
    cells = {key: float(value) for key, value in critical_cell_ms(costs, relaxed.cells).items()}
    expected = 1.25 + 0.5 * 1.024 + ct * cells["ct", 0] + sum(ns) * cells["ns", 0] + ep * cells["ep", 1]
    assert float(critical_path_ms(costs, relaxed, occurrence)) == pytest.approx(expected)


@pytest.mark.parametrize(("layers", "scales"), GRIDS)
def test_path_shares_and_marginals_against_enumeration(costs, layers, scales):
    costs = grid(costs, layers, scales)
    of_cells = list(paths_of(layers, scales, CELL_KINDS))
    crossed = Counter(edge for path in of_cells for edge in walk(path))
    assert path_shares(costs).tolist() == pytest.approx([crossed[edge] / len(of_cells) for edge in costs.edges])
    weights = torch.rand(len(costs.edges), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weight_of = dict(zip(costs.edges, weights.tolist(), strict=True))
    total, through = 0.0, Counter()
    for path in paths_of(layers, scales):
        product = 1.0
        for edge in walk(path):
            product *= weight_of[edge]
        total += product
        through.update(dict.fromkeys(walk(path), product))
    assert edge_marginals(costs, weights).tolist() == pytest.approx([through[edge] / total for edge in costs.edges])


@pytest.mark.parametrize(("layers", "scales"), GRIDS)
def test_forward_shares_against_enumeration(costs, layers, scales):
    costs = grid(costs, layers, scales)
    for layer in range(layers):
        prefixes = list(paths_of(layer + 1, scales, CELL_KINDS, returning=False))
        arriving = Counter(list(walk(prefix))[-1] for prefix in prefixes)
        for edge, share in zip(costs.edges, forward_shares(costs).tolist(), strict=True):
            if edge.layer == layer:
                assert share == pytest.approx(arriving[edge] / len(prefixes))


def test_the_two_counts_differ_on_the_paper_s_grid(costs):
    space = load_space("rtdnas")
    costs = grid(costs, space.layers, space.scales)
    assert float((forward_shares(costs) - path_shares(costs)).abs().max()) == pytest.approx(0.49, abs=0.005)


@pytest.mark.parametrize("occurrence", ["forward", "exact", "beta"])
def test_gradients_by_finite_differences(costs, relax, parameters, occurrence):
    def latency(alpha, gamma, beta):
        return critical_path_ms(costs, relax(costs, alpha, gamma, beta), occurrence)

    alpha, gamma, beta = parameters(costs)
    assert torch.autograd.gradcheck(latency, (alpha, gamma, beta))
    latency(alpha, gamma, beta).backward()
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in (alpha, gamma))
    assert (beta.grad is None or float(beta.grad.abs().max()) == 0) == (occurrence != "beta")
