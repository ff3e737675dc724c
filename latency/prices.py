"""Prices learned in context: a non-negative price per part, fitted to short networks timed whole.

A sum of ops timed alone misleads: alone they pay for copies, layout changes and cold caches that they do not pay
inside a network. So each network's time is explained by the parts that it holds; the isolated times, scaled, serve
as a weak prior for parts that the networks hold too rarely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from cinert.errors import BadInputError
from latency.terms import Matrix, Vector, terms_of

_PRIOR_WEIGHT = 0.02
"""Standard deviation of a network's relative error over that of a term around its prior."""
_SMALLEST_PRIOR_SHARE = 1e-3
_FOLDS = 10
SMALLEST_SAMPLE = 10
"""Networks below which nothing is fitted."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Prices and how well the networks determine them."""

    constant_ms: float
    prices_ms: Vector
    """(parts,)."""
    error_ms: Vector
    """(parts,) standard error of each price."""
    from_networks: Vector
    """(parts,) share of a price that the networks determine; the rest is the prior."""
    condition: float
    """Of the design with its prior: ratio of the best and worst determined combination of terms."""

    def predict(self, counts: Matrix) -> Vector:
        """Latency of networks (networks,), in milliseconds."""
        predicted: Vector = self.constant_ms + counts @ self.prices_ms
        return predicted


def fit(counts: Matrix, network_ms: Vector, isolated_ms: Vector, basis: Matrix) -> Fit:
    """Fit prices to whole networks in relative error.

    Args:
        counts: (networks, parts).
        network_ms: (networks,) quiet time of each.
        isolated_ms: (parts,) quiet time of each part alone.
        basis: (parts, terms) of `price_terms`.

    Raises:
        BadInputError: too few networks.
    """
    if len(network_ms) < SMALLEST_SAMPLE:
        raise BadInputError(
            f"{len(network_ms)} networks cannot identify prices.", hint=f"time at least {SMALLEST_SAMPLE}."
        )
    return _solve(counts, network_ms, isolated_ms, basis)


def _solve(counts: Matrix, network_ms: Vector, isolated_ms: Vector, basis: Matrix) -> Fit:
    scale = float(np.median(network_ms / np.maximum(counts @ isolated_ms, 1e-9)))
    floor = _SMALLEST_PRIOR_SHARE * float(network_ms.min())
    prior = np.maximum(np.append(terms_of(isolated_ms, basis) * scale, floor), floor)
    design = np.column_stack([counts @ basis, np.ones(len(counts))]) / network_ms[:, None]
    # Unknowns are terms over their prior, so that the penalty treats cheap and dear ones alike.
    matrix = np.vstack([design * prior, _PRIOR_WEIGHT * np.eye(len(prior))])
    target = np.concatenate([np.ones(len(network_ms)), np.full(len(prior), _PRIOR_WEIGHT)])
    solution, _ = nnls(matrix, target)
    terms = solution * prior
    information = matrix.T @ matrix
    covariance = np.linalg.inv(information)
    variance = float(np.mean((matrix[: len(counts)] @ solution - 1) ** 2))
    in_prices = basis * prior[:-1]
    # A term's own share of the prior: one where the networks say nothing.
    prior_share = _PRIOR_WEIGHT**2 * np.diag(covariance)[:-1]
    weight = in_prices / np.maximum(in_prices.sum(axis=1, keepdims=True), 1e-12)
    eigenvalues = np.linalg.eigvalsh(information)
    return Fit(
        constant_ms=float(terms[-1]),
        prices_ms=basis @ terms[:-1],
        error_ms=np.sqrt(variance * np.einsum("pt,tu,pu->p", in_prices, covariance[:-1, :-1], in_prices)),
        from_networks=1 - weight @ prior_share,
        condition=float(math.sqrt(eigenvalues[-1] / eigenvalues[0])),
    )


def cross_validated(counts: Matrix, network_ms: Vector, isolated_ms: Vector, basis: Matrix, *, seed: int) -> Vector:
    """Predict each network by prices fitted without its fold."""
    order = np.random.default_rng(seed).permutation(len(network_ms))
    predicted = np.empty_like(network_ms)
    for fold in range(_FOLDS):
        held_out = order[fold::_FOLDS]
        kept = np.setdiff1d(order, held_out)
        # The smallest sample loses one to each fold.
        predicted[held_out] = _solve(counts[kept], network_ms[kept], isolated_ms, basis).predict(counts[held_out])
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
