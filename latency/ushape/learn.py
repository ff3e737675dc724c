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
from latency.ushape.terms import CACHES_MIB, PLAIN, ROUNDINGS, Device

_FOLDS = 10
_COMMON = ("part", "streamed")
"""Terms of all parts, whatever their kind."""
_MARGIN = 0.95
"""Another model replaces a simpler one only if it takes a twentieth off the held-out error."""


def space_terms(space: UShapeSpace, precision: Precision = "fp32", device: Device = PLAIN) -> Terms:
    """The terms of all parts of a space on a device."""
    levels: dict[Shape3, int] = {}
    for catalogue in grid_parts(space, precision):
        for level, shape in enumerate(catalogue.shapes_DHW):
            levels.setdefault(shape, level)
    for catalogue in grid_parts(space, precision):
        levels.setdefault(catalogue.input_DHW, -1)
    return Terms.of(space_keys(space, precision), levels, device)


def alone_ms(
    space: UShapeSpace, networks: Sequence[Parts], keys: Sequence[PartKey], isolated_ms: Vector, device: Device
) -> Vector:
    """What the parts of networks would take alone, summed (networks,), by terms fitted to the parts that were timed so.

    Args:
        space: of the parts.
        networks: the parts of each.
        keys: parts that were timed alone.
        isolated_ms: (parts,) quiet time alone.
        device: of the prices.
    """
    terms = space_terms(space, keys[0].precision, device)
    alone = terms.matrix([Parts([key]) for key in keys])
    guess = guess_from_parts(alone, isolated_ms, terms.nominal_ms, terms.shared)
    summed: Vector = terms.matrix(networks) @ guess
    return summed


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """What the terms are fitted to."""

    space: UShapeSpace
    networks: Sequence[Parts]
    network_ms: Vector
    keys: Sequence[PartKey]
    isolated_ms: Vector
    seed: int
    """Of the folds."""


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """One way to write prices, its fit, and how well it predicts networks that it has not seen."""

    terms: Terms
    own: bool
    taken: Matrix
    """(networks, own terms)."""
    guess_ms: Vector
    fit: TermFit
    held_out_ms: Vector
    network_ms: Vector

    @property
    def figures(self) -> dict[str, float]:
        """How far it is off networks that it has not seen."""
        return error_figures(self.held_out_ms, self.network_ms)

    def better_of(self, others: Sequence[_Candidate]) -> _Candidate:
        """The best of some, or this simpler one unless that is clearly better."""
        best = min(others, key=lambda each: each.figures["mape"])
        return best if best.figures["mape"] < _MARGIN * self.figures["mape"] else self


def _candidate(measured: _Measured, device: Device, *, own: bool = False) -> _Candidate:
    terms = space_terms(measured.space, measured.keys[0].precision, device)
    taken = terms.matrix(measured.networks)
    alone = terms.matrix([Parts([key]) for key in measured.keys])
    guess = guess_from_parts(alone, measured.isolated_ms, terms.nominal_ms, terms.shared)

    def fitted(rows: Vector | slice) -> TermFit:
        return fit_terms(taken[rows], measured.network_ms[rows], guess, terms.shared, own=own)

    order = np.random.default_rng(measured.seed).permutation(len(taken))
    held_out_ms = np.empty(len(taken))
    for fold in range(_FOLDS):
        left_out = order[fold::_FOLDS]
        held_out_ms[left_out] = fitted(np.setdiff1d(order, left_out)).predict(taken[left_out])
    return _Candidate(
        terms=terms,
        own=own,
        taken=taken,
        guess_ms=guess,
        fit=fitted(slice(None)),
        held_out_ms=held_out_ms,
        network_ms=measured.network_ms,
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
    """Fit the terms for every rounding of channels, then every cache, shared by the grids or not, and keep the best.

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
        space=space,
        networks=[ushape_parts(arch, precision) for arch in archs],
        network_ms=network_ms,
        keys=keys,
        isolated_ms=isolated_ms,
        seed=seed,
    )
    blocked = [_candidate(measured, Device(rounding=rounding)) for rounding in ROUNDINGS]
    best = blocked[0].better_of(blocked)
    rounding = best.terms.device.rounding
    cached = [_candidate(measured, Device(rounding=rounding, cache_mib=size)) for size in CACHES_MIB]
    best = best.better_of(cached)
    own = _candidate(measured, best.terms.device, own=True)
    models = {"shared by grids": best, "of each grid": own}
    best = best.better_of([own])
    raw_sum = best.taken @ best.guess_ms
    figures = {
        "cross_validated": best.figures,
        "in_sample": error_figures(best.fit.predict(best.taken), network_ms),
        "raw_sum_of_isolated": error_figures(raw_sum, network_ms),
        "rules": {"sum": best.figures},
        "terms": {name: each.figures for name, each in models.items()},
        "roundings": [{**each.terms.device.rounding.to_dict(), **each.figures} for each in blocked],
        "caches": [{"cache_mib": each.terms.device.cache_mib, **each.figures} for each in cached],
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
        terms=_term_prices(best),
        report={"figures": figures, "networks": records},
    )


def _term_prices(best: _Candidate) -> TermPrices:
    errors = np.sqrt(np.maximum(np.diag(best.fit.covariance), 0))
    return TermPrices(
        device=best.terms.device,
        own=best.own,
        terms={
            name: Term(ms=float(ms), error_ms=float(error), from_networks=float(share))
            for name, ms, error, share in zip(
                best.terms.names, best.fit.terms_ms, errors, best.fit.from_networks, strict=True
            )
        },
    )


def _row_prices(measured: _Measured, best: _Candidate) -> dict[str, Price]:
    """Prices of the parts that were timed alone, for people."""
    alone = best.terms.matrix([Parts([key]) for key in measured.keys])
    # A part is held by the networks that hold its kind on its grid: their terms tell its price.
    held = (best.taken > 0).astype(float)
    found: dict[str, Price] = {}
    for key, taken in zip(measured.keys, alone, strict=True):
        in_price = taken * best.fit.terms_ms
        weight = in_price / max(float(in_price.sum()), 1e-12)
        its_own = [column for column, name in enumerate(best.terms.names) if taken[column] and name not in _COMMON]
        found[key.label] = Price(
            key=key,
            ms=float(in_price.sum()),
            error_ms=best.fit.error_ms(taken),
            networks=int(held[:, its_own].all(axis=1).sum()),
            from_networks=float(np.clip(weight @ best.fit.from_networks, 0, 1)),
        )
    return found
