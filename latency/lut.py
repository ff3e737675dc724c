"""The latency table (LUT): one JSON per (device, back end, precision), read and written with its schema."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from cinert.backends.base import PRECISIONS, Precision
from cinert.environment import device_name
from cinert.errors import BadInputError
from cinert.files import read_json, write_json
from cinert.quiet import BUSY
from cinert.schema import check_keys, check_schema
from cinert.spaces import AnySpace, space_from_dict
from cinert.ushape.space import UShapeSpace
from latency.calibration import Calibration, group_of
from latency.checks import checked_ms
from latency.clocks import CLOCKS, ClockName
from latency.load_factor import LoadFactor
from latency.lut_prices import Prices
from latency.parts import PartKey
from latency.roofline import Roofline
from latency.ushape.parts import space_keys

SCHEMA, VERSION = "cinert.lut", 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One part timed alone, in milliseconds. For people and as prior; what composes is a `Price`."""

    key: PartKey
    timing: Mapping[str, Any]
    """quiet_ms, spread, p50_ms, p90_ms, p99_ms, mean_ms, std_ms, n, noisy."""

    @property
    def quiet_ms(self) -> float:
        """Time on a quiet machine."""
        return float(self.timing["quiet_ms"])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        key = self.key
        return {
            "label": key.label,
            "key": key.to_dict(),
            **self.timing,
            "flops": key.flops,
            "bytes": key.bytes_moved,
            "memory_bytes": key.bytes_moved,
        }


@dataclass(frozen=True, kw_only=True)
class Lut:
    """A latency table with the device that it was measured on."""

    space: AnySpace
    fingerprint: Mapping[str, Any]
    protocol: Mapping[str, Any]
    rows: tuple[Row, ...]
    prices: Prices
    load: LoadFactor
    created: str
    calibration: Calibration | None = None
    """The correction from full-size networks; None until `bench-model` or `latency calibrate` fits one."""
    roofline: Roofline | None = None
    """Best rates of the device; None where they were not measured."""
    source: str = field(default="LUT", compare=False)

    @property
    def backend(self) -> str:
        """Back end that was measured."""
        return str(self.fingerprint["backend"])

    @property
    def precision(self) -> Precision:
        """Precision that was measured."""
        return cast(Precision, self.fingerprint["precision"])

    @property
    def device_name(self) -> str:
        """Device, back end, precision and threads, for people."""
        return device_name(self.fingerprint)

    @property
    def busy(self) -> bool:
        """Whether it was measured with --allow-busy, or what corrects it was."""
        return bool(self.protocol.get("tolerant")) or (self.calibration is not None and self.calibration.busy)

    @property
    def title(self) -> str:
        """The same, and BUSY where the figures are of a machine that others used: what stands beside a figure."""
        return f"{self.device_name}, {BUSY}" if self.busy else self.device_name

    @property
    def machine(self) -> str:
        """What the times are of, for captions: the quiet machine, or a busy one."""
        return f"{BUSY} machine (--allow-busy)" if self.busy else "quiet machine"

    @property
    def anchor_ms(self) -> float | None:
        """Quiet time of the anchor network while the LUT was measured; None where it was not timed."""
        return self.protocol.get("anchor_ms") or None

    @property
    def clock(self) -> ClockName:
        """What timed it: the wall clock, unless the protocol names another."""
        return cast(ClockName, self.protocol.get("clock", CLOCKS[0]))

    @cached_property
    def id(self) -> str:
        """Short hash of the content, named by whatever was computed from this LUT."""
        return _short_hash(self.to_dict())

    @cached_property
    def uncalibrated_id(self) -> str:
        """Short hash of the content without its calibration, named by the calibration."""
        return _short_hash({**self.to_dict(), "calibration": None})

    @property
    def constant_ms(self) -> float:
        """What every network pays beside its parts, corrected."""
        return self.prices.constant_ms * self._factor("constant")

    @property
    def relative_error_90(self) -> float:
        """Half-width of the estimate's 90 % interval, as a fraction of the estimate."""
        return (self.calibration or self.prices).relative_error_90

    @property
    def overlap(self) -> float:
        """Sustained frames/s with frames overlapped, times latency in seconds."""
        measured = None if self.calibration is None else self.calibration.overlap
        return self.prices.overlap if measured is None else measured

    def _factor(self, kind: str) -> float:
        return 1.0 if self.calibration is None else self.calibration.factors[group_of(kind)]

    def price_ms(self, keys: Iterable[PartKey]) -> dict[PartKey, float]:
        """Look up the corrected prices of parts.

        Raises:
            BadInputError: listing every key that is missing, and the command that fills them.
        """
        found: dict[PartKey, float] = {}
        missing: list[str] = []
        for key in keys:
            ms = self._learned_ms(key)
            if ms is None:
                missing.append(key.label)
            else:
                found[key] = ms * self._factor(key.kind)
        if missing:
            raise BadInputError(
                f"LUT {self.source} lacks {len(missing)} parts: {'; '.join(sorted(set(missing)))}.",
                hint="run bench-ops --space SPACE on the LUT's device, with the space that you search or deploy.",
            )
        return found

    @cached_property
    def _deployable(self) -> frozenset[PartKey]:
        """Parts of the space, where their price is a function of their channels: what is beyond it is not known."""
        assert isinstance(self.space, UShapeSpace)
        return frozenset(space_keys(self.space, self.precision))

    def _learned_ms(self, key: PartKey) -> float | None:
        """The price of a part before any correction; None where there is none."""
        if self.prices.terms is None:
            price = self.prices.parts.get(key.label)
            return None if price is None else price.ms
        return self.prices.terms.ms(key) if key in self._deployable else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "created": self.created,
            "fingerprint": dict(self.fingerprint),
            "protocol": dict(self.protocol),
            **({} if self.roofline is None else {"roofline": self.roofline.to_dict()}),
            "space": self.space.to_dict(),
            "rows": [row.to_dict() for row in self.rows],
            "prices": self.prices.to_dict(),
            "load": self.load.to_dict(),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
        }


