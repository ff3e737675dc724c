"""Random architectures by seed: uniform over paths, and over ops and inputs of each node."""

from __future__ import annotations

import dataclasses

import numpy as np

from cinert.arch import Arch, CellGenotype, NodeEdge, yields_nothing
from cinert.paths import CELL_KINDS, EdgeKind, Path, count_paths, legal_edges
from cinert.space import Space


def random_path(space: Space, rng: np.random.Generator) -> Path:
    """Draw one path; every path of the grid is equally likely."""
    ways = count_paths(space.layers, space.scales)
    edges = legal_edges(space.layers, space.scales)
    path: list[EdgeKind] = []
    scale = 0
    for layer in range(space.layers):
        leaving = [edge for edge in edges if (edge.layer, edge.source) == (layer, scale)]
        edge = leaving[_draw(rng, [ways[layer + 1, edge.target] for edge in leaving])]
        path.append(edge.kind)
        scale = edge.target
    return tuple(path)


def _draw(rng: np.random.Generator, weights: list[int]) -> int:
    return int(rng.choice(len(weights), p=np.asarray(weights, float) / sum(weights)))


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


def random_arch(space: Space, seed: int, *, paths: int | None = None, layers: int | None = None) -> Arch:
    """Draw an architecture; the same seed gives the same one.

    Args:
        space: where to draw from.
        seed: for `numpy.random.default_rng`.
        paths: distinct paths to fuse; None draws 1 to 4. Fewer are taken where the grid has fewer.
        layers: length of the paths; None takes the space's. Shorter ones are used to learn prices.
    """
    rng = np.random.default_rng(seed)
    if layers is not None:
        space = dataclasses.replace(space, layers=layers)
    wanted = int(rng.integers(1, 5)) if paths is None else paths
    wanted = min(wanted, count_paths(space.layers, space.scales)[0, 0])
    chosen: dict[Path, None] = {}
    while len(chosen) < wanted or all(kind == "skip" for path in chosen for kind in path):
        chosen.setdefault(random_path(space, rng))
        if len(chosen) > wanted:
            # Only a network of skips gets here: it computes nothing, so its path makes room for another.
            chosen.pop(next(iter(chosen)))
    return Arch(
        space=space,
        cells={kind: random_cell(space, rng) for kind in CELL_KINDS},
        paths=tuple(chosen),
        provenance={"method": "random", "seed": seed},
    )
