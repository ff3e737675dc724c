"""What is expected of a relaxed cell: its ops, the nodes that it fills, and those that repeat each other.

A decoded cell computes no node that is empty and no value twice (`cinert.vertices`). Here both are probabilities, by
recursion over the nodes, each of which chooses its (input, op) pair independently of the others. Weights of zeros and
ones give exactly what the decoded cell does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cinert.space import Space


@dataclass(frozen=True)
class CellForm:
    """A cell kind in expectation."""

    ops_ms: Tensor
    """(scales,): ops and additions at each scale that the cell can lead to."""
    live_M: Tensor
    """Probability that a node holds anything but zeros."""
    same_MM: Tensor
    """Probability that two nodes hold the same tensor."""
    count_M: Tensor
    """Probability that 1..M nodes are filled."""


def node_rows(node: int) -> slice:
    """Rows of a cell's weights that belong to the inputs 0..node of a node."""
    first = node * (node + 1) // 2
    return slice(first, first + node + 1)


def cell_form(space: Space, op_ms: Tensor, merge_ms: Tensor, weights: Tensor) -> CellForm:
    """Work out what is expected of a cell (Zeng 2020, Eq. 7-8).

    A node whose weights exceed one stands for several edges, as an architecture from a file may have them, and pays an
    addition for each beyond the first; a relaxation never does.

    Args:
        space: gives nodes and ops.
        op_ms: (scales, ops) prices.
        merge_ms: (scales,) price of an addition.
        weights: (M(M+1)/2, ops) of the (input, op) pairs.
    """
    live, used, inflow = _live(space, weights)
    single = (2 - inflow).clamp(0, 1)
    same, pooled = _repeats(space, used, single)
    ops_ms = op_ms @ used.sum(dim=0) + merge_ms * (inflow - 1).relu().sum()
    if "maxpool" in space.ops:
        # What is pooled already is not pooled again: it costs an identity, or nothing where the space has none.
        column = space.ops.index("maxpool")
        copy = op_ms[:, space.ops.index("identity")] if "identity" in space.ops else 0.0
        cheaper = op_ms[:, column] - copy
        for node in range(1, space.nodes):
            again = pooled[: node + 1, 1 : node + 1].amax(dim=1)
            ops_ms = ops_ms - cheaper * single[node] * torch.dot(used[node_rows(node), column], again)
    return CellForm(ops_ms, live[1:], same[1:, 1:], node_count(live[1:]))


def node_count(live: Tensor) -> Tensor:
    """Probability of 1..M filled nodes, (..., M), given that there is one; nodes are filled independently.

    Where hardly any is filled it is one: two would be far less likely still.
    """
    count = torch.ones_like(live[..., :1])
    for one in torch.split(live, 1, dim=-1):
        nothing = torch.zeros_like(one)
        count = torch.cat([count * (1 - one), nothing], dim=-1) + torch.cat([nothing, count * one], dim=-1)
    filled = count[..., 1:]
    total = filled.sum(dim=-1, keepdim=True)
    one_only = torch.eye(live.shape[-1]).to(live)[0]
    return torch.where(total > torch.finfo(total.dtype).eps, ratio(filled, total), one_only)


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Part over whole; zero, with no gradient, where the whole is nothing but rounding."""
    there = whole > torch.finfo(whole.dtype).eps
    return torch.where(there, part / torch.where(there, whole, 1.0), 0.0)


def full_vertex(like: Tensor, nodes: int) -> Tensor:
    """The count of a vertex that is full, as the stem leaves it."""
    count = like.new_zeros(nodes)
    count[-1] = 1
    return count


def _live(space: Space, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(M + 1,) filled states, the preprocessed input first; weights of pairs that read one; their sum by node."""
    yields = weights.new_tensor([float(op != "zero") for op in space.ops])
    live, used, inflow = weights.new_ones(1), [], []
    for node in range(space.nodes):
        used.append(weights[node_rows(node)] * yields * live[:, None])
        inflow.append(used[-1].sum())
        live = torch.cat([live, inflow[-1].clamp(max=1)[None]])
    return live, torch.cat(used), torch.stack(inflow)


def _repeats(space: Space, used: Tensor, single: Tensor) -> tuple[Tensor, Tensor]:
    """Probability that two states are the same tensor, and that a state is another one pooled, each (M + 1, M + 1).

    `pooled[i, x]` is that of state x being the max-pool of state i. An identity is its input; a pooled state is the
    same as another that pools the same input.
    """

    def column(op: str, rows: slice) -> Tensor:
        return used[rows, space.ops.index(op)] if op in space.ops else used.new_zeros(rows.stop - rows.start)

    same = [[used.new_ones(())]]
    pooled: list[list[Tensor]] = [[used.new_zeros(())]]
    for node in range(space.nodes):
        copied, pooled_of = (column(op, node_rows(node)) * single[node] for op in ("identity", "maxpool"))
        known = len(same)
        same_before, pooled_before = (torch.stack([torch.stack(row) for row in table]) for table in (same, pooled))
        # State `known` against the states before it.
        equal = copied @ same_before + pooled_of @ pooled_before
        is_pooled = same_before @ pooled_of + pooled_before @ copied
        # A state before this one can be it pooled only where this one repeats a still earlier state.
        pools = (equal[:, None] * pooled_before).amax(dim=0)
        for state in range(known):
            same[state].append(equal[state])
            pooled[state].append(is_pooled[state])
        same.append([*equal.unbind(), used.new_ones(())])
        pooled.append([*pools.unbind(), used.new_zeros(())])
    return (torch.stack([torch.stack(row) for row in same]), torch.stack([torch.stack(row) for row in pooled]))
