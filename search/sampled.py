"""A sample in place of the whole mixture: a few paths of the grid, and within their cells one op a node.

As in GDAS (Dong & Yang 2019), what was drawn weighs one on the way forward, as it does in the decoded network, and
passes its gradient on to the probability that it was drawn with.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cinert.paths import Edge, Path, union
from latency.cost import Relaxed
from latency.cost_cell import node_rows
from search.words import Mixture


def draw_mixture(
    mixture: Mixture, relaxed: Relaxed, edges: Sequence[Edge], n: int, rng: np.random.Generator
) -> tuple[Relaxed, frozenset[Edge] | None]:
    """Draw what a step computes.

    Args:
        mixture: what to draw.
        relaxed: probabilities.
        edges: legal edges.
        n: paths.
        rng: source of randomness.

    Returns:
        Weights of ops and edges, and the edges to compute; None for all.
    """
    if mixture == "full":
        return relaxed, None
    only = frozenset(union(draw_paths(edges, relaxed.edges, n, rng)))
    sampled = straight_through(relaxed)
    if mixture == "sampled-ops":
        sampled = Relaxed({kind: draw_ops(weights, rng) for kind, weights in relaxed.cells.items()}, sampled.edges)
    return sampled, only


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


def draw_ops(weights: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw one (input, op) pair for each node of a cell.

    What was drawn weighs p over its own value: one, with the gradient of log p. Since a pair is met with probability p,
    the mean over draws is the gradient of the expected loss wherever the loss is linear in the weights of a node.

    Args:
        weights: (cell edges, ops), `Relaxed.cells` of a kind: gamma times alpha or the joint softmax, which sum to one
            over the pairs of a node alike.
        rng: source of randomness.

    Returns:
        (cell edges, ops): one at the drawn pairs, zero elsewhere.
    """
    known = weights.detach()
    # Read once for all nodes, because a GPU has to be waited for.
    probabilities = known.double().cpu().numpy()
    picked = np.zeros_like(probabilities)
    nodes = next(node for node in itertools.count() if node_rows(node).start == len(known))
    for node in range(nodes):
        pairs = probabilities[node_rows(node)].ravel()
        picked[node_rows(node)].flat[int(rng.choice(len(pairs), p=pairs / pairs.sum()))] = 1
    drawn = torch.from_numpy(picked).to(known)
    return drawn * weights / torch.where(drawn > 0, known, 1)
