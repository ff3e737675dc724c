"""Whether the machine runs as fast as it did when a LUT was measured: the LUT's anchor, timed again.

The anchor is a small network that is the same for every measurement of a space (`latency.family.anchor_network`), and
the LUT keeps its quiet time. An estimate that is missed on a machine whose anchor has kept its time is an error of the
estimate; where the anchor has changed too, clocks, neighbours or the scheduler have.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cinert.backends import resolve_backend
from cinert.timing import Clock, Protocol, sample

if TYPE_CHECKING:
    from latency.lut import Lut

DRIFT_LIMIT = Protocol().anchor_limit
"""Change of the anchor's time, as a fraction, beyond which the machine is another than the LUT describes: the
fraction that tells a quiet window from a busy one while a LUT is measured."""
_VISITS = 10
"""Visits to the anchor on either side of what it stands beside."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The anchor's quiet time here and in the LUT, in milliseconds."""

    anchor_ms: float
    lut_anchor_ms: float

    @property
    def drift(self) -> float:
        """How much longer the anchor takes than when the LUT was measured, as a fraction of that."""
        return self.anchor_ms / self.lut_anchor_ms - 1

    @property
    def changed(self) -> bool:
        """Whether the drift is beyond `DRIFT_LIMIT`."""
        return abs(self.drift) > DRIFT_LIMIT

    def explains(self, quiet_ms: float, estimate: Mapping[str, float]) -> bool:
        """Whether a network's quiet time lies in its interval once both are brought to the same speed of the machine.

        Roughly: not every network slows down as the anchor does.
        """
        return estimate["low_ms"] <= quiet_ms / (1 + self.drift) <= estimate["high_ms"]

    def __str__(self) -> str:
        return (
            f"the reference network takes {1 + self.drift:.2f} times as long as when the LUT was measured"
            f" ({self.anchor_ms:.2f} ms, then {self.lut_anchor_ms:.2f} ms)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for verify.json."""
        return {
            "anchor_ms": self.anchor_ms,
            "lut_anchor_ms": self.lut_anchor_ms,
            "drift": self.drift,
            "limit": DRIFT_LIMIT,
            "changed": self.changed,
        }


class AnchorWatch:
    """Times the anchor just before and just after a block. A context manager.

    Args:
        clock: runs the anchor once.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._medians: list[float] = []

    def _look(self) -> None:
        self._medians += [float(np.median(sample(self._clock, Protocol()))) for _ in range(_VISITS)]

    def __enter__(self) -> Self:
        self._look()
        return self

    def __exit__(self, *_: object) -> None:
        self._look()

    @property
    def quiet_ms(self) -> float:
        """Time in the quietest tenth of the visits, as a LUT's anchor is summarised (`cinert.timing.anchor_floor`)."""
        return float(np.quantile(self._medians, 0.1))


@contextlib.contextmanager
def lut_anchor(lut: Lut, *, device: str) -> Iterator[AnchorWatch]:
    """Load a LUT's anchor as `bench-ops` did.

    Args:
        lut: of this device; says back end, precision and threads.
        device: `auto`, `cpu` or `cuda:N`.
    """
    from latency.profile import Setup, anchored  # noqa: PLC0415 - slow to import: torch

    backend = resolve_backend(lut.backend, device, lut.precision)
    backend.cuda_graph = bool(lut.fingerprint["libraries"].get("cuda_graph", True))
    threads = int(lut.fingerprint["threads"])
    setup = Setup(
        backend=backend,
        device=device,
        threads=threads,
        precision=lut.precision,
        protocol=Protocol(),
        clock=lut.clock,
    )
    with anchored(setup, lut.space) as clock:
        yield AnchorWatch(clock)
