"""From measured networks to the prices of a LUT: every rule of composition is fitted, and the best one kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cinert.arch import Arch
from cinert.backends.base import Precision
from cinert.space import Space
from latency.breakdown import break_down, count_vector
from latency.composition import RULES, best_rule, fit_rule
from latency.lut_prices import Price, Prices
from latency.parts import PartKey
from latency.prices import conformal_quantile, error_figures
from latency.terms import Vector, price_terms


def learn_prices(
    space: Space,
    archs: Sequence[Arch],
    keys: list[PartKey],
    *,
    network_ms: Vector,
    isolated_ms: Vector,
    precision: Precision,
    overlap: float,
    networks: Sequence[Mapping[str, Any]],
    seed: int = 0,
) -> Prices:
    """Fit the prices and report how well they predict networks that they have not seen.

    Args:
        space: of the parts.
        archs: (networks,) that were timed.
        keys: parts of the space.
        network_ms: (networks,) quiet host-to-host time.
        isolated_ms: (parts,) quiet time alone.
        precision: of the parts.
        overlap: sustained frames/s times latency in seconds.
        networks: a record per network for the report.
        seed: of the cross-validation's folds.

    Raises:
        BadInputError: too few networks.
    """
    _, basis = price_terms(keys, space)
    breakdowns = [break_down(arch, precision) for arch in archs]
    rules = [fit_rule(rule, breakdowns, keys, network_ms, isolated_ms, basis, seed=seed) for rule in RULES]
    best = best_rule(rules, network_ms)
    counts = np.stack([count_vector(each.total, keys) for each in breakdowns])
    raw_sum = counts @ isolated_ms
    figures = {
        "cross_validated": error_figures(best.held_out_ms, network_ms),
        "in_sample": error_figures(best.predicted_ms, network_ms),
        "raw_sum_of_isolated": error_figures(raw_sum, network_ms),
        "rules": {each.rule: error_figures(each.held_out_ms, network_ms) for each in rules},
        "condition": best.fit.condition,
    }
    records = [
        {**record, "quiet_ms": float(ms), "held_out_ms": float(guess), "raw_sum_ms": float(raw)}
        for record, ms, guess, raw in zip(networks, network_ms, best.held_out_ms, raw_sum, strict=True)
    ]
    held = (counts > 0).sum(axis=0)
    return Prices(
        constant_ms=best.fit.constant_ms,
        parts={
            key.label: Price(
                key=key,
                ms=float(best.fit.prices_ms[column]),
                error_ms=float(best.fit.error_ms[column]),
                networks=int(held[column]),
                from_networks=float(np.clip(best.fit.from_networks[column], 0, 1)),
            )
            for column, key in enumerate(keys)
        },
        composition=best.rule,
        relative_error_90=conformal_quantile(np.abs(network_ms / best.held_out_ms - 1)),
        overlap=overlap,
        report={"figures": figures, "networks": records},
    )
