"""The union term: equal to the estimate where decided, and to the mean estimate of drawn networks where not."""

import dataclasses
import itertools
import math

import pytest
import torch

from cinert.arch import Arch, NodeEdge
from cinert.paths import CELL_KINDS, walk
from cinert.sampling import random_arch
from latency.calibration import GROUP_NAMES, Calibration
from latency.cost import SpaceCosts
from latency.cost_flow import drawn_visits, kept_visits
from latency.cost_union import union_ms
from latency.estimate import estimate

IDENTITY, POOL, CONV = (NodeEdge(0, op) for op in ("identity", "maxpool", "conv"))
CELLS = {
    "empty first node": ((), (CONV,), (NodeEdge(2, "maxpool"),)),
    "edge that reads an empty node": ((), (NodeEdge(1, "conv"),), (CONV,)),
    "several edges of a node": ((CONV, POOL), (CONV, NodeEdge(1, "conv"), NodeEdge(1, "identity")), ()),
    "the same three times": ((IDENTITY,), (NodeEdge(1, "identity"),), (NodeEdge(2, "identity"),)),
    "copies of a pooled node": ((POOL,), (POOL,), (NodeEdge(2, "identity"),)),
    "a copy pooled again": ((IDENTITY,), (POOL,), (NodeEdge(1, "maxpool"),)),
    "pooled twice in a row": ((POOL,), (NodeEdge(1, "maxpool"),), (NodeEdge(1, "maxpool"),)),
    "copies are several edges": ((POOL,), (POOL, IDENTITY), (NodeEdge(2, "identity"),)),
}
PATHS = {
    "alone": [("ct", "ct", "ep", "ns", "ep")],
    "meeting": [("ct", "ct", "ep", "ns", "ep"), ("ct", "ep", "ns", "ns", "ns"), ("ct", "ct", "ep", "ep", "ns")],
    "skips after a meeting": [("ct", "ep", "skip", "skip", "ns"), ("ns", "ns", "skip", "skip", "skip")],
    "skips to the head": [("ct", "ep", "skip", "skip", "skip"), ("skip", "ns", "skip", "skip", "skip")],
    "skip beside a cell": [("ns", "skip", "skip", "ns", "skip"), ("ns", "ns", "skip", "skip", "skip")],
    "a deep skip": [("ct", "skip", "skip", "skip", "ep"), ("ct", "ns", "skip", "ns", "ep")],
    "skips alone beside a path": [("skip",) * 5, ("skip", "skip", "ns", "skip", "skip")],
}


def found_and_estimate(arch, lut, one_hot_cells):
    costs = SpaceCosts.from_lut(lut, arch.space)
    found = union_ms(costs, one_hot_cells(arch), kept_visits(costs, arch.paths))
    return float(found), estimate(arch, lut).ms


@pytest.fixture(scope="module", params=["sum", "critical path"])
def deep_lut(request, deep, lut_of):
    return lut_of(deep, request.param)


@pytest.mark.parametrize("paths", range(1, 7))
def test_random_networks_cost_their_estimate(deep, deep_lut, one_hot_cells, paths):
    for seed in range(10):
        arch = random_arch(deep, 10 * paths + seed, paths=paths, cover=True)
        found, expected = found_and_estimate(arch, deep_lut, one_hot_cells)
        assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("paths", PATHS.values(), ids=PATHS)
def test_what_is_empty_or_repeated_costs_what_the_estimate_says(deep, deep_lut, one_hot_cells, cells, paths):
    for others in (cells, ((CONV,), (), ())):
        by_kind = {"ct": cells, "ns": others, "ep": cells}
        arch = Arch(space=deep, cells=by_kind, paths=tuple(paths))
        found, expected = found_and_estimate(arch, deep_lut, one_hot_cells)
        assert found == pytest.approx(expected, abs=1e-6)


def test_the_search_reads_calibrated_prices(deep, deep_lut, one_hot_cells):
    factors = {name: 0.7 + 0.2 * number for number, name in enumerate(GROUP_NAMES)}
    calibration = Calibration(
        lut=deep_lut.uncalibrated_id, factors=factors, relative_error_90=0.05, overlap=None, networks=()
    )
    calibrated, arch = dataclasses.replace(deep_lut, calibration=calibration), random_arch(deep, 0, paths=3)
    found, expected = found_and_estimate(arch, calibrated, one_hot_cells)
    assert found == pytest.approx(expected, abs=1e-6)
    assert abs(expected - estimate(arch, deep_lut).ms) > 1


