"""Prices learned in context: a non-negative price per part, fitted to short networks timed whole.

A sum of ops timed alone misleads: alone they pay for copies, layout changes and cold caches that they do not pay
inside a network. So each network's time is explained by the parts that it holds; the isolated times, scaled, serve
as a weak prior for parts that the networks hold too rarely.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from cinert.errors import BadInputError
from latency.lut import Price, Prices
from latency.parts import PartKey

Vector = NDArray[np.float64]
_PRIOR_WEIGHT = 0.02
"""Standard deviation of a network's relative error over that of a price around its prior."""
_FOLDS = 10
_SMALLEST_PRIOR_SHARE = 1e-3


def fit(counts: NDArray[np.float64], network_ms: Vector, isolated_ms: Vector) -> tuple[float, Vector]:
    """Fit prices to whole networks in relative error.

    Args:
        counts: (networks, parts).
        network_ms: (networks,) quiet time of each.
        isolated_ms: (parts,) quiet time of each part alone.

    Returns:
        The constant and (parts,) the prices, all non-negative, in milliseconds.
    """
    scale = float(np.median(network_ms / np.maximum(counts @ isolated_ms, 1e-9)))
    floor = _SMALLEST_PRIOR_SHARE * float(network_ms.min())
    prior = np.maximum(np.append(isolated_ms * scale, floor), floor)
    design = np.column_stack([counts, np.ones(len(counts))]) / network_ms[:, None]
    # Unknowns are prices over their prior, so that the penalty treats cheap and dear parts alike.
    matrix = np.vstack([design * prior, _PRIOR_WEIGHT * np.eye(len(prior))])
    target = np.concatenate([np.ones(len(network_ms)), np.full(len(prior), _PRIOR_WEIGHT)])
    solution, _ = nnls(matrix, target)
    prices = solution * prior
    return float(prices[-1]), prices[:-1]


def predict(counts: NDArray[np.float64], constant_ms: float, prices: Vector) -> Vector:
    """Latency of networks, (networks,), in milliseconds."""
    return constant_ms + counts @ prices


def cross_validated(counts: NDArray[np.float64], network_ms: Vector, isolated_ms: Vector, *, seed: int) -> Vector:
    """Predict each network by prices fitted without its fold."""
    order = np.random.default_rng(seed).permutation(len(network_ms))
    predicted = np.empty_like(network_ms)
    for fold in range(_FOLDS):
        held_out = order[fold::_FOLDS]
        kept = np.setdiff1d(order, held_out)
        predicted[held_out] = predict(counts[held_out], *fit(counts[kept], network_ms[kept], isolated_ms))
    return predicted


def conformal_quantile(errors: Vector, coverage: float = 0.9) -> float:
    """Smallest bound that covers a new error with the given probability, with the finite-sample correction."""
    rank = math.ceil((len(errors) + 1) * coverage)
    return float(np.sort(errors)[min(rank, len(errors)) - 1])


def error_figures(predicted: Vector, measured: Vector) -> dict[str, float]:
    """Share within 5 and 10 %, MAPE, bias and worst of predictions, as fractions."""
    relative = predicted / measured - 1
    return {
        "within_5": float(np.mean(np.abs(relative) <= 0.05)),
        "within_10": float(np.mean(np.abs(relative) <= 0.10)),
        "mape": float(np.mean(np.abs(relative))),
        "bias": float(np.mean(relative)),
        "worst": float(np.max(np.abs(relative))),
    }


def learn_prices(
    keys: Sequence[PartKey],
    counts: NDArray[np.float64],
    network_ms: Vector,
    isolated_ms: Vector,
    *,
    overlap: float,
    networks: Sequence[Mapping[str, Any]],
    seed: int = 0,
) -> Prices:
    """Fit the prices and report how well they predict networks that they have not seen.

    Args:
        keys: parts, in the order of the columns of `counts`.
        counts: (networks, parts).
        network_ms: (networks,) quiet host-to-host time.
        isolated_ms: (parts,) quiet time alone.
        overlap: sustained frames/s times latency in seconds.
        networks: a record per network for the report.
        seed: of the cross-validation's folds.

    Raises:
        BadInputError: fewer than 10 networks.
    """
    if len(network_ms) < _FOLDS:
        raise BadInputError(f"{len(network_ms)} networks cannot identify prices.", hint=f"time at least {_FOLDS}.")
    constant_ms, prices = fit(counts, network_ms, isolated_ms)
    held_out = cross_validated(counts, network_ms, isolated_ms, seed=seed)
    raw_sum = counts @ isolated_ms
    fitted = predict(counts, constant_ms, prices)
    figures = {
        "cross_validated": error_figures(held_out, network_ms),
        "in_sample": error_figures(fitted, network_ms),
        "raw_sum_of_isolated": error_figures(raw_sum, network_ms),
    }
    records = [
        {**record, "quiet_ms": float(ms), "held_out_ms": float(guess), "raw_sum_ms": float(raw)}
        for record, ms, guess, raw in zip(networks, network_ms, held_out, raw_sum, strict=True)
    ]
    return Prices(
        constant_ms=constant_ms,
        parts={
            key.label: Price(key=key, ms=float(ms), networks=int((counts[:, column] > 0).sum()))
            for column, (key, ms) in enumerate(zip(keys, prices, strict=True))
        },
        composition="sum",
        relative_error_90=conformal_quantile(np.abs(network_ms / held_out - 1)),
        overlap=overlap,
        report={"figures": figures, "networks": records},
    )
