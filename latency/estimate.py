"""Estimate of a decoded network's latency and throughput from a LUT, with an interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cinert.arch import Arch
from cinert.architecture import Architecture
from cinert.errors import BadInputError
from cinert.ushape.arch import UShapeArch
from latency.breakdown import Parts, break_down
from latency.calibration import group_ms
from latency.composition import composed
from latency.lut import Lut
from latency.parts import PartKey
from latency.ushape.parts import ushape_parts


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyEstimate:
    """Host-to-host latency of the network at batch 1 on the LUT's device, quiet machine."""

    ms: float
    low_ms: float
    """Lower end of the 90 % interval."""
    high_ms: float
    """Upper end of the 90 % interval."""
    p50_ms: float
    """Median with the load that the machine had while the LUT was measured."""
    p99_ms: float
    """99th percentile with that load."""
    throughput_fps: float
    """Sustained rate with successive frames overlapped."""
    parts: Mapping[str, float]
    """Milliseconds by part label, with the constant; they sum to `ms`."""

    def to_dict(self) -> dict[str, Any]:
        """The figures, without the parts."""
        names = ("ms", "low_ms", "high_ms", "p50_ms", "p99_ms", "throughput_fps")
        return {name: round(float(getattr(self, name)), 4) for name in names}


@dataclass(frozen=True, slots=True)
class EstimatedArch:
    """A searched network with what its LUT says of it, so that nobody has to ask again."""

    arch: Arch
    latency: LatencyEstimate

    def record(self, lut: Lut) -> dict[str, Any]:
        """The estimate as arch.yaml stores it: the figures, the LUT's id, its device, and whether that was busy."""
        return {**self.latency.to_dict(), **lut_record(lut, "lut")}


def estimate(arch: Architecture, lut: Lut) -> LatencyEstimate:
    """Compose the corrected prices of a network's parts.

    Raises:
        BadInputError: a baseline, or the LUT lacks a part; all missing ones are listed.
    """
    if not isinstance(arch, (Arch, UShapeArch)):
        raise BadInputError(
            f"{arch.source} is a baseline ({arch.kind}), and a LUT prices the parts of searched networks.",
            hint="leave --lut out; bench-engine measures a baseline without an estimate.",
        )
    counts, prices = _priced(arch, lut)
    parts = {key.label: count * prices[key] for key, count in counts.items()}
    ms = lut.constant_ms + sum(parts.values())
    error = lut.relative_error_90
    return LatencyEstimate(
        ms=ms,
        low_ms=max(0.0, ms * (1 - error)),
        high_ms=ms * (1 + error),
        p50_ms=ms * lut.load.p50,
        p99_ms=ms * lut.load.p99,
        throughput_fps=1000 * lut.overlap / ms,
        parts={**parts, "constant": lut.constant_ms},
    )


def _priced(arch: Arch | UShapeArch, lut: Lut) -> tuple[Parts, dict[PartKey, float]]:
    """The parts that a network's latency adds up, and what each costs by the LUT."""
    if isinstance(arch, UShapeArch):
        # Nothing lies side by side in it: its one path is the longest.
        counts = ushape_parts(arch, lut.precision)
        return counts, lut.price_ms(counts)
    breakdown = break_down(arch, lut.precision)
    prices = lut.price_ms(breakdown.total)
    return composed(breakdown, prices, lut.prices.composition), prices


def estimate_groups(arch: Arch | UShapeArch, lut: Lut) -> dict[str, float]:
    """Milliseconds by group of parts, by the LUT's prices without their calibration; they sum to that estimate."""
    counts, prices = _priced(arch, replace(lut, calibration=None))
    return group_ms(((key.kind, count * prices[key]) for key, count in counts.items()), lut.prices.constant_ms)


def estimate_record(arch: Architecture, lut: Lut) -> dict[str, Any]:
    """The estimate as arch.yaml stores it: the figures, the LUT's id, its device, and whether that was busy."""
    return {**estimate(arch, lut).to_dict(), **lut_record(lut, "lut")}


def lut_record(lut: Lut, id_name: str = "id") -> dict[str, Any]:
    """A LUT as those name it who store figures by it: {id, device}, and `busy` where it is."""
    return {id_name: lut.id, "device": lut.device_name, **({"busy": True} if lut.busy else {})}
