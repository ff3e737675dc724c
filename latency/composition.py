"""How the prices of parts compose to the latency of a network: found by fit for each back end, not assumed.

*sum*: everything adds up, as on an engine that runs one kernel at a time. *critical path*: cells that lie side by side
overlap, and the network takes as long as its longest path, as an engine with several streams could; inside a cell
everything adds up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from latency.breakdown import Breakdown, Parts, Vertex, count_vector
from latency.parts import PartKey
from latency.prices import Fit, cross_validated, error_figures, fit
from latency.terms import Matrix, Vector

Rule = Literal["sum", "critical path"]
RULES: tuple[Rule, ...] = get_args(Rule)
_REFITS = 6
_MARGIN = 0.9
"""A rule replaces the sum only if it takes a tenth off the held-out error: the sum is the simpler claim."""


def composed(breakdown: Breakdown, prices: dict[PartKey, float], rule: Rule) -> Parts:
    """The parts that a network's latency adds up: all, or those on its longest path."""
    if rule == "sum":
        return breakdown.total

    def cost(parts: Parts) -> float:
        return sum(count * prices[key] for key, count in parts.items())

    longest: dict[Vertex, tuple[float, Parts]] = {(0, 0): (0.0, Counter())}
    arriving: dict[Vertex, tuple[float, Parts]] = {}
    last = max(edge.layer for edge in breakdown.edges) + 1
    for layer in range(last):
        for edge in breakdown.edges:
            if edge.layer == layer:
                before_ms, before = longest[edge.layer, edge.source]
                parts = breakdown.cells.get(edge, Counter())
                through = (before_ms + cost(parts), before + parts)
                arriving[layer + 1, edge.target] = max(
                    arriving.get((layer + 1, edge.target), through), through, key=lambda way: way[0]
                )
        for vertex, (ms, way) in arriving.items():
            own = breakdown.vertices.get(vertex, Counter())
            longest[vertex] = (ms + cost(own), way + own)
        arriving = {}
    return breakdown.ends + longest[last, 0][1]


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A rule, the prices that fit it best, and how well it predicts networks that it has not seen."""

    rule: Rule
    fit: Fit
    predicted_ms: Vector
    """(networks,) of each network, in sample."""
    held_out_ms: Vector
    """(networks,) of each network, by prices fitted without it."""


def fit_rule(
    rule: Rule,
    breakdowns: Sequence[Breakdown],
    keys: list[PartKey],
    network_ms: Vector,
    isolated_ms: Vector,
    basis: Matrix,
    *,
    seed: int,
) -> Composed:
    """Fit prices under a rule. Which path is the longest depends on the prices, so they are fitted in turn.

    Args:
        rule: how parts compose.
        breakdowns: (networks,).
        keys: parts, in the order of the prices.
        network_ms: (networks,) quiet time of each.
        isolated_ms: (parts,) quiet time of each part alone.
        basis: of `latency.terms.price_terms`.
        seed: of the folds of the cross-validation.
    """
    counts = _counts(breakdowns, keys, dict(zip(keys, isolated_ms, strict=True)), rule)
    fitted = fit(counts, network_ms, isolated_ms, basis)
    for _ in range(_REFITS if rule != "sum" else 0):
        counts = _counts(breakdowns, keys, dict(zip(keys, fitted.prices_ms, strict=True)), rule)
        fitted = fit(counts, network_ms, isolated_ms, basis)
    held_out = cross_validated(counts, network_ms, isolated_ms, basis, seed=seed)
    return Composed(rule=rule, fit=fitted, predicted_ms=fitted.predict(counts), held_out_ms=held_out)


def _counts(breakdowns: Sequence[Breakdown], keys: list[PartKey], prices: dict[PartKey, float], rule: Rule) -> Matrix:
    return np.stack([count_vector(composed(each, prices, rule), keys) for each in breakdowns])


def best_rule(candidates: Sequence[Composed], network_ms: Vector) -> Composed:
    """The rule that predicts held-out networks best; the sum unless another is clearly better."""
    errors = {each.rule: error_figures(each.held_out_ms, network_ms)["mape"] for each in candidates}
    return min(candidates, key=lambda each: errors[each.rule] * (_MARGIN if each.rule == "sum" else 1))
