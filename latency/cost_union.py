"""Expected latency of the union of several paths: what paths share is paid once. Times in milliseconds."""

from __future__ import annotations

import torch
from torch import Tensor

from latency.cost import Cells, SpaceCosts, cell_ms, edge_ms, node_rows


def union_ms(costs: SpaceCosts, cells: Cells, visits_NE: Tensor) -> Tensor:
    """Expected estimate of the network that N independent paths and one (input, op) pair per node make up.

    With the composition `sum` it is the exact expectation over such networks of `estimate(arch).ms`: a cell that
    several paths cross is paid once, a vertex that d edges enter pays d - 1 additions, and an op that reads an empty
    node is not paid. With `critical path` it is the longest way through the vertices, and edges are taken as there or
    not independently of each other. On a decoded architecture both equal its estimate.

    Args:
        costs: prices.
        cells: weights of the (input, op) pairs, `Relaxed.cells`.
        visits_NE: (paths, legal edges), probability that each path crosses each edge: `drawn_visits` of the relaxed
            network, `kept_visits` of a decoded one.

    Returns:
        Scalar, in milliseconds.
    """
    live = {kind: live_weights(weights, costs) for kind, weights in cells.items()}
    cells_ms = edge_ms(costs, cell_ms(costs, live)).to(visits_NE)
    present_E = 1 - (1 - visits_NE).prod(dim=0)
    if costs.composition == "critical path":
        return costs.fixed_ms + _longest_ms(costs, present_E, cells_ms)
    return costs.fixed_ms + torch.dot(present_E, cells_ms) + _merges_ms(costs, visits_NE, present_E)


def live_weights(weights: Tensor, costs: SpaceCosts) -> Tensor:
    """Weight of each (input, op) pair times the probability that its input carries anything, (M(M+1)/2, ops).

    Nodes choose independently of each other, so the probability of a node to be filled is that of a pair other than
    `zero` whose input is filled.
    """
    space = costs.space
    yields = [column for column, op in enumerate(space.ops) if op != "zero"]
    filled = weights.new_ones(1)
    rows = []
    for node in range(space.nodes):
        live = weights[node_rows(node)] * filled[:, None]
        rows.append(live)
        # Above one where a node has several edges: it is filled all the same.
        filled = torch.cat([filled, live[:, yields].sum().clamp(max=1)[None]])
    return torch.cat(rows)


def _merges_ms(costs: SpaceCosts, visits_NE: Tensor, present_E: Tensor) -> Tensor:
    """Expected additions in the vertices: of d edges that enter, E[max(0, d - 1)] = E[d] - P(d > 0)."""
    scales = costs.space.scales
    vertex = torch.tensor([edge.layer * scales + edge.target for edge in costs.edges], device=visits_NE.device)
    vertices = costs.space.layers * scales
    visits_NV = visits_NE.new_zeros(len(visits_NE), vertices).index_add(1, vertex, visits_NE)
    present_V = 1 - (1 - visits_NV).prod(dim=0)
    entering_V = present_E.new_zeros(vertices).index_add(0, vertex, present_E)
    return torch.dot(entering_V - present_V, costs.merge_ms.to(visits_NE).repeat(costs.space.layers))


def _longest_ms(costs: SpaceCosts, present_E: Tensor, cells_ms: Tensor) -> Tensor:
    """Expected length of the longest way from (0, 0) to (L, 0) along edges that are there.

    Of the edges that enter a vertex the one that arrives last counts; it is the k-th latest if that one is there and
    no later one is. A vertex pays its additions before anything leaves it.
    """
    nothing = cells_ms.new_zeros(())
    arrival = {0: nothing}
    merge_ms = costs.merge_ms.to(cells_ms)
    for layer in range(costs.space.layers):
        entering: dict[int, list[int]] = {}
        for position, edge in enumerate(costs.edges):
            if edge.layer == layer:
                entering.setdefault(edge.target, []).append(position)
        following = {}
        for scale, positions in entering.items():
            ends = torch.stack([arrival[costs.edges[position].source] + cells_ms[position] for position in positions])
            latest = ends.detach().argsort(descending=True, stable=True)
            there = present_E[positions][latest]
            none_later = torch.cat([there.new_ones(1), (1 - there).cumprod(dim=0)])
            some = (1 - none_later[-1]).clamp_min(torch.finfo(there.dtype).tiny)
            last = torch.dot(there * none_later[:-1], ends[latest]) / some
            following[scale] = last + merge_ms[scale] * (there.sum() - some).relu() / some
        arrival = following
    return arrival[0]
