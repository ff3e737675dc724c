"""What the vertices of a decoded network hold, so that nothing empty and nothing twice is computed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from cinert.arch import Arch, CellGenotype, live_nodes, repeats
from cinert.paths import Edge

Values = Mapping[int, Hashable]
"""By node, a name of the tensor that it holds: equal names are the same tensor. Empty nodes are not there."""


class Sum(tuple[Hashable, ...]):
    """Name of a sum: its terms."""

    __slots__ = ()


def cell_values(cell: CellGenotype, edge: Edge) -> Values:
    """What the cell of an edge gives."""
    repeated = repeats(cell)
    live = live_nodes(cell)[1:]
    return {node: (edge, repeated.get(node, node + 1)) for node in range(len(cell)) if live[node]}


def vertex_values(arch: Arch) -> dict[tuple[int, int], Values]:
    """What every vertex (layer, scale) of the network holds; the stem fills all nodes.

    A node that several edges give holds their sum, named by the tuple of its terms. A node that is empty in every edge
    that arrives is not there: nothing computes, joins or reads its zeros.
    """
    held: dict[tuple[int, int], Values] = {(0, 0): {node: ("stem", node) for node in range(arch.space.nodes)}}
    arriving: dict[tuple[int, int], list[Values]] = {}
    for edge in arch.edges:
        source = (edge.layer, edge.source)
        if source not in held:
            held[source] = _met(arriving.pop(source))
        given = held[source] if edge.kind == "skip" else cell_values(arch.cells[edge.kind], edge)
        arriving.setdefault((edge.layer + 1, edge.target), []).append(given)
    return held | {vertex: _met(given) for vertex, given in arriving.items()}


def _met(given: list[Values]) -> Values:
    met: dict[int, Hashable] = {}
    for node in sorted({node for values in given for node in values}):
        terms = tuple(values[node] for values in given if node in values)
        met[node] = Sum(terms) if len(terms) > 1 else terms[0]
    return met
