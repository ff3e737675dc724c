"""Paths through the multi-scale grid, and the union of several.

A vertex is (layer l, scale s); an edge leaves it for layer l + 1 and the same or a neighbouring scale. A path
starts and ends at scale 0 and is written as its edge kinds (Zeng 2020, Sec. 3.3 and Fig. 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

EdgeKind = Literal["ct", "ns", "ep", "skip"]
CellKind = Literal["ct", "ns", "ep"]
EDGE_KINDS: tuple[EdgeKind, ...] = get_args(EdgeKind)
CELL_KINDS: tuple[CellKind, ...] = get_args(CellKind)
# Contracting goes to the next coarser scale, expanding to the next finer one.
SCALE_STEP: dict[EdgeKind, int] = {"ct": 1, "ns": 0, "ep": -1, "skip": 0}

Path = tuple[EdgeKind, ...]


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """An edge from vertex (`layer`, `source`) to (`layer` + 1, `target`)."""

    layer: int
    source: int
    kind: EdgeKind

    @property
    def target(self) -> int:
        """Scale of the vertex that the edge enters."""
        return self.source + SCALE_STEP[self.kind]


def walk(path: Sequence[EdgeKind]) -> Iterator[Edge]:
    """Yield the edges of a path that starts at scale 0; the grid's limits are not checked."""
    scale = 0
    for layer, kind in enumerate(path):
        edge = Edge(layer, scale, kind)
        yield edge
        scale = edge.target


def union(paths: Sequence[Path]) -> tuple[Edge, ...]:
    """Edges of the decoded network: shared ones once, sorted by layer, source scale and kind."""
    return tuple(sorted({edge for path in paths for edge in walk(path)}))


def legal_edges(layers: int, scales: int) -> tuple[Edge, ...]:
    """All edges that lie on at least one path from (0, scale 0) to (`layers`, scale 0).

    An edge that cannot return to scale 0 in time is left out, so that the probabilities of all paths sum to one.
    """
    edges = []
    for layer in range(layers):
        for source in range(min(layer, scales - 1) + 1):
            for kind in EDGE_KINDS:
                edge = Edge(layer, source, kind)
                if 0 <= edge.target < scales and edge.target <= layers - layer - 1:
                    edges.append(edge)
    return tuple(edge for edge in edges if edge.source <= layers - edge.layer)


def count_paths(layers: int, scales: int, goal: tuple[int, int] | None = None) -> dict[tuple[int, int], int]:
    """Number of ways to go from each vertex (layer, scale) to the goal, by default (`layers`, scale 0)."""
    goal = goal or (layers, 0)
    ways = {(layer, scale): 0 for layer in range(layers + 1) for scale in range(scales)}
    ways[goal] = 1
    for edge in sorted(legal_edges(layers, scales), reverse=True):
        if edge.layer < goal[0]:
            ways[edge.layer, edge.source] += ways[edge.layer + 1, edge.target]
    return ways
