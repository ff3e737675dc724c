"""How far predictions are from measurements: the figures of bench-model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import kendalltau, spearmanr

from cinert.arch import Searched
from cinert.ushape.arch import UShapeArch
from latency.breakdown import arch_parts
from latency.calibration import GROUP_NAMES
from latency.estimate import LatencyEstimate
from latency.prices import error_figures
from latency.terms import Vector


def figures(predicted: Vector, measured: Vector) -> dict[str, float]:
    """Errors and rank correlations of predictions (networks,) against measurements (networks,)."""
    return {
        **error_figures(predicted, measured),
        "kendall_tau": float(kendalltau(predicted, measured).statistic),
        "spearman_rho": float(spearmanr(predicted, measured).statistic),
    }


def coverage(estimates: Sequence[LatencyEstimate], measured: Vector) -> float:
    """Share of networks whose time lies within the estimate's interval."""
    return float(np.mean([each.low_ms <= ms <= each.high_ms for each, ms in zip(estimates, measured, strict=True)]))


def flops_fitted(flops: Vector, known_flops: Vector, known_ms: Vector) -> Vector:
    """The best that FLOPs alone can do: a line through the calibration networks, in relative error."""
    design = np.column_stack([known_flops, np.ones(len(known_flops))]) / known_ms[:, None]
    slope, constant = np.linalg.lstsq(design, np.ones(len(known_ms)), rcond=None)[0]
    line: Vector = np.maximum(slope * flops + constant, 1e-9)
    return line


def network_flops(arch: Searched) -> float:
    """Operations of a network, a multiply-add counted as two."""
    return float(sum(count * key.flops for key, count in arch_parts(arch).items()))


def feasibility(estimates: Sequence[LatencyEstimate], measured: Vector, budget_ms: float) -> dict[str, Any]:
    """Of the networks that the estimate calls feasible, how many are.

    Args:
        estimates: (networks,).
        measured: (networks,).
        budget_ms: of the engine.

    Returns:
        For the estimate itself and for its upper bound: `predicted`, how many are called feasible, and `rate`, the
        share of them that are; None where none is called so.
    """
    within = measured <= budget_ms
    result: dict[str, Any] = {"budget_ms": budget_ms, "measured": int(within.sum())}
    for name, values in {"estimate": [each.ms for each in estimates], "upper": [e.high_ms for e in estimates]}.items():
        called = np.array(values) <= budget_ms
        rate = float(within[called].mean()) if called.any() else None
        result[name] = {"predicted": int(called.sum()), "rate": rate}
    return result


def residuals(
    archs: Sequence[Searched],
    groups: Sequence[Mapping[str, float]],
    predicted: Vector,
    measured: Vector,
    order: Vector,
) -> dict[str, Any]:
    """What the error is made of: by class of networks, by group of parts, by when it was measured.

    Args:
        archs: (networks,).
        groups: (networks,) milliseconds by group of parts.
        predicted: (networks,) in milliseconds.
        measured: (networks,) in milliseconds.
        order: (networks,) when it was measured, 0 to 1.

    Returns:
        Number, bias and MAPE per class: by `paths` and `deepest_scale`, of U-shaped networks by `grid` and number of
        `blocks`. `share_of`: correlation of the signed error with each group's share of the estimate. `time`: the same
        with the order.
    """
    error = predicted / measured - 1

    def by(values: Sequence[int]) -> dict[str, dict[str, float]]:
        classes = np.array(values)
        return {
            str(value): {
                "networks": int((classes == value).sum()),
                "bias": float(error[classes == value].mean()),
                "mape": float(np.abs(error[classes == value]).mean()),
            }
            for value in sorted(set(values))
        }

    shares = np.array([[group[name] / sum(group.values()) for name in GROUP_NAMES] for group in groups])
    return {
        **{name: by(values) for name, values in _classes(archs).items()},
        "share_of": {name: _correlation(shares[:, column], error) for column, name in enumerate(GROUP_NAMES)},
        "time": _correlation(order, error),
    }


def _classes(archs: Sequence[Searched]) -> dict[str, list[int]]:
    """The classes that the networks of a space fall into."""
    found: dict[str, list[int]] = {}
    for arch in archs:
        for name, value in network_class(arch).items():
            found.setdefault(name, []).append(value)
    return found


def network_class(arch: Searched) -> dict[str, int]:
    """What tells the networks of a space apart at a glance."""
    if isinstance(arch, UShapeArch):
        blocks = sum(len(level) for level in (*arch.shape.encoder, *arch.shape.decoder))
        return {"grid": arch.grid_number, "blocks": blocks}
    return {"paths": len(arch.paths), "deepest_scale": max(edge.target for edge in arch.edges)}


def _correlation(values: Vector, error: Vector) -> float:
    if np.ptp(values) == 0 or np.ptp(error) == 0:
        return 0.0
    return float(np.corrcoef(values, error)[0, 1])
