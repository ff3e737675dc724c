"""Expected latency of the union of several paths: what paths share is paid once. Times in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cinert.paths import CellKind
from latency.cost import Cells, SpaceCosts
from latency.cost_cell import CellForm, full_vertex, node_count

Vertex = tuple[int, int]


@dataclass(frozen=True)
class _State:
    """A vertex in expectation. Probabilities are given that the vertex is there, times are not."""

    present: Tensor
    """Probability that a path arrives."""
    held_M: Tensor
    """Probability that a node is filled."""
    same_MM: Tensor
    """Probability that two nodes hold the same tensor."""
    count_M: Tensor
    """Probability that 1..M nodes are filled."""
    passed_on: Tensor
    """Probability that only a skip edge arrives, so that the vertex is the one before it."""
    merges_ms: Tensor
    """Additions where edges meet."""


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
    states = _vertices(costs, forms, visits_NE)
    joined_ms = _joined_ms(costs, states, visits_NE)
    edges_ms = torch.stack([_cell_ms(costs, forms, states, position) for position in range(len(costs.edges))])
    ends_ms = costs.fixed_ms + torch.dot(states[costs.space.layers, 0].count_M, costs.head_ms)
    present_E = _any(visits_NE)
    own_ms = {vertex: state.merges_ms + joined_ms[vertex] for vertex, state in states.items()}
    if costs.composition == "critical path":
        return ends_ms + _longest_ms(costs, present_E, edges_ms, states, own_ms)
    return ends_ms + torch.dot(present_E, edges_ms) + torch.stack(list(own_ms.values())).sum()


def _any(visits: Tensor) -> Tensor:
    """Probability that at least one of the paths does, by (paths, ...) that each does."""
    return 1 - (1 - visits).prod(dim=0)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Part over whole, at most one; nothing of nothing is zero."""
    return (part / whole.clamp_min(torch.finfo(whole.dtype).tiny)).clamp(max=1)


def _cell_ms(costs: SpaceCosts, forms: dict[CellKind, CellForm], states: dict[Vertex, _State], position: int) -> Tensor:
    """Latency of an edge that is there: preprocessing of the nodes that it reads, and ops."""
    edge = costs.edges[position]
    if edge.kind == "skip":
        return costs.head_ms.new_zeros(())
    read = torch.dot(states[edge.layer, edge.source].count_M, costs.preprocessing_ms[edge.kind, edge.source])
    return read + forms[edge.kind].ops_ms[edge.target]


def _vertices(costs: SpaceCosts, forms: dict[CellKind, CellForm], visits_NE: Tensor) -> dict[Vertex, _State]:
    """All vertices, layer by layer."""
    space, present_E = costs.space, _any(visits_NE)
    none = visits_NE.new_zeros(())
    stem = _State(
        present=none + 1,
        held_M=visits_NE.new_ones(space.nodes),
        same_MM=torch.eye(space.nodes).to(visits_NE),
        count_M=full_vertex(visits_NE, space.nodes),
        passed_on=none,
        merges_ms=none,
    )
    states = {(0, 0): stem}
    for vertex, positions in _entering(costs).items():
        edges = [costs.edges[position] for position in positions]
        befores = [states[edge.layer, edge.source] for edge in edges]
        live = [
            before.held_M if edge.kind == "skip" else forms[edge.kind].live_M
            for edge, before in zip(edges, befores, strict=True)
        ]
        same = [
            before.same_MM if edge.kind == "skip" else forms[edge.kind].same_MM
            for edge, before in zip(edges, befores, strict=True)
        ]
        present = _any(visits_NE[:, positions].sum(dim=1))
        by_cell = [position for position, edge in zip(positions, edges, strict=True) if edge.kind != "skip"]
        fills_ME = torch.stack(live, dim=1)
        terms_M = fills_ME @ present_E[positions]
        # No more than there are terms: a node that one edge fills is one, however many paths cross it.
        filled_M = torch.minimum(_any(visits_NE[:, positions] @ fills_ME.T), terms_M)
        equal_MM = _equal(same, live, _share(present_E[positions], present))
        again_M = torch.tril(equal_MM, diagonal=-1).amax(dim=1)
        held_M = _share(filled_M, present)
        states[vertex] = _State(
            present=present,
            held_M=held_M,
            same_MM=equal_MM,
            count_M=node_count(held_M),
            passed_on=1 - _share(_any(visits_NE[:, by_cell].sum(dim=1)), present),
            merges_ms=costs.merge_ms[vertex[1]] * torch.dot(terms_M - filled_M, 1 - again_M),
        )
    return states


