"""Critical-path latency of a relaxed network (Lu 2022, Eq. 3-5). Times in milliseconds."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cinert.paths import SCALE_STEP, CellKind
from latency.cost import Cells, Relaxed, SpaceCosts
from latency.cost_cell import node_rows
from latency.cost_flow import edge_marginals, forward_shares, path_shares

Occurrence = Literal["forward", "exact", "beta"]
"""k_c^l, how often a cell occurs: by counts of the paths that arrive (the paper's supplement), by counts of the paths
from source to sink, or by beta."""


def critical_cell_ms(costs: SpaceCosts, cells: Cells) -> dict[tuple[CellKind, int], Tensor]:
    """Expected latency of every cell kind at every source scale: the longest way from X_0 to X_N, and S_cell.

    The latency of the connection from tensor j to i is sum_o p_ij^o Lat^o, with p the joint softmax over all inputs
    and ops of i (Eq. 3; its second index runs over j, for a sum over all inputs would not depend on j, and every
    longest way would lead through all tensors). S_cell is the preprocessing of a full vertex and the concatenation of
    all nodes (Eq. 4).
    """
    result = {}
    for (kind, source), preprocessing_ms in costs.preprocessing_ms.items():
        weights, target = cells[kind], source + SCALE_STEP[kind]
        connection_ms = weights @ costs.op_ms[target].to(weights)
        longest = weights.new_zeros(1)
        for node in range(costs.space.nodes):
            # Ties share the gradient, as at the start, when all weights are equal.
            arrival = (longest + connection_ms[node_rows(node)]).amax(dim=0, keepdim=True)
            longest = torch.cat([longest, arrival])
        scaling_ms = preprocessing_ms[-1] + costs.concatenation_ms[target, -1]
        result[kind, source] = scaling_ms.to(weights) + longest[-1]
    return result


def cell_occurrence(costs: SpaceCosts, relaxed: Relaxed, how: Occurrence) -> Tensor:
    """k_c^l of each legal edge, (legal edges,)."""
    match how:
        case "forward":
            return forward_shares(costs).to(relaxed.edges)
        case "exact":
            return path_shares(costs).to(relaxed.edges)
        case "beta":
            return edge_marginals(costs, relaxed.edges)


def critical_path_ms(costs: SpaceCosts, relaxed: Relaxed, occurrence: Occurrence) -> Tensor:
    """Expected latency L_t = sum_l sum_c k_c^l Lat_c of one path through the grid (Lu 2022, Eq. 5).

    The stem, the head of a full vertex and the constant, which the equation leaves out, are added, since the bound L_ub
    that L_t is held against is for the whole network.

    Args:
        costs: prices.
        relaxed: probabilities.
        occurrence: how k_c^l is computed; only `beta` lets gradients flow to beta.

    Returns:
        Scalar, in milliseconds.
    """
    cells_ms = critical_cell_ms(costs, relaxed.cells)
    nothing = relaxed.edges.new_zeros(())
    edges_ms = [nothing if edge.kind == "skip" else cells_ms[edge.kind, edge.source] for edge in costs.edges]
    shares = cell_occurrence(costs, relaxed, occurrence)
    return costs.fixed_ms + costs.head_ms[-1].to(shares) + torch.dot(shares, torch.stack(edges_ms).to(shares))
