"""Expected latency of the union of several paths: what paths share is paid once. Times in milliseconds.

Axes: N paths, E legal edges, L layers, S scales, K the kinds of edges that enter a vertex (`SLOTS`), M nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cinert.paths import CELL_KINDS, CellKind
from latency.cost import Cells, SpaceCosts
from latency.cost_cell import CellForm, ratio
from latency.cost_vertices import Vertices, any_of, next_vertices, stem_vertices


def union_ms(costs: SpaceCosts, cells: Cells, visits_NE: Tensor) -> Tensor:
    """Expected estimate of the network that N independent paths and one (input, op) pair per node make up.

    A cell that several paths cross is paid once. As in the decoded network (`latency.breakdown`), a node that d edges
    fill pays d - 1 additions, a vertex is joined once where it is read, a cell pays for as many nodes as it reads, and
    what is empty or repeated is not computed. With the composition `sum` all that adds up; with `critical path` the
    longest way through the vertices counts. On a decoded architecture both equal its estimate. Between, nodes are
    taken as filled, and with `critical path` edges as there, independently of each other.

    Args:
        costs: prices.
        cells: weights of the (input, op) pairs, `Relaxed.cells`.
        visits_NE: (paths, legal edges), probability that each path crosses each edge: `drawn_visits` of the relaxed
            network, `kept_visits` of a decoded one.

    Returns:
        Scalar, in milliseconds.
    """
    costs = costs.to(visits_NE)
    forms = costs.forms({kind: weights.to(visits_NE) for kind, weights in cells.items()})
    # One more column of zeros, for edges that are not there.
    padded = torch.cat([visits_NE, visits_NE.new_zeros(len(visits_NE), 1)], dim=1)
    entering_NLSK = padded[:, costs.index.entering_LSK]
    vertices = [stem_vertices(visits_NE, costs.space.scales, costs.space.nodes)]
    for visits_NSK in entering_NLSK.unbind(dim=1):
        vertices.append(next_vertices(vertices[-1], forms, visits_NSK, costs.merge_ms))
    edges_ms_LSK = _edges_ms(costs, forms, vertices)
    own_ms_LS = _joined_ms(costs, vertices, padded[:, costs.index.leaving_LSK])
    own_ms_LS = own_ms_LS + torch.stack([layer.merges_ms_S for layer in vertices])
    ends_ms = costs.fixed_ms + torch.dot(vertices[-1].count_SM[0], costs.head_ms)
    present_LSK = any_of(entering_NLSK)
    if costs.composition == "critical path":
        return ends_ms + _longest_ms(costs, vertices, present_LSK, edges_ms_LSK, own_ms_LS)
    return ends_ms + (present_LSK * edges_ms_LSK).sum() + own_ms_LS.sum()


def _edges_ms(costs: SpaceCosts, forms: Mapping[CellKind, CellForm], vertices: Sequence[Vertices]) -> Tensor:
    """Latency of each edge that is there, (L, S, K) by the vertex that it enters; a skip edge costs nothing."""
    scales, nothing = costs.space.scales, torch.zeros_like(costs.head_ms)
    reading_ms_KSM = torch.stack(
        [
            torch.stack([costs.preprocessing_ms.get((kind, source), nothing) for source in range(scales)])
            for kind in CELL_KINDS
        ]
    )
    count_LSM = torch.stack([layer.count_SM for layer in vertices[:-1]])
    read_ms_LSK = torch.einsum("lsm,ksm->lsk", count_LSM, reading_ms_KSM)
    source_LSK = costs.index.source_LSK[..., : len(CELL_KINDS)]
    ops_ms_SK = torch.stack([forms[kind].ops_ms for kind in CELL_KINDS], dim=1)
    cells_ms_LSK = read_ms_LSK.gather(1, source_LSK) + ops_ms_SK
    return torch.cat([cells_ms_LSK, torch.zeros_like(cells_ms_LSK[..., :1])], dim=2)


def _joined_ms(costs: SpaceCosts, vertices: Sequence[Vertices], leaving_NLSK: Tensor) -> Tensor:
    """Concatenation of each vertex that a cell or the head reads, (L + 1, S); once for vertices that skips make one."""
    by_cell_LS = any_of(leaving_NLSK[..., : len(CELL_KINDS)].sum(dim=3))
    following, read_S = vertices[-1], vertices[-1].present_S
    reads = [read_S]
    for by_cell_S, layer in zip(reversed(by_cell_LS.unbind()), reversed(vertices[:-1]), strict=True):
        read_S = 1 - (1 - by_cell_S) * (1 - following.passed_on_S * read_S)
        reads.append(read_S)
        following = layer
    # The stem gives all nodes in one piece.
    new = [torch.zeros_like(read_S), *(1 - layer.passed_on_S for layer in vertices[1:])]
    joining = [(layer.count_SM * costs.concatenation_ms).sum(dim=1) for layer in vertices]
    return torch.stack(new) * torch.stack(reads[::-1]) * torch.stack(joining)


def _longest_ms(
    costs: SpaceCosts, vertices: Sequence[Vertices], present_LSK: Tensor, edges_ms_LSK: Tensor, own_ms_LS: Tensor
) -> Tensor:
    """Expected length of the longest way from the stem to the head along edges that are there.

    Of the edges that enter a vertex the one that arrives last counts; it is the k-th latest if that one is there and
    no later one is. A vertex pays its additions and its concatenation before anything leaves it.
    """
    arrival_S = own_ms_LS[0]
    for layer, source_SK in enumerate(costs.index.source_LSK):
        ends_SK = arrival_S[source_SK] + edges_ms_LSK[layer]
        latest = ends_SK.detach().argsort(dim=1, descending=True, stable=True)
        there_SK = present_LSK[layer].gather(1, latest)
        none_later_SK = (1 - there_SK).cumprod(dim=1)
        before_SK = torch.cat([torch.ones_like(none_later_SK[:, :1]), none_later_SK[:, :-1]], dim=1)
        last_S = (there_SK * before_SK * ends_SK.gather(1, latest)).sum(dim=1)
        last_S = ratio(last_S, 1 - none_later_SK[:, -1])
        arrival_S = last_S + ratio(own_ms_LS[layer + 1], vertices[layer + 1].present_S)
    return arrival_S[0]
