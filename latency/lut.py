"""The latency table (LUT): one JSON per (device, back end, precision), read and written with its schema."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cinert.environment import device_name
from cinert.errors import BadInputError
from cinert.files import read_json, write_json
from cinert.schema import check_keys, check_schema
from cinert.space import Space
from latency.parts import PartKey
from latency.roofline import Roofline

SCHEMA, VERSION = "cinert.lut", 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One part timed alone, in milliseconds. For people and as prior; what composes is a `Price`."""

    key: PartKey
    timing: Mapping[str, Any]
    """quiet_ms, p50_ms, p90_ms, p99_ms, mean_ms, std_ms, n, noisy."""

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
class Price:
    """What a part adds to a network, learned in context from short networks timed whole."""

    key: PartKey
    ms: float
    networks: int
    """How many of the timed networks hold the part; 0 says that the price is the scaled isolated time."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"label": self.key.label, "key": self.key.to_dict(), "ms": self.ms, "networks": self.networks}


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Additive model of network latency: constant plus a non-negative price per part."""

    constant_ms: float
    parts: Mapping[str, Price]
    """By label."""
    composition: str
    """How parts compose; `sum`."""
    relative_error_90: float
    """Ninety per cent of held-out networks lie within this fraction of the estimate (cross-validated)."""
    overlap: float
    """Sustained frames/s with successive frames overlapped, times latency in seconds."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """The networks that were timed and how well the model fits them."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "constant_ms": self.constant_ms,
            "composition": self.composition,
            "relative_error_90": self.relative_error_90,
            "overlap": self.overlap,
            "parts": [price.to_dict() for price in self.parts.values()],
            "report": dict(self.report),
        }


@dataclass(frozen=True, kw_only=True)
class Lut:
    """A latency table with the device that it was measured on."""

    space: Space
    fingerprint: Mapping[str, Any]
    protocol: Mapping[str, Any]
    rows: tuple[Row, ...]
    prices: Prices
    created: str
    roofline: Roofline | None = None
    """Best rates of the device; None where they were not measured."""
    source: str = field(default="LUT", compare=False)

    @property
    def backend(self) -> str:
        """Back end that was measured."""
        return str(self.fingerprint["backend"])

    @property
    def precision(self) -> str:
        """Precision that was measured."""
        return str(self.fingerprint["precision"])

    @property
    def device_name(self) -> str:
        """Device, back end, precision and threads, for people."""
        return device_name(self.fingerprint)

    @cached_property
    def id(self) -> str:
        """Short hash of the content, named by whatever was computed from this LUT."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def price_ms(self, keys: Iterable[PartKey]) -> dict[PartKey, float]:
        """Look up the prices of parts.

        Raises:
            BadInputError: listing every key that is missing, and the command that fills them.
        """
        found: dict[PartKey, float] = {}
        missing: list[str] = []
        for key in keys:
            price = self.prices.parts.get(key.label)
            if price is None:
                missing.append(key.label)
            else:
                found[key] = price.ms
        if missing:
            raise BadInputError(
                f"LUT {self.source} lacks {len(missing)} parts: {'; '.join(sorted(set(missing)))}.",
                hint="run bench-ops --space SPACE on the LUT's device, with the space that you search or deploy.",
            )
        return found

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
            # Filled from measured full-size networks and from bench-engine results.
            "calibration": None,
        }


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
    check_keys(
        document,
        required=["schema", "version", "created", "fingerprint", "protocol", "space", "rows", "prices", "calibration"],
        optional=["roofline"],
        source=source,
    )
    check_keys(
        document["fingerprint"],
        required=["backend", "precision", "threads", "device", "libraries"],
        optional=["recorded"],
        source=f"{source}: fingerprint",
    )
    if document["calibration"] is not None:
        raise BadInputError(
            f"{source}: calibration is {document['calibration']!r}; this release reads LUTs without one."
        )
    prices = document["prices"]
    check_keys(
        prices,
        required=["constant_ms", "composition", "relative_error_90", "overlap", "parts", "report"],
        source=f"{source}: prices",
    )
    parts = {}
    for item in prices["parts"]:
        key = PartKey.from_dict(item["key"], source=f"{source}: price of {item['label']}")
        ms = _checked_ms(item["ms"], f"{source}: price of {item['label']}")
        parts[key.label] = Price(key=key, ms=ms, networks=int(item["networks"]))
    roofline = document.get("roofline")
    return Lut(
        space=Space.from_dict(document["space"], source=f"{source}: space"),
        fingerprint=document["fingerprint"],
        protocol=document["protocol"],
        rows=tuple(_row_from_dict(item, source) for item in document["rows"]),
        prices=Prices(
            constant_ms=_checked_ms(prices["constant_ms"], f"{source}: prices.constant_ms"),
            parts=parts,
            composition=str(prices["composition"]),
            relative_error_90=_checked_ms(prices["relative_error_90"], f"{source}: prices.relative_error_90"),
            overlap=_checked_ms(prices["overlap"], f"{source}: prices.overlap"),
            report=prices["report"],
        ),
        created=str(document["created"]),
        roofline=None if roofline is None else Roofline.from_dict(roofline, source=f"{source}: roofline"),
        source=source,
    )


def _row_from_dict(item: Mapping[str, Any], source: str) -> Row:
    key = PartKey.from_dict(item["key"], source=f"{source}: row {item.get('label')}")
    timing = {name: item[name] for name in item if name not in {"label", "key", "flops", "bytes", "memory_bytes"}}
    for name, value in timing.items():
        if name.endswith("_ms"):
            _checked_ms(value, f"{source}: {name} of {key.label}")
    return Row(key=key, timing=timing)


def _checked_ms(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise BadInputError(f"{where} is {value!r}, expected a finite number >= 0.")
    return float(value)
