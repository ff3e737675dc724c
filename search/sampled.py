"""A sampled set of paths in place of the whole grid: what a step computes shrinks to a few cells.

As in GDAS (Dong & Yang 2019), edges that were drawn weigh one on the way forward, as they do in the decoded network,
and pass their gradient on to the probability that they were drawn with.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from cinert.paths import Edge, Path
from latency.cost import Relaxed


def draw_paths(edges: Sequence[Edge], probabilities: Tensor, n: int, rng: np.random.Generator) -> list[Path]:
    """Draw `n` paths, each from the source on by the probabilities of the edges that leave a vertex.

    Args:
        edges: legal edges.
        probabilities: (legal edges,), `Relaxed.edges`.
        n: paths; the same may be drawn twice.
        rng: source of randomness.
    """
    leaving: dict[tuple[int, int], list[tuple[Edge, float]]] = {}
    for edge, probability in zip(edges, probabilities.detach().tolist(), strict=True):
        leaving.setdefault((edge.layer, edge.source), []).append((edge, probability))
    paths = []
    for _ in range(n):
        vertex, kinds = (0, 0), []
        while vertex in leaving:
            choices, weights = zip(*leaving[vertex], strict=True)
            edge = choices[int(rng.choice(len(choices), p=np.asarray(weights) / sum(weights)))]
            kinds.append(edge.kind)
            vertex = (edge.layer + 1, edge.target)
        paths.append(tuple(kinds))
    return paths


def straight_through(relaxed: Relaxed) -> Relaxed:
    """The same with edges of weight one whose gradient is that of their probability."""
    return Relaxed(relaxed.cells, 1 + (relaxed.edges - relaxed.edges.detach()))
