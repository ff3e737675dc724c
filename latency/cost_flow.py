"""How often a path crosses each edge of the grid: by beta, by counting paths, or for paths that are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from cinert.paths import CELL_KINDS, SCALE_STEP, Edge, Path, walk
from latency.cost import SpaceCosts


def edge_marginals(costs: SpaceCosts, weights: Tensor) -> Tensor:
    """Probability that a path crosses each edge, by forward-backward.

    A path's probability is proportional to the product of its edges' weights: with the probabilities of beta, paths
    are drawn by beta; with ones, all paths are equally likely.

    Args:
        costs: of the space.
        weights: (legal edges,), not negative.

    Returns:
        (legal edges,); sums to one in each layer.
    """
    scales = costs.space.scales
    start = weights.new_zeros(scales)
    start[0] = 1
    forward, before = start, []
    for here, sources, targets in _layers(costs.edges, weights.device):
        before.append(forward[sources])
        forward = weights.new_zeros(scales).index_add(0, targets, forward[sources] * weights[here])
    total = forward[0]
    backward, after = start, []
    for here, sources, targets in reversed(list(_layers(costs.edges, weights.device))):
        after.append(backward[targets])
        backward = weights.new_zeros(scales).index_add(0, sources, backward[targets] * weights[here])
    return torch.cat(before) * weights * torch.cat(after[::-1]) / total


def forward_shares(costs: SpaceCosts) -> Tensor:
    """Share of each cell among the paths that have arrived in the next layer (Lu 2022, supplement, Fig. 3).

    As there, paths are counted from the source only, on the whole grid, whether or not they can still return to
    scale 0, and a path is made of cells: skip edges get no share.

    Returns:
        (legal edges,) float64; sums to one over all cells of a layer, those that are not legal included.
    """
    space = costs.space
    arriving = {0: 1}
    share: dict[Edge, float] = {}
    for layer in range(space.layers):
        crossing = {
            Edge(layer, source, kind): count
            for source, count in arriving.items()
            for kind in CELL_KINDS
            if 0 <= source + SCALE_STEP[kind] < space.scales
        }
        share |= {edge: count / sum(crossing.values()) for edge, count in crossing.items()}
        arriving = {}
        for edge, count in crossing.items():
            arriving[edge.target] = arriving.get(edge.target, 0) + count
    return torch.tensor([share.get(edge, 0.0) for edge in costs.edges], dtype=torch.float64)


def path_shares(costs: SpaceCosts) -> Tensor:
    """Share of each cell among the paths of cells from source to sink, all equally likely.

    Returns:
        (legal edges,) float64; sums to one in each layer, skip edges get no share.
    """
    cells = [float(edge.kind != "skip") for edge in costs.edges]
    return edge_marginals(costs, torch.tensor(cells, dtype=torch.float64))


def drawn_visits(costs: SpaceCosts, edges: Tensor, n: int) -> Tensor:
    """Probability that each of `n` paths, drawn independently by beta, crosses each edge.

    Args:
        costs: of the space.
        edges: (legal edges,), `Relaxed.edges`.
        n: number of paths.

    Returns:
        (n, legal edges).
    """
    return edge_marginals(costs, edges).expand(n, -1)


def kept_visits(costs: SpaceCosts, paths: Sequence[Path]) -> Tensor:
    """The same for paths that are known: (paths, legal edges) of ones and zeros, float64."""
    index = {edge: position for position, edge in enumerate(costs.edges)}
    visits = torch.zeros(len(paths), len(costs.edges), dtype=torch.float64, device=costs.op_ms.device)
    for row, path in enumerate(paths):
        visits[row, [index[edge] for edge in walk(path)]] = 1
    return visits


def _layers(edges: Sequence[Edge], device: torch.device) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Positions, source scales and target scales of each layer's edges; legal edges are sorted by layer."""
    start = 0
    for layer in range(edges[-1].layer + 1):
        here = [edge for edge in edges if edge.layer == layer]
        sources = torch.tensor([edge.source for edge in here], device=device)
        targets = torch.tensor([edge.target for edge in here], device=device)
        yield slice(start, start + len(here)), sources, targets
        start += len(here)
