"""The latency terms that a search can hold against the accuracy (Zeng 2020, Eq. 7-9; Lu 2022, Eq. 3-5)."""

from __future__ import annotations

import torch
from torch import Tensor

from latency.cost import SpaceCosts, path_wise_ms
from latency.cost_critical import Occurrence, critical_path_ms
from latency.cost_flow import drawn_visits
from latency.cost_union import union_ms
from search.longest import longest_paths
from search.methods import LatencyTerm
from search.relaxation import ArchParameters


def latency_of(
    term: LatencyTerm,
    costs: SpaceCosts,
    architecture: ArchParameters,
    *,
    paths: int,
    occurrence: Occurrence | None,
    gumbel: torch.Generator | None,
    temperature: float,
) -> Tensor | None:
    """Expected latency of what the architecture parameters stand for now.

    Args:
        term: which expectation; Gumbel-softmax samples weight `path-wise` (Zeng 2020, Eq. 7-9), plain softmax the
            others, and `path-wise` as well where there is no noise.
        costs: prices of the space.
        architecture: alpha, gamma and beta.
        paths: n.
        occurrence: k_c^l of `critical-path`, None for the others.
        gumbel: source of noise; None for none.
        temperature: of the Gumbel-softmax.

    Returns:
        Scalar in milliseconds; None for `none`.
    """
    match term:
        case "none":
            return None
        case "path-wise":
            longest = longest_paths(costs.space, architecture.log_edges().detach().double().tolist(), paths)
            relaxed = architecture.sample(gumbel, temperature=temperature) if gumbel else architecture.relax()
            return path_wise_ms(costs, relaxed, [path for path, _ in longest])
        case "critical-path":
            assert occurrence is not None
            return critical_path_ms(costs, architecture.relax(), occurrence)
        case "union":
            relaxed = architecture.relax()
            return union_ms(costs, relaxed.cells, drawn_visits(costs, relaxed.edges, paths))
