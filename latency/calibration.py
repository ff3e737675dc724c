"""The small correction of a LUT from full-size networks that were measured whole.

Short networks leave out what only long ones show, such as additions that an engine fuses where several paths meet. The
correction is a factor per group of parts and a constant, each pulled towards "no change": affine in the prices, so
that the search differentiates through corrected prices as through any others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from scipy.optimize import lsq_linear
from scipy.special import stdtrit

from cinert.errors import BadInputError
from cinert.op_registry import find_op
from cinert.op_spec import PriceGroup
from cinert.schema import check_keys
from latency.checks import checked_ms, checked_positive_ms
from latency.terms import Matrix, Vector

GROUP_NAMES = (*get_args(PriceGroup), "transition", "glue", "ends")
"""Each has one factor."""
GROUPS: Mapping[str, str] = {
    **dict.fromkeys(("pre.ct", "pre.ns", "pre.ep"), "transition"),
    **dict.fromkeys(("concat", "merge"), "glue"),
    **dict.fromkeys(("stem", "head", "constant"), "ends"),
}
"""Group of each kind of part of cells that is no op: an op names its own (`cinert.op_spec.OpSpec.price_group`)."""
USHAPE_GROUPS: Mapping[str, str] = {
    "depthwise": "light",
    **dict.fromkeys(("pool", "strided", "enlarge"), "transition"),
}
"""Group of the kinds that only U-shaped networks have."""
_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Pulls towards no change that are tried; the one that predicts left-out networks best is taken."""
_BOUNDS = (0.5, 2.0)
SMALLEST_CALIBRATION = len(GROUP_NAMES) + 3
"""Networks below which no correction is fitted: more than it has unknowns."""


