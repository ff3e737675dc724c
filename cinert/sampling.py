"""Random architectures by seed: uniform over paths, and over ops and inputs of each node."""

from __future__ import annotations

import dataclasses

import numpy as np

from cinert.arch import Arch, CellGenotype, NodeEdge, yields_nothing
from cinert.paths import CELL_KINDS, Edge, EdgeKind, Path, count_paths, legal_edges
from cinert.space import Space


def random_path(space: Space, rng: np.random.Generator, *, through: Edge | None = None) -> Path:
    """Draw one path; every path of the grid, or every path through the given edge, is equally likely."""
    if through is None:
        return tuple(_draw_edges(space, rng, start=(0, 0), goal=(space.layers, 0)))
    before = _draw_edges(space, rng, start=(0, 0), goal=(through.layer, through.source))
    after = _draw_edges(space, rng, start=(through.layer + 1, through.target), goal=(space.layers, 0))
    return (*before, through.kind, *after)


def _draw_edges(
    space: Space, rng: np.random.Generator, *, start: tuple[int, int], goal: tuple[int, int]
) -> list[EdgeKind]:
    ways = count_paths(space.layers, space.scales, goal)
    edges = legal_edges(space.layers, space.scales)
    kinds: list[EdgeKind] = []
    scale = start[1]
    for layer in range(start[0], goal[0]):
        leaving = [edge for edge in edges if (edge.layer, edge.source) == (layer, scale)]
        edge = leaving[_draw(rng, [ways[layer + 1, edge.target] for edge in leaving])]
        kinds.append(edge.kind)
        scale = edge.target
    return kinds


def _draw(rng: np.random.Generator, weights: list[int]) -> int:
    return int(rng.choice(len(weights), p=np.asarray(weights, float) / sum(weights)))


def _edge_of_any_scale(space: Space, rng: np.random.Generator) -> Edge:
    edges = legal_edges(space.layers, space.scales)
    scale = rng.integers(max(edge.target for edge in edges) + 1)
    arriving = [edge for edge in edges if edge.target == scale]
    return arriving[rng.integers(len(arriving))]


def random_cell(space: Space, rng: np.random.Generator) -> CellGenotype:
    """Draw one (input, op) pair for each node; `zero` leaves it empty. Cells that yield nothing are drawn again."""
    while True:
        nodes = []
        for node in range(space.nodes):
            op = space.ops[rng.integers(len(space.ops))]
            edge = NodeEdge(int(rng.integers(node + 1)), op)
            nodes.append(() if op == "zero" else (edge,))
        cell = tuple(nodes)
        if not yields_nothing(cell):
            return cell


def random_arch(
    space: Space, seed: int, *, paths: int | None = None, layers: int | None = None, cover: bool = False
) -> Arch:
    """Draw an architecture; the same seed gives the same one.

    Args:
        space: where to draw from.
        seed: for `numpy.random.default_rng`.
        paths: distinct paths to fuse; None draws 1 to 4. Fewer are taken where the grid has fewer.
        layers: length of the paths; None takes the space's. Shorter ones are used to learn prices.
        cover: draw each path through an edge at a scale drawn evenly, so that the few paths that go deep occur too.
    """
    rng = np.random.default_rng(seed)
    if layers is not None:
        space = dataclasses.replace(space, layers=layers)
    wanted = int(rng.integers(1, 5)) if paths is None else paths
    wanted = min(wanted, count_paths(space.layers, space.scales)[0, 0])
    chosen: dict[Path, None] = {}
    while len(chosen) < wanted or all(kind == "skip" for path in chosen for kind in path):
        chosen.setdefault(random_path(space, rng, through=_edge_of_any_scale(space, rng) if cover else None))
        if len(chosen) > wanted:
            # Only a network of skips gets here: it computes nothing, so its path makes room for another.
            chosen.pop(next(iter(chosen)))
    return Arch(
        space=space,
        cells={kind: random_cell(space, rng) for kind in CELL_KINDS},
        paths=tuple(chosen),
        provenance={"method": "random", "seed": seed},
    )
