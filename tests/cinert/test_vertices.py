"""What vertices hold, worked out by hand on a space of two scales and three nodes."""

import dataclasses

import pytest

from cinert.arch import Arch, NodeEdge, repeats
from cinert.paths import Edge
from cinert.spaces import load_space
from cinert.vertices import Sum, cell_values, vertex_values

CONV, POOL, SAME = (
    lambda source: (NodeEdge(source, "conv"),),
    lambda source: (NodeEdge(source, "maxpool"),),
    lambda source: (NodeEdge(source, "identity"),),
)
EDGE = Edge(0, 0, "ns")
STEM = {node: ("stem", node) for node in range(3)}


def make_arch(paths, **cells):
    demo = load_space("demo")
    space = dataclasses.replace(
        demo, layers=len(paths[0]), strides=demo.strides[:1], widths=(4, 8), input_shape_DHW=(4, 8, 8)
    )
    full = (CONV(0), CONV(0), CONV(0))
    return Arch(space=space, cells={"ct": full, "ns": full, "ep": full, **cells}, paths=paths)


@pytest.mark.parametrize(
    ("cell", "values", "repeated"),
    [
        # Every node of its own; number j names the value of node j - 1.
        ((CONV(0), CONV(0), CONV(1)), {0: 1, 1: 2, 2: 3}, {}),
        # Empty, and empty because its input is.
        ((CONV(0), (), SAME(2)), {0: 1}, {}),
        # A copy of the preprocessed input, and a copy of that copy.
        ((SAME(0), SAME(1), CONV(2)), {0: 0, 1: 0, 2: 3}, {0: 0, 1: 0}),
        # The same pooling twice, the second time of a copy; a pooling of another value is another one.
        ((POOL(0), SAME(0), POOL(2)), {0: 1, 1: 0, 2: 1}, {1: 0, 2: 1}),
        ((POOL(0), POOL(1), SAME(2)), {0: 1, 1: 2, 2: 2}, {2: 2}),
        # Two convolutions have weights of their own, and a sum is a value of its own.
        ((CONV(0), (NodeEdge(0, "identity"), NodeEdge(1, "identity")), POOL(0)), {0: 1, 1: 2, 2: 3}, {}),
    ],
)
def test_a_cell_gives_its_live_nodes_and_each_value_once(cell, values, repeated):
    assert repeats(cell) == repeated
    assert cell_values(cell, EDGE) == {node: (EDGE, number) for node, number in values.items()}


def test_the_stem_fills_every_node_and_skip_edges_pass_it_on():
    held = vertex_values(make_arch((("skip", "skip", "ns"),)))
    assert held[0, 0] == held[1, 0] == held[2, 0] == STEM
    assert held[3, 0] == {node: (Edge(2, 0, "ns"), node + 1) for node in range(3)}


def test_a_node_that_several_edges_give_is_their_sum_and_no_other():
    """Node 1 comes from the flat cell alone, node 2 from no cell."""
    arch = make_arch((("ct", "ep"), ("ns", "skip")), ep=(CONV(0), (), ()), ns=(CONV(0), CONV(0), ()))
    up, flat = Edge(1, 1, "ep"), Edge(0, 0, "ns")
    held = vertex_values(arch)
    assert held[1, 0] == {0: (flat, 1), 1: (flat, 2)}
    assert held[2, 0] == {0: Sum([(flat, 1), (up, 1)]), 1: (flat, 2)}
    assert isinstance(held[2, 0][0], Sum)
    assert not isinstance(held[2, 0][1], Sum)


def test_sums_of_the_same_terms_are_one():
    """Both copies meet both copies: one addition, two places."""
    copies = (CONV(0), SAME(1), ())
    held = vertex_values(make_arch((("ct", "ep"), ("ns", "skip")), ep=copies, ns=copies))
    assert held[2, 0][0] == held[2, 0][1]
    assert sorted(held[2, 0]) == [0, 1]


def test_a_skipped_vertex_meets_a_cell():
    held = vertex_values(make_arch((("skip", "ns"), ("ns", "skip")), ns=(CONV(0), (), ())))
    first, second = Edge(0, 0, "ns"), Edge(1, 0, "ns")
    # The skip edge brings all of the stem's nodes beside the one of the cell.
    assert held[1, 0] == {0: Sum([(first, 1), ("stem", 0)]), 1: ("stem", 1), 2: ("stem", 2)}
    # What the vertex holds is passed on as a whole: its sum is a term of the next one.
    assert held[2, 0] == {0: Sum([(second, 1), held[1, 0][0]]), 1: ("stem", 1), 2: ("stem", 2)}


def test_only_vertices_of_the_network_are_there():
    held = vertex_values(make_arch((("ns", "ct", "ep"),)))
    assert set(held) == {(0, 0), (1, 0), (2, 1), (3, 0)}
