"""The n longest or cheapest paths: exact k-best by dynamic programming (Zeng 2020, Eq. 10 and Sec. 3.5).

Minus log beta turns the largest product into the smallest sum, so that this is also the k-best form of the Dijkstra
search in MS-NAS.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence

from cinert.errors import BadInputError
from cinert.paths import EDGE_KINDS, Edge, Path, count_paths, legal_edges
from cinert.space import Space

# Costs as whole multiples of 2^-40: sums are then exact, so that equal products tie whatever the order of
# their factors, and a tie is broken by the path itself.
_FIXED = float(2**40)


def longest_paths(space: Space, log_edges: Sequence[float], n: int) -> list[tuple[Path, float]]:
    """Find the `n` paths with the largest product of edge probabilities.

    Args:
        space: gives layers and scales.
        log_edges: log-probability of each edge, in the order of `legal_edges`.
        n: at least 1.

    Returns:
        (path, probability), most probable first. Ties go to the path whose first differing edge comes first in
        `EDGE_KINDS`.

    Raises:
        BadInputError: `n` is below 1, or there are fewer paths.
    """
    found = cheapest_paths(space, [-value for value in log_edges], n)
    return [(path, math.exp(-total)) for path, total in found]


def cheapest_paths(space: Space, costs: Sequence[float], n: int) -> list[tuple[Path, float]]:
    """Find the `n` paths with the smallest sum of edge costs.

    Args:
        space: gives layers and scales.
        costs: of each edge, in the order of `legal_edges`.
        n: at least 1.

    Returns:
        (path, cost), cheapest first; ties as in `longest_paths`.

    Raises:
        BadInputError: `n` is below 1, or there are fewer paths.
    """
    edges = legal_edges(space.layers, space.scales)
    require_paths(space, n)
    cost = {edge: round(value * _FIXED) for edge, value in zip(edges, costs, strict=True)}
    best = _k_best(cost, space.layers, n)
    return [(tuple(EDGE_KINDS[kind] for kind in kinds), total / _FIXED) for total, kinds in best]


def require_paths(space: Space, n: int) -> None:
    """Refuse a number of paths that the grid does not have.

    Raises:
        BadInputError: `n` is below 1 or above the number of paths.
    """
    available = count_paths(space.layers, space.scales)[0, 0]
    if not 1 <= n <= available:
        raise BadInputError(
            f"{n} paths asked for, but the space {space.name} has {available} paths"
            f" ({space.layers} layers, {space.scales} scales).",
            hint=f"give --paths between 1 and {available}.",
        )


def _k_best(cost: Mapping[Edge, int], layers: int, n: int) -> list[tuple[int, tuple[int, ...]]]:
    """The `n` cheapest (cost, edge kinds as numbers) from (0, 0) to (`layers`, 0).

    Of all prefixes that reach a vertex, only the `n` first can belong to one of the `n` first paths.
    """
    reached: dict[int, list[tuple[int, tuple[int, ...]]]] = {0: [(0, ())]}
    for layer in range(layers):
        arriving: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
        for edge, price in cost.items():
            if edge.layer == layer:
                kind = EDGE_KINDS.index(edge.kind)
                prefixes = reached.get(edge.source, [])
                arriving.setdefault(edge.target, []).extend((total + price, (*path, kind)) for total, path in prefixes)
        reached = {scale: heapq.nsmallest(n, candidates) for scale, candidates in arriving.items()}
    return reached[0]
