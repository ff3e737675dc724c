"""The estimate that a bundle carries, from the LUT of the same back end and precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cinert.architecture import Architecture
from cinert.bundle_manifest import ESTIMATE_KEYS
from cinert.errors import BadInputError
from latency.estimate import estimate, lut_record
from latency.lut import Lut, load_lut


@dataclass(frozen=True, slots=True)
class Pricing:
    """What a LUT says about an architecture, in the words of the manifest."""

    estimate: Mapping[str, float]
    """{ms, low_ms, high_ms, p50_ms, p99_ms, throughput_fps}."""
    lut: Mapping[str, Any]
    """{id, device}: of any machine; the device is named, because the estimate holds there. `busy` where it was."""


def load_matching_lut(path: Path, *, backend: str, precision: str) -> Lut:
    """Read a LUT and refuse one of another back end or precision than the engine.

    Raises:
        BadInputError: naming both.
    """
    lut = load_lut(path)
    if (lut.backend, lut.precision) != (backend, precision):
        raise BadInputError(
            f"LUT {path} holds prices of {lut.backend} in {lut.precision}, the engine is {backend} in {precision}.",
            hint=f"export with --backend {lut.backend} --precision {lut.precision}, or give a LUT of {backend} in"
            f" {precision}.",
        )
    return lut


def price(arch: Architecture, lut: Lut) -> Pricing:
    """Estimate the latency of an architecture.

    Raises:
        BadInputError: a baseline, or the LUT lacks a part of the architecture.
    """
    values = estimate(arch, lut).to_dict()
    return Pricing({key: float(values[key]) for key in ESTIMATE_KEYS}, lut_record(lut))
