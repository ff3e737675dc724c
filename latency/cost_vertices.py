"""What is expected of the vertices of a relaxed network: the nodes that they hold, and the additions in them.

As a cell's nodes (`latency.cost_cell`), a vertex's may be empty or repeat each other. Probabilities are given that the
vertex is there, times are not. Axes: N paths, S scales, K the kinds of edges that enter a vertex (`SLOTS`), M nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cinert.paths import CELL_KINDS, CellKind
from latency.cost_cell import CellForm, node_count, ratio


@dataclass(frozen=True)
class Vertices:
    """The vertices of a layer."""

    present_S: Tensor
    """Probability that a path arrives."""
    held_SM: Tensor
    """Probability that a node is filled."""
    same_SMM: Tensor
    """Probability that two nodes hold the same tensor, or both nothing."""
    count_SM: Tensor
    """Probability that 1..M nodes are filled."""
    passed_on_S: Tensor
    """Probability that only a skip edge arrives, so that the vertex is the one before it."""
    merges_ms_S: Tensor
    """Additions where edges meet."""


def any_of(visits: Tensor) -> Tensor:
    """Probability that at least one of the paths does, by (paths, ...) that each does."""
    return 1 - (1 - visits).prod(dim=0)


def share_of(part: Tensor, whole: Tensor) -> Tensor:
    """Part over whole, at most one; nothing of nothing is zero."""
    return ratio(part, whole).clamp(max=1)


def stem_vertices(like: Tensor, scales: int, nodes: int) -> Vertices:
    """The first layer: the stem fills scale 0, all nodes with tensors of their own."""
    first = like.new_zeros(scales)
    first[0] = 1
    full = torch.zeros(scales, nodes).to(like)
    full[:, -1] = 1
    return Vertices(
        present_S=first,
        held_SM=like.new_ones(scales, nodes),
        same_SMM=torch.eye(nodes).to(like).expand(scales, -1, -1),
        count_SM=full,
        passed_on_S=like.new_zeros(scales),
        merges_ms_S=like.new_zeros(scales),
    )


def next_vertices(
    before: Vertices, forms: Mapping[CellKind, CellForm], visits_NSK: Tensor, merge_ms: Tensor
) -> Vertices:
    """The vertices of the next layer.

    Args:
        before: of this layer.
        forms: of the cells.
        visits_NSK: probability that each path enters each vertex by each kind of edge.
        merge_ms: (scales,) price of an addition.
    """
    scales = visits_NSK.shape[1]
    fills_SKM = torch.cat(
        [
            torch.stack([forms[kind].live_M for kind in CELL_KINDS]).expand(scales, -1, -1),
            before.held_SM[:, None],
        ],
        dim=1,
    )
    same_SKMM = torch.cat(
        [
            torch.stack([forms[kind].same_MM for kind in CELL_KINDS]).expand(scales, -1, -1, -1),
            before.same_SMM[:, None],
        ],
        dim=1,
    )
    edges_SK, present_S = any_of(visits_NSK), any_of(visits_NSK.sum(dim=2))
    terms_SM = torch.einsum("sk,skm->sm", edges_SK, fills_SKM)
    # No more than there are terms: a node that one edge fills is one, however many paths cross it.
    filled_SM = torch.minimum(any_of(torch.einsum("nsk,skm->nsm", visits_NSK, fills_SKM)), terms_SM)
    held_SM = share_of(filled_SM, present_S[:, None])
    # Two nodes of a vertex are the same where every edge that arrives makes them so, or fills neither.
    empty_SKM = 1 - fills_SKM
    alike_SKMM = (same_SKMM + empty_SKM[..., :, None] * empty_SKM[..., None, :]).clamp(max=1)
    shares_SK = share_of(edges_SK, present_S[:, None])
    same_SMM = (1 - shares_SK[..., None, None] * (1 - alike_SKMM)).prod(dim=1)
    again_SM = torch.tril(same_SMM, diagonal=-1).amax(dim=2)
    by_cell_S = any_of(visits_NSK[..., : len(CELL_KINDS)].sum(dim=2))
    return Vertices(
        present_S=present_S,
        held_SM=held_SM,
        same_SMM=same_SMM,
        count_SM=node_count(held_SM),
        passed_on_S=1 - share_of(by_cell_S, present_S),
        merges_ms_S=merge_ms * ((terms_SM - filled_SM) * (1 - again_SM)).sum(dim=1),
    )