def _entering(costs: SpaceCosts) -> dict[Vertex, list[int]]:
    entering: dict[Vertex, list[int]] = {}
    for position, edge in enumerate(costs.edges):
        entering.setdefault((edge.layer + 1, edge.target), []).append(position)
    return entering


def _equal(same: list[Tensor], live: list[Tensor], present: Tensor) -> Tensor:
    """Probability that all edges that arrive give two nodes the same tensor, or both nothing."""
    equal = torch.ones_like(same[0])
    for same_MM, live_M, share in zip(same, live, present, strict=True):
        empty_MM = torch.outer(1 - live_M, 1 - live_M)
        equal = equal * (1 - share * (1 - (same_MM + empty_MM).clamp(max=1)))
    return equal


def _joined_ms(costs: SpaceCosts, states: dict[Vertex, _State], visits_NE: Tensor) -> dict[Vertex, Tensor]:
    """Concatenation of each vertex that a cell or the head reads, once for vertices that a skip edge makes the same."""
    leaving: dict[Vertex, list[int]] = {}
    for position, edge in enumerate(costs.edges):
        if edge.kind != "skip":
            leaving.setdefault((edge.layer, edge.source), []).append(position)
    read: dict[Vertex, Tensor] = {}
    joined_ms = {}
    for vertex in sorted(states, reverse=True):
        layer, scale = vertex
        state = states[vertex]
        unread = 1 - state.present if layer == costs.space.layers else state.present.new_ones(())
        if vertex in leaving:
            unread = unread * (1 - _any(visits_NE[:, leaving[vertex]].sum(dim=1)))
        following = states.get((layer + 1, scale))
        if following is not None:
            unread = unread * (1 - following.passed_on * read[layer + 1, scale])
        read[vertex] = 1 - unread
        # The stem gives all nodes in one piece.
        new = 0.0 if layer == 0 else 1 - state.passed_on
        joined_ms[vertex] = new * read[vertex] * torch.dot(state.count_M, costs.concatenation_ms[scale])
    return joined_ms


def _longest_ms(
    costs: SpaceCosts,
    present_E: Tensor,
    edges_ms: Tensor,
    states: dict[Vertex, _State],
    own_ms: dict[Vertex, Tensor],
) -> Tensor:
    """Expected length of the longest way from the stem to the head along edges that are there.

    Of the edges that enter a vertex the one that arrives last counts; it is the k-th latest if that one is there and
    no later one is. A vertex pays its additions and its concatenation before anything leaves it.
    """
    arrival = {(0, 0): own_ms[0, 0]}
    for vertex, positions in _entering(costs).items():
        starts = [arrival[costs.edges[position].layer, costs.edges[position].source] for position in positions]
        ends = torch.stack(starts) + edges_ms[positions]
        latest = ends.detach().argsort(descending=True, stable=True)
        there = present_E[positions][latest]
        none_later = torch.cat([there.new_ones(1), (1 - there).cumprod(dim=0)])
        tiny = torch.finfo(there.dtype).tiny
        last = torch.dot(there * none_later[:-1], ends[latest]) / (1 - none_later[-1]).clamp_min(tiny)
        arrival[vertex] = last + own_ms[vertex] / states[vertex].present.clamp_min(tiny)
    return arrival[costs.space.layers, 0]
