"""The latency terms that a search can hold against the accuracy (Zeng 2020, Eq. 7-9; Lu 2022, Eq. 3-5)."""

from __future__ import annotations

from torch import Tensor

from latency.cost import path_wise_ms
from latency.cost_critical import critical_path_ms
from latency.cost_flow import drawn_visits
from latency.cost_union import union_ms
from search.latency_terms import TermInput, latency_term
from search.longest import longest_paths
from search.words import NO_TERM, LatencyTermName


def latency_of(term: LatencyTermName, given: TermInput) -> Tensor | None:
    """Expected latency of what the architecture parameters stand for now.

    Args:
        term: which expectation.
        given: what of.

    Returns:
        Scalar in milliseconds; None for `none`.
    """
    return None if term == NO_TERM else latency_term(term).expected_ms(given)


def path_wise(given: TermInput) -> Tensor:
    """Each of the n longest paths whole, weighted by Gumbel-softmax (Zeng 2020, Eq. 7-9), or softmax without noise."""
    architecture, costs = given.architecture, given.costs
    longest = longest_paths(costs.space, architecture.log_edges().detach().double().tolist(), given.paths)
    noise = given.gumbel
    relaxed = architecture.sample(noise, temperature=given.temperature) if noise else architecture.relax()
    return path_wise_ms(costs, relaxed, [path for path, _ in longest])


def critical_path(given: TermInput) -> Tensor:
    """One path by the critical path of its cells (Lu 2022, Eq. 3-5)."""
    assert given.occurrence is not None
    return critical_path_ms(given.costs, given.architecture.relax(), given.occurrence)


def union(given: TermInput) -> Tensor:
    """The union of n drawn paths, with what they share paid once (`latency.cost_union`)."""
    relaxed = given.architecture.relax()
    return union_ms(given.costs, relaxed.cells, drawn_visits(given.costs, relaxed.edges, given.paths))
