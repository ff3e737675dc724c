"""The fastest network against brute force, and the refusal of a budget below it."""

import dataclasses
import itertools

import pytest

from cinert.arch import Arch, NodeEdge, live_edges, yields_nothing
from cinert.errors import BadInputError
from cinert.paths import CELL_KINDS, EDGE_KINDS, legal_edges, walk
from latency.estimate import estimate
from search.fastest import fastest_arch, require_budget


def all_cells(space):
    pairs = [
        [() if op == "zero" else (NodeEdge(source, op),) for source in range(node + 1) for op in space.ops]
        for node in range(space.nodes)
    ]
    cells = {live_edges(cell) for cell in itertools.product(*pairs) if not yields_nothing(cell)}
    return sorted(cells, key=str)


@pytest.mark.parametrize("ops", [("conv", "maxpool", "identity", "zero"), ("conv", "separable", "dilated")])
def test_no_single_path_is_faster(tiny, lut_of, ops):
    space = dataclasses.replace(tiny, ops=ops, layers=3)
    lut = lut_of(space)
    legal = set(legal_edges(3, 2))
    paths = [path for path in itertools.product(EDGE_KINDS, repeat=3) if set(walk(path)) <= legal]
    least = min(
        estimate(Arch(space=space, cells=dict.fromkeys(CELL_KINDS, cell), paths=(path,)), lut).ms
        for cell in all_cells(space)
        for path in paths
        if set(path) != {"skip"}
    )
    assert estimate(fastest_arch(space, lut), lut).ms == pytest.approx(least)


def test_a_budget_below_it_is_refused_naming_it(tiny, lut):
    fastest = estimate(fastest_arch(tiny, lut), lut)
    assert require_budget(tiny, lut, fastest.ms + 1e-9, upper=False) == fastest
    with pytest.raises(
        BadInputError, match=r"the fastest, path \[ns, skip, skip\], cells of ns identity, is estimated"
    ):
        require_budget(tiny, lut, fastest.ms - 0.01, upper=False)
    with pytest.raises(BadInputError, match="and at most"):
        require_budget(tiny, lut, fastest.ms + 1e-9, upper=True)
