"""From measured networks to the prices of a LUT of U-shaped networks, with what held-out networks say of each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cinert.backends.base import Precision
from cinert.errors import BadInputError
from cinert.space import Shape3
from cinert.ushape.arch import UShapeArch
from cinert.ushape.space import UShapeSpace
from latency.lut_prices import Price, Prices
from latency.parts import PartKey
from latency.prices import SMALLEST_SAMPLE, conformal_quantile, error_figures
from latency.terms import Matrix, Vector
from latency.ushape.fit import TermFit, Terms, fit_terms, guess_from_parts
from latency.ushape.parts import Parts, grid_parts, space_keys, ushape_parts
from latency.ushape.prices import Term, TermPrices
from latency.ushape.terms import ROUNDINGS, Rounding

_FOLDS = 10
_MARGIN = 0.9
"""Another model replaces the simplest only if it takes a tenth off the held-out error."""


def space_terms(space: UShapeSpace, precision: Precision = "fp32") -> Terms:
    """The terms of all parts of a space."""
    levels: dict[Shape3, int] = {}
    for catalogue in grid_parts(space, precision):
        for level, shape in enumerate(catalogue.shapes_DHW):
            levels.setdefault(shape, level)
    for catalogue in grid_parts(space, precision):
        levels.setdefault(catalogue.input_DHW, -1)
    return Terms.of(space_keys(space, precision), levels)


def alone_ms(
    space: UShapeSpace, networks: Sequence[Parts], keys: Sequence[PartKey], isolated_ms: Vector, rounding: Rounding
) -> Vector:
    """What the parts of networks would take alone, summed (networks,), by terms fitted to the parts that were timed so.

    Args:
        space: of the parts.
        networks: the parts of each.
        keys: parts that were timed alone.
        isolated_ms: (parts,) quiet time alone.
        rounding: of the prices.
    """
    terms = space_terms(space, keys[0].precision)
    alone = terms.matrix([Parts([key]) for key in keys], rounding)
    guess = guess_from_parts(alone, isolated_ms, terms.nominal_ms, terms.shared)
    summed: Vector = terms.matrix(networks, rounding) @ guess
    return summed


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """What the terms are fitted to."""

    terms: Terms
    networks: Sequence[Parts]
    network_ms: Vector
    keys: Sequence[PartKey]
    isolated_ms: Vector


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """One way to write prices, its fit, and how well it predicts networks that it has not seen."""

    rounding: Rounding
    own: bool
    taken: Matrix
    """(networks, own terms)."""
    guess_ms: Vector
    fit: TermFit
    held_out_ms: Vector


def _candidate(measured: _Measured, rounding: Rounding, *, own: bool, seed: int) -> _Candidate:
    terms = measured.terms
    taken = terms.matrix(measured.networks, rounding)
    alone = terms.matrix([Parts([key]) for key in measured.keys], rounding)
    guess = guess_from_parts(alone, measured.isolated_ms, terms.nominal_ms, terms.shared)

    def fitted(rows: Vector | slice) -> TermFit:
        return fit_terms(taken[rows], measured.network_ms[rows], guess, terms.shared, own=own)

    order = np.random.default_rng(seed).permutation(len(taken))
    held_out_ms = np.empty(len(taken))
    for fold in range(_FOLDS):
        left_out = order[fold::_FOLDS]
        held_out_ms[left_out] = fitted(np.setdiff1d(order, left_out)).predict(taken[left_out])
    return _Candidate(
        rounding=rounding, own=own, taken=taken, guess_ms=guess, fit=fitted(slice(None)), held_out_ms=held_out_ms
    )


def learn_ushape_prices(
    space: UShapeSpace,
    archs: Sequence[UShapeArch],
    keys: Sequence[PartKey],
    *,
    network_ms: Vector,
    isolated_ms: Vector,
    precision: Precision,
    overlap: float,
    networks: Sequence[Mapping[str, Any]],
    seed: int = 0,
) -> Prices:
    """Fit the terms under every rounding of channels, shared by the grids or not, and keep the best.

    Args:
        space: of the parts.
        archs: (networks,) that were timed.
        keys: parts that were timed alone.
        network_ms: (networks,) quiet host-to-host time.
        isolated_ms: (parts,) quiet time alone.
        precision: of the parts.
        overlap: sustained frames/s times latency in seconds.
        networks: a record per network for the report.
        seed: of the cross-validation's folds.

    Raises:
        BadInputError: too few networks.
    """
    if len(network_ms) < SMALLEST_SAMPLE:
        raise BadInputError(
            f"{len(network_ms)} networks cannot identify prices.", hint=f"time at least {SMALLEST_SAMPLE}."
        )
    measured = _Measured(
        terms=space_terms(space, precision),
        networks=[ushape_parts(arch, precision) for arch in archs],
        network_ms=network_ms,
        keys=keys,
        isolated_ms=isolated_ms,
    )

    def mape(candidate: _Candidate) -> float:
        return error_figures(candidate.held_out_ms, network_ms)["mape"]

    shared = [_candidate(measured, rounding, own=False, seed=seed) for rounding in ROUNDINGS]
    simplest, best = shared[0], min(shared, key=mape)
    if mape(best) > _MARGIN * mape(simplest):
        best = simplest
    own = _candidate(measured, best.rounding, own=True, seed=seed)
    models = {"shared by grids": best, "of each grid": own}
    if mape(own) < _MARGIN * mape(best):
        best = own
    raw_sum = best.taken @ best.guess_ms
    figures = {
        "cross_validated": error_figures(best.held_out_ms, network_ms),
        "in_sample": error_figures(best.fit.predict(best.taken), network_ms),
        "raw_sum_of_isolated": error_figures(raw_sum, network_ms),
        "rules": {"sum": error_figures(best.held_out_ms, network_ms)},
        "terms": {name: error_figures(each.held_out_ms, network_ms) for name, each in models.items()},
        "roundings": [{**each.rounding.to_dict(), **error_figures(each.held_out_ms, network_ms)} for each in shared],
        "condition": best.fit.condition,
    }
    records = [
        {**record, "quiet_ms": float(ms), "held_out_ms": float(guess), "raw_sum_ms": float(raw)}
        for record, ms, guess, raw in zip(networks, network_ms, best.held_out_ms, raw_sum, strict=True)
    ]
    return Prices(
        constant_ms=best.fit.constant_ms,
        parts=_row_prices(measured, best),
        composition="sum",
        relative_error_90=conformal_quantile(np.abs(network_ms / best.held_out_ms - 1)),
        overlap=overlap,
        terms=_term_prices(measured.terms, best),
        report={"figures": figures, "networks": records},
    )


def _term_prices(terms: Terms, best: _Candidate) -> TermPrices:
    errors = np.sqrt(np.maximum(np.diag(best.fit.covariance), 0))
    return TermPrices(
        rounding=best.rounding,
        own=best.own,
        terms={
            name: Term(ms=float(ms), error_ms=float(error), from_networks=float(share))
            for name, ms, error, share in zip(
                terms.names, best.fit.terms_ms, errors, best.fit.from_networks, strict=True
            )
        },
    )


def _row_prices(measured: _Measured, best: _Candidate) -> dict[str, Price]:
    """Prices of the parts that were timed alone, for people."""
    alone = measured.terms.matrix([Parts([key]) for key in measured.keys], best.rounding)
    # A part is held by the networks that hold its kind on its grid: their terms tell its price.
    held = (best.taken > 0).astype(float)
    found: dict[str, Price] = {}
    for key, taken in zip(measured.keys, alone, strict=True):
        in_price = taken * best.fit.terms_ms
        weight = in_price / max(float(in_price.sum()), 1e-12)
        its_own = [column for column, name in enumerate(measured.terms.names) if taken[column] and name != "part"]
        found[key.label] = Price(
            key=key,
            ms=float(in_price.sum()),
            error_ms=best.fit.error_ms(taken),
            networks=int(held[:, its_own].all(axis=1).sum()),
            from_networks=float(np.clip(weight @ best.fit.from_networks, 0, 1)),
        )
    return found