def _short_hash(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def save_lut(path: Path, lut: Lut) -> None:
    """Write lut.json, whole or not at all."""
    write_json(path, lut.to_dict())


def load_lut(path: Path) -> Lut:
    """Read lut.json.

    Raises:
        BadInputError: another schema or version, an unknown key, a time that is NaN, infinite or negative.
    """
    document, source = read_json(path, "the LUT"), str(path)
    check_schema(document, schema=SCHEMA, version=VERSION, source=source)
    required = ["fingerprint", "protocol", "space", "rows", "prices", "load", "calibration"]
    check_keys(document, required=["schema", "version", "created", *required], optional=["roofline"], source=source)
    check_keys(
        document["fingerprint"],
        required=["backend", "precision", "threads", "device", "libraries"],
        optional=["recorded"],
        source=f"{source}: fingerprint",
    )
    if (precision := document["fingerprint"]["precision"]) not in PRECISIONS:
        raise BadInputError(
            f"{source}: fingerprint.precision is {precision!r}, expected one of {', '.join(PRECISIONS)}."
        )
    if (clock := document["protocol"].get("clock", CLOCKS[0])) not in CLOCKS:
        raise BadInputError(f"{source}: protocol.clock is {clock!r}, expected one of {', '.join(CLOCKS)}.")
    if "anchor_ms" in document["protocol"]:
        checked_ms(document["protocol"]["anchor_ms"], f"{source}: protocol.anchor_ms")
    roofline, calibration = document.get("roofline"), document["calibration"]
    space = space_from_dict(document["space"], source=f"{source}: space")
    shaped = isinstance(space, UShapeSpace)
    lut = Lut(
        space=space,
        fingerprint=document["fingerprint"],
        protocol=document["protocol"],
        rows=tuple(_row_from_dict(item, source) for item in document["rows"]),
        prices=Prices.from_dict(document["prices"], source=f"{source}: prices", with_terms=shaped),
        load=LoadFactor.from_dict(document["load"], source=f"{source}: load"),
        calibration=None
        if calibration is None
        else Calibration.from_dict(calibration, source=f"{source}: calibration"),
        created=str(document["created"]),
        roofline=None if roofline is None else Roofline.from_dict(roofline, source=f"{source}: roofline"),
        source=source,
    )
    check_calibration(lut, lut.calibration, source=source)
    return lut


def check_calibration(lut: Lut, calibration: Calibration | None, *, source: str) -> None:
    """Refuse a calibration that was fitted to other prices.

    Raises:
        BadInputError: it names another LUT.
    """
    if calibration is not None and calibration.lut != lut.uncalibrated_id:
        raise BadInputError(
            f"{source}: the calibration belongs to LUT {calibration.lut}, and {lut.source} is {lut.uncalibrated_id}.",
            hint="the LUT was measured again since; calibrate it anew with bench-model --calibrate 30.",
        )


def _row_from_dict(item: Mapping[str, Any], source: str) -> Row:
    key = PartKey.from_dict(item["key"], source=f"{source}: row {item.get('label')}")
    timing = {name: item[name] for name in item if name not in {"label", "key", "flops", "bytes", "memory_bytes"}}
    for name, value in timing.items():
        if name.endswith("_ms"):
            checked_ms(value, f"{source}: {name} of {key.label}")
    return Row(key=key, timing=timing)
