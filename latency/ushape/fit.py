"""Terms fitted to networks that were timed whole, in relative error, pulled towards a first guess, robustly.

The grids of a space share each level's terms, per element and per multiply-add, unless terms of each grid's own predict
networks held out of the fit clearly better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from cinert.space import Shape3
from latency.parts import PartKey
from latency.terms import Matrix, Vector
from latency.ushape.parts import Parts
from latency.ushape.terms import NOMINAL_MS, Device, amounts, term_amount, term_name, term_names

_PRIOR_WEIGHT = 0.02
"""Standard deviation of a network's relative error over that of a term around its prior."""
_OWN_WEIGHT = 0.1
"""The same of a grid's own term around what the grids share."""
_PRIOR_FLOOR = 0.3
"""A first guess that parts alone put at nothing still is this fraction of what it was before."""
_REWEIGHTINGS = 6
_HUBER = 1.345 * 1.4826
"""Relative errors beyond so many median ones count less (Huber 1981): a machine that others use too has outliers."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The terms of a space: those of each grid's parts, and what the grids share."""

    device: Device
    names: tuple[str, ...]
    """Of each grid's own."""
    shared: Matrix
    """(own, shared) one where an own term is one of a shared one."""
    nominal_ms: Vector
    """(own,) on a nominal device."""

    @classmethod
    def of(cls, keys: Sequence[PartKey], levels: Mapping[Shape3, int], device: Device) -> Terms:
        """Collect the terms of all parts of a space.

        Args:
            keys: all parts of the space.
            levels: level of each shape; -1 is the input's grid.
            device: what is known of the engine.
        """
        group = {"part": "part"}
        for key in keys:
            for amount in amounts(key, device):
                group[term_name(key, amount)] = term_name(key, amount, levels[key.shape_out])
        names = term_names(keys, device)
        columns = list(dict.fromkeys(group[name] for name in names))
        shared = np.zeros((len(names), len(columns)))
        for row, name in enumerate(names):
            shared[row, columns.index(group[name])] = 1.0
        nominal = np.array([NOMINAL_MS[term_amount(name)] for name in names])
        return cls(device=device, names=tuple(names), shared=shared, nominal_ms=nominal)

    def matrix(self, networks: Sequence[Parts]) -> Matrix:
        """How much of each own term each network takes, (networks, own)."""
        position = {name: column for column, name in enumerate(self.names)}
        taken = np.zeros((len(networks), len(self.names)))
        for row, parts in enumerate(networks):
            for key, count in parts.items():
                for amount, number in amounts(key, self.device).items():
                    taken[row, position[term_name(key, amount)]] += count * number
        return taken


@dataclass(frozen=True, kw_only=True)
class TermFit:
    """Fitted terms and how well the networks determine them."""

    constant_ms: float
    terms_ms: Vector
    """(own,) of a unit of each."""
    covariance: Matrix
    """(own, own) of the terms, in ms squared."""
    from_networks: Vector
    """(own,) share of a term that the networks determine; the rest is the first guess."""
    condition: float
    """Of the design with its prior: ratio of the best and worst determined combination of terms."""

    def predict(self, taken: Matrix) -> Vector:
        """Latency of networks (networks,), in milliseconds."""
        predicted: Vector = self.constant_ms + taken @ self.terms_ms
        return predicted

    def error_ms(self, taken: Vector) -> float:
        """Standard error of a price that takes so much of each term."""
        return math.sqrt(max(0.0, float(taken @ self.covariance @ taken)))


def fit_terms(taken: Matrix, network_ms: Vector, guess_ms: Vector, shared: Matrix, *, own: bool) -> TermFit:
    """Fit the terms that grids share, and each grid's own around them if wanted.

    Args:
        taken: (networks, own) of `Terms.matrix`.
        network_ms: (networks,) quiet time of each.
        guess_ms: (own,) first guess of each term; the networks say by how much all are too large.
        shared: (own, shared) of `Terms`.
        own: fit each grid's terms, too.
    """
    scale = float(np.median(network_ms / np.maximum(taken @ guess_ms, 1e-9)))
    floor = 1e-3 * float(network_ms.min())
    in_group = shared / shared.sum(axis=0)
    prior = np.append(scale * guess_ms @ in_group, floor)
    design = _with_constant(taken @ shared)
    # Twice: a guess that was far off holds its term back the first time.
    around = np.maximum(_solve(design, network_ms, prior, _PRIOR_WEIGHT).terms, _PRIOR_FLOOR * prior)
    if own:
        basis = np.eye(len(shared))
        found = _solve(_with_constant(taken), network_ms, np.append(shared @ around[:-1], around[-1]), _OWN_WEIGHT)
    else:
        basis = shared
        found = _solve(design, network_ms, around, _PRIOR_WEIGHT)
    return TermFit(
        constant_ms=float(found.terms[-1]),
        terms_ms=basis @ found.terms[:-1],
        covariance=basis @ found.covariance[:-1, :-1] @ basis.T,
        from_networks=basis @ found.from_networks[:-1],
        condition=found.condition,
    )


def guess_from_parts(taken: Matrix, isolated_ms: Vector, nominal_ms: Vector, shared: Matrix) -> Vector:
    """Terms (own,) that explain the parts timed alone, as far as they do; those of a nominal device beside.

    Args:
        taken: (parts, own).
        isolated_ms: (parts,) quiet time alone.
        nominal_ms: (own,).
        shared: (own, shared).
    """
    prior = nominal_ms @ (shared / shared.sum(axis=0))
    found = _solve(taken @ shared, isolated_ms, prior, _PRIOR_WEIGHT)
    guess: Vector = shared @ np.maximum(found.terms, _PRIOR_FLOOR * prior)
    return guess


@dataclass(frozen=True, kw_only=True)
class _Solution:
    terms: Vector
    covariance: Matrix
    from_networks: Vector
    condition: float


def _with_constant(taken: Matrix) -> Matrix:
    return np.column_stack([taken, np.ones(len(taken))])


def _solve(taken: Matrix, observed_ms: Vector, prior: Vector, weight: float) -> _Solution:
    """Non-negative terms in relative error, each pulled towards its prior; errors beyond the usual count less."""
    # Unknowns are terms over their prior, so that the penalty treats cheap and dear ones alike.
    design = taken * prior / observed_ms[:, None]
    pull = weight * np.eye(len(prior))
    counts = np.ones(len(observed_ms))
    for _ in range(_REWEIGHTINGS):
        matrix = np.vstack([design * counts[:, None], pull])
        solution, _ = nnls(matrix, np.concatenate([counts, np.full(len(prior), weight)]))
        error = np.abs(design @ solution - 1)
        usual = _HUBER * max(float(np.median(error)), 1e-6)
        counts = np.sqrt(np.minimum(1.0, usual / np.maximum(error, 1e-12)))
    information = matrix.T @ matrix
    inverse = np.linalg.inv(information)
    variance = float(np.mean((counts * (design @ solution - 1)) ** 2))
    eigenvalues = np.linalg.eigvalsh(information)
    return _Solution(
        terms=solution * prior,
        covariance=variance * inverse * np.outer(prior, prior),
        from_networks=np.clip(1 - weight**2 * np.diag(inverse), 0, 1),
        condition=float(np.sqrt(eigenvalues[-1] / eigenvalues[0])),
    )