@dataclass(frozen=True, kw_only=True)
class CalibrationNetwork:
    """A network that was measured whole, as the uncorrected prices see it."""

    name: str
    """Digest of the architecture."""
    source: str
    """What measured it: bench-model or a verify.json."""
    group_ms: Mapping[str, float]
    """What each group of parts costs by the LUT's prices; they sum to the uncorrected estimate."""
    measured_ms: float
    """Quiet time, host to host."""
    chosen: bool = False
    """Chosen because its shares of the groups are extreme: good to fit to, and no sample of what users deploy."""
    fps: float | None = None
    """Sustained rate with frames overlapped."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**self.__dict__, "group_ms": dict(self.group_ms)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> CalibrationNetwork:
        """Read what `to_dict` wrote; raises BadInputError for a time that is NaN, infinite or negative."""
        check_keys(document, required=list(cls.__dataclass_fields__), source=source)
        where = f"{source}: network {document['name']}"
        check_keys(document["group_ms"], required=GROUP_NAMES, source=f"{where}: group_ms")
        fps = document["fps"]
        return cls(
            name=str(document["name"]),
            source=str(document["source"]),
            group_ms={name: checked_ms(ms, f"{where}: {name}") for name, ms in document["group_ms"].items()},
            measured_ms=checked_positive_ms(document["measured_ms"], f"{where}: measured_ms"),
            chosen=bool(document["chosen"]),
            fps=None if fps is None else checked_ms(fps, f"{where}: fps"),
        )


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A fitted correction and the networks that it comes from."""

    lut: str
    """Id of the LUT whose prices it corrects."""
    factors: Mapping[str, float]
    """Per group."""
    relative_error_90: float
    """Ninety per cent of new networks lie within this fraction of the corrected estimate (leave one out)."""
    overlap: float | None
    """Sustained frames/s times latency in seconds; None where no rate was measured."""
    networks: tuple[CalibrationNetwork, ...]
    busy: bool = False
    """Whether networks were measured with --allow-busy."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "lut": self.lut,
            "factors": dict(self.factors),
            "relative_error_90": self.relative_error_90,
            "overlap": self.overlap,
            "networks": [network.to_dict() for network in self.networks],
            # Left out elsewhere, so that the id of a LUT from before stays what it is.
            **({"busy": True} if self.busy else {}),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> Calibration:
        """Read what `to_dict` wrote; raises BadInputError for unknown keys and impossible numbers."""
        required = [name for name in cls.__dataclass_fields__ if name != "busy"]
        check_keys(document, required=required, optional=["busy"], source=source)
        check_keys(document["factors"], required=GROUP_NAMES, source=f"{source}.factors")
        overlap = document["overlap"]
        return cls(
            lut=str(document["lut"]),
            factors={
                name: checked_ms(value, f"{source}.factors.{name}") for name, value in document["factors"].items()
            },
            relative_error_90=checked_ms(document["relative_error_90"], f"{source}.relative_error_90"),
            overlap=None if overlap is None else checked_ms(overlap, f"{source}.overlap"),
            networks=tuple(CalibrationNetwork.from_dict(item, source=source) for item in document["networks"]),
            busy=bool(document.get("busy", False)),
        )


def group_ms(parts: Iterable[tuple[str, float]], constant_ms: float) -> dict[str, float]:
    """Sum milliseconds by group.

    Args:
        parts: kind of a part and what it costs.
        constant_ms: of the prices.
    """
    total = dict.fromkeys(GROUP_NAMES, 0.0)
    for kind, ms in [*parts, ("constant", constant_ms)]:
        total[group_of(kind)] += ms
    return total


def group_of(kind: str) -> str:
    """The group of a kind of part.

    Raises:
        BadInputError: it has none.
    """
    group = GROUPS.get(kind) or USHAPE_GROUPS.get(kind)
    if group is not None:
        return group
    spec = find_op(kind)
    if spec is None:
        raise BadInputError(
            f"the calibration has no group for parts of kind {kind!r}.",
            hint="measure the LUT again, or install the package that adds this op.",
        )
    return spec.price_group


def fit_calibration(networks: Sequence[CalibrationNetwork], *, lut: str, busy: bool = False) -> Calibration:
    """Fit the factors in relative error.

    Args:
        networks: measured whole.
        lut: id of the LUT whose prices are corrected.
        busy: whether some were measured with --allow-busy.

    Raises:
        BadInputError: fewer networks than the correction needs.
    """
    if len(networks) < SMALLEST_CALIBRATION:
        raise BadInputError(
            f"{len(networks)} networks cannot calibrate a LUT: the correction has {len(GROUP_NAMES)} factors.",
            hint=f"measure at least {SMALLEST_CALIBRATION}, with bench-model --calibrate 30.",
        )
    measured = np.array([network.measured_ms for network in networks])
    shares = np.array([[network.group_ms[name] for name in GROUP_NAMES] for network in networks]) / measured[:, None]
    left_out = {strength: _left_out(shares, strength) for strength in _STRENGTHS}
    best = min(_STRENGTHS, key=lambda strength: float(np.mean(np.abs(left_out[strength] - 1))))
    rates = [network.fps * network.measured_ms / 1000 for network in networks if network.fps is not None]
    return Calibration(
        lut=lut,
        factors=dict(zip(GROUP_NAMES, map(float, _factors(shares, best)), strict=True)),
        relative_error_90=_half_width(np.abs(1 / left_out[best] - 1), networks),
        overlap=float(np.median(rates)) if rates else None,
        networks=tuple(networks),
        busy=busy,
    )


def _half_width(errors: Vector, networks: Sequence[CalibrationNetwork]) -> float:
    """Half-width of the 90 % interval, from networks that are a fair sample, if there are enough of them."""
    fair = np.array([not network.chosen for network in networks])
    sample = errors[fair if fair.sum() >= SMALLEST_CALIBRATION else slice(None)]
    # A normal deviation is sqrt(pi / 2) mean absolute errors; Student's t, because it is known from so few.
    return float(stdtrit(len(sample), 0.95) * np.sqrt(np.pi / 2) * sample.mean())


def _factors(shares: Matrix, strength: float) -> Vector:
    """Factors that bring the groups' shares of the measured time to one; a group that is small is left alone."""
    count, groups = shares.shape
    pull = strength * np.sqrt(count) * 0.1 * np.eye(groups)
    matrix, target = np.vstack([shares, pull]), np.concatenate([np.ones(count), pull.sum(axis=1)])
    factors: Vector = lsq_linear(matrix, target, bounds=_BOUNDS).x
    return factors


def _left_out(shares: Matrix, strength: float) -> Vector:
    """Corrected estimate over measured time of each network, by factors fitted without it."""
    return np.array(
        [float(shares[row] @ _factors(np.delete(shares, row, axis=0), strength)) for row in range(len(shares))]
    )