def test_two_paths_by_hand(two_layers, lut, one_hot_cells):
    """ct-ep and ns-skip meet at the end; ct-ep and ct-ep share everything."""
    cell = ((CONV,), (), (IDENTITY,))
    cells = one_hot_cells(Arch(space=two_layers, cells=dict.fromkeys(CELL_KINDS, cell), paths=(("ct", "ep"),)))
    costs = SpaceCosts.from_lut(lut, two_layers)
    # Vertices of width 8 and 16: the stem fills three nodes, a cell two, which are joined at two thirds of 0.3.
    down = (0.7 * 1.024 + 4.1 + 0.2) * 0.25
    up = 0.9 * 1.032 + 4.1
    flat = 0.6 * 1.024 + 4.1
    ends = 1.25 + 0.5 * 1.016
    apart = union_ms(costs, cells, kept_visits(costs, [("ct", "ep"), ("ns", "skip")]))
    # Two nodes meet and are added, and what they give is joined once.
    assert float(apart) == pytest.approx(ends + down + up + flat + 2 * 0.2 + 0.2)
    shared = union_ms(costs, cells, kept_visits(costs, [("ct", "ep"), ("ct", "ep")]))
    assert float(shared) == pytest.approx(ends + down + up + 0.2)
    longest = union_ms(
        dataclasses.replace(costs, composition="critical path"),
        cells,
        kept_visits(costs, [("ct", "ep"), ("ns", "skip")]),
    )
    assert float(longest) == pytest.approx(ends + down + up + 2 * 0.2 + 0.2)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("nodes", "ops"), [(1, ("conv", "maxpool")), (2, ("conv",))])
def test_soft_weights_cost_the_mean_estimate_of_what_they_draw(two_layers, lut_of, relax, parameters, seed, nodes, ops):
    """Every cell and every pair of paths, each with its probability; nothing here is empty or repeated."""
    space = dataclasses.replace(two_layers, nodes=nodes, ops=ops, layers=3)
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
    pairs = [list(itertools.product(range(node + 1), range(len(ops)))) for node in range(nodes)]
    choices = list(itertools.product(*pairs))
    for three in itertools.product(choices, repeat=3):
        cells, of_cells = {}, 1.0
        for kind, choice in zip(CELL_KINDS, three, strict=True):
            cells[kind] = tuple((NodeEdge(source, ops[op]),) for source, op in choice)
            for node, (source, op) in enumerate(choice):
                of_cells *= float(relaxed.cells[kind][node * (node + 1) // 2 + source, op])
        for two in itertools.product(paths, repeat=2):
            arch = Arch(space=space, cells=cells, paths=tuple(dict.fromkeys(two)))
            mean += of_cells * math.prod(paths[path] for path in two) * estimate(arch, lut).ms
    found = union_ms(costs, relaxed.cells, drawn_visits(costs, relaxed.edges, 2))
    if nodes == 1:
        assert float(found) == pytest.approx(mean, abs=1e-9)
    else:
        # Whether a vertex is joined depends on whether it is the one before it, which is taken as independent.
        assert float(found) == pytest.approx(mean, rel=2e-3)


@pytest.mark.parametrize("composition", ["sum", "critical path"])
def test_gradients_by_finite_differences(two_layers, lut_of, relax, parameters, composition):
    costs = SpaceCosts.from_lut(lut_of(two_layers, composition), two_layers)

    def latency(alpha, gamma, beta):
        relaxed = relax(costs, alpha, gamma, beta)
        return union_ms(costs, relaxed.cells, drawn_visits(costs, relaxed.edges, 2))

    alpha, gamma, beta = parameters(costs)
    assert torch.autograd.gradcheck(latency, (alpha, gamma, beta))
    latency(alpha, gamma, beta).backward()
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in (alpha, gamma, beta))


def test_decided_weights_have_finite_gradients(deep, deep_lut, one_hot_cells):
    """Vertices that no path meets divide nothing by nothing."""
    costs = SpaceCosts.from_lut(deep_lut, deep)
    arch = random_arch(deep, 3, paths=2)
    cells = {kind: weights.requires_grad_() for kind, weights in one_hot_cells(arch).items()}
    visits = kept_visits(costs, arch.paths).requires_grad_()
    union_ms(costs, cells, visits).backward()
    assert all(weights.grad is not None and weights.grad.isfinite().all() for weights in (*cells.values(), visits))


@pytest.mark.parametrize("spread", [1, 5, 20, 60, 200])
@pytest.mark.parametrize("seed", range(3))
def test_single_precision_has_finite_gradients_however_decided_it_is(deep, deep_lut, relax, parameters, spread, seed):
    """Probabilities that single precision rounds to nothing are not divided by."""
    costs = SpaceCosts.from_lut(deep_lut, deep)
    leaves = [(spread * parameter).detach().float().requires_grad_() for parameter in parameters(costs, seed)]
    relaxed = relax(costs, *leaves)
    found = union_ms(costs, relaxed.cells, drawn_visits(costs, relaxed.edges, 2))
    found.backward()
    assert all(leaf.grad.isfinite().all() for leaf in leaves)
    double = relax(costs, *(leaf.detach().double() for leaf in leaves))
    expected = union_ms(costs, double.cells, drawn_visits(costs, double.edges, 2))
    assert float(found.detach()) == pytest.approx(float(expected), rel=1e-4)


def test_more_paths_cost_more(deep, lut_of, relax, parameters):
    costs = SpaceCosts.from_lut(lut_of(deep), deep)
    relaxed = relax(costs, *(parameter.detach() for parameter in parameters(costs)))
    found = [float(union_ms(costs, relaxed.cells, drawn_visits(costs, relaxed.edges, n))) for n in (1, 2, 4, 40)]
    assert found == sorted(set(found))
