from itertools import product

import pytest

from cinert.paths import EDGE_KINDS, Edge, count_paths, legal_edges, union, walk


def brute_force(layers, scales):
    """All paths, by trying every sequence of edge kinds."""
    for kinds in product(EDGE_KINDS, repeat=layers):
        scale, inside = 0, True
        for kind in kinds:
            scale += {"ct": 1, "ep": -1}.get(kind, 0)
            inside = inside and 0 <= scale < scales
        if inside and scale == 0:
            yield kinds


@pytest.mark.parametrize("layers", [2, 3, 4, 5])
@pytest.mark.parametrize("scales", [1, 2, 3, 4])
def test_legal_edges_are_those_of_some_path(layers, scales):
    paths = list(brute_force(layers, scales))
    assert set(legal_edges(layers, scales)) == {edge for path in paths for edge in walk(path)}
    assert count_paths(layers, scales)[0, 0] == len(paths)


def test_union_holds_shared_edges_once():
    a, b = ("ct", "ns", "ep"), ("ct", "skip", "ep")
    assert union([a, b]) == (Edge(0, 0, "ct"), Edge(1, 1, "ns"), Edge(1, 1, "skip"), Edge(2, 1, "ep"))
