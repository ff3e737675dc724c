"""Estimate of a decoded network's latency and throughput from a LUT, with an interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cinert.arch import Arch
from cinert.architecture import Architecture
from cinert.errors import BadInputError
from latency.lut import Lut
from latency.parts import arch_parts


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyEstimate:
    """Host-to-host latency of the network at batch 1 on the LUT's device, quiet machine."""

    ms: float
    low_ms: float
    """Lower end of the 90 % interval."""
    high_ms: float
    """Upper end of the 90 % interval."""
    throughput_fps: float
    """Sustained rate with successive frames overlapped."""
    parts: Mapping[str, float]
    """Milliseconds by part label; they and the constant sum to `ms`."""

    def to_dict(self) -> dict[str, Any]:
        """The four figures, without the parts."""
        names = ("ms", "low_ms", "high_ms", "throughput_fps")
        return {name: round(float(getattr(self, name)), 4) for name in names}


def estimate(arch: Architecture, lut: Lut) -> LatencyEstimate:
    """Add up the prices of a network's parts.

    Raises:
        BadInputError: a baseline, or the LUT lacks a part; all missing ones are listed.
    """
    if not isinstance(arch, Arch):
        raise BadInputError(
            f"{arch.source} is a baseline ({arch.kind}), and a LUT prices the parts of searched networks.",
            hint="leave --lut out; bench-engine measures a baseline without an estimate.",
        )
    counts = arch_parts(arch, lut.precision)  # type: ignore[arg-type]
    prices = lut.price_ms(counts)
    parts = {key.label: count * prices[key] for key, count in counts.items()}
    ms = lut.prices.constant_ms + sum(parts.values())
    error = lut.prices.relative_error_90
    return LatencyEstimate(
        ms=ms,
        low_ms=max(0.0, ms * (1 - error)),
        high_ms=ms * (1 + error),
        throughput_fps=1000 * lut.prices.overlap / ms,
        parts={**parts, "constant": lut.prices.constant_ms},
    )


def estimate_record(arch: Architecture, lut: Lut) -> dict[str, Any]:
    """The estimate as arch.yaml and manifests store it: the figures, the LUT's id and its device."""
    return {**estimate(arch, lut).to_dict(), "lut": lut.id, "device": lut.device_name}
