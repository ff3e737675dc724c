"""From alpha and gamma to cells: the one that argmax chooses, and the next most probable ones."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from cinert.arch import CellGenotype, NodeEdge, live_edges, yields_nothing
from cinert.paths import CellKind
from cinert.space import Space
from latency.cost_cell import node_rows
from search.relaxation import ArchParameters

# The most probable (input, op) pairs of a node; what is less probable is not worth what it saves.
PAIRS = 8


def decode_cell(parameters: ArchParameters, kind: CellKind) -> CellGenotype:
    """Choose one (input, op) pair for each node; `zero` leaves the node empty.

    A cell that would yield nothing is decoded again without `zero`. Edges that carry only zeros are dropped.
    """
    cell = _by_argmax(parameters, kind, banned=None)
    if yields_nothing(cell):
        cell = _by_argmax(parameters, kind, banned=parameters.space.ops.index("zero"))
    return live_edges(cell)


def ranked_cells(parameters: ArchParameters, kind: CellKind) -> list[tuple[CellGenotype, float]]:
    """Cells and their log-probabilities, the one of `decode_cell` first, then by falling probability.

    With `separate`, argmax of gamma and then of alpha (Zeng 2020) need not have the largest product. That cell is given
    the largest log-probability nevertheless, so that without a binding budget it is the one that is decoded.

    A cell's probability is the product over its nodes of gamma times alpha (`separate`) or of the joint softmax
    (`joint`). Cells that differ only in edges that carry zeros count once; cells that yield nothing do not count.
    """
    space = parameters.space
    alpha = parameters.alpha[kind].detach().double()
    gamma = parameters.gamma[kind].detach().double() if kind in parameters.gamma else None
    nodes = []
    for node in range(space.nodes):
        rows = node_rows(node)
        if gamma is None:
            logs = torch.log_softmax(alpha[rows].flatten(), dim=0)
        else:
            logs = (torch.log_softmax(alpha[rows], dim=1) + torch.log_softmax(gamma[rows], dim=0)[:, None]).flatten()
        best = torch.topk(logs, min(PAIRS, len(logs)))
        nodes.append(
            [
                (float(value), _node_edges(space, divmod(int(index), len(space.ops))))
                for value, index in zip(best.values, best.indices, strict=True)
            ]
        )
    first = decode_cell(parameters, kind)
    found: dict[CellGenotype, float] = {}
    for choice in itertools.product(*nodes):
        cell = tuple(edges for _, edges in choice)
        if not yields_nothing(cell):
            live = live_edges(cell)
            found[live] = max(found.get(live, -math.inf), sum(value for value, _ in choice))
    found[first] = max(found.values(), default=0.0)
    return sorted(found.items(), key=lambda item: (-item[1], item[0] != first))


def _by_argmax(parameters: ArchParameters, kind: CellKind, *, banned: int | None) -> CellGenotype:
    alpha = parameters.alpha[kind].detach().clone()
    if banned is not None:
        alpha[:, banned] = -torch.inf
    gamma = parameters.gamma[kind].detach() if kind in parameters.gamma else None
    space = parameters.space
    return tuple(
        _node_edges(space, _pair(alpha[node_rows(node)], None if gamma is None else gamma[node_rows(node)], space))
        for node in range(space.nodes)
    )


def _node_edges(space: Space, pair: tuple[int, int]) -> tuple[NodeEdge, ...]:
    op = space.ops[pair[1]]
    return () if op == "zero" else (NodeEdge(pair[0], op),)


def _pair(alpha: Tensor, gamma: Tensor | None, space: Space) -> tuple[int, int]:
    """Best (input, op column) of a node; the first of equal ones."""
    if gamma is None:
        return divmod(int(alpha.flatten().argmax()), len(space.ops))
    input_ = int(gamma.argmax())
    return input_, int(alpha[input_].argmax())
