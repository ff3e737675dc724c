"""What carries frames to whoever segments them, and answers back. Servers and viewers know this and no engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cinert.data.nifti import Geometry

State = Literal["live", "late", "stale", "unsure", "failed", "dropped"]
"""`live`: in time. `late`: after the budget. `stale`: of an older frame. `unsure`: not to be relied on. `failed`: the
engine gave nothing. `dropped`: never segmented, because a newer frame came or the frame could not be used."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One volume as it arrived.

    Attributes:
        image: stored axes, of the geometry's shape; finite, any real type.
        geometry: where it lies.
        arrived_ns: `time.perf_counter_ns()` when its last slice was there.
        slice_arrived_ns: the same of each slice along the third axis, where slices are refreshed one by one; None where
            the frame was acquired as a whole.
    """

    image: NDArray[Any]
    geometry: Geometry
    arrived_ns: int
    slice_arrived_ns: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What became of a frame.

    Attributes:
        state: travels with the mask wherever it is shown.
        mask: stored axes and shape of the frame, 0 background, 1 RV, 2 MYO, 3 LV; None where there is none.
        total_ms: arrival of the frame to this answer, waiting included.
        reason: in words, why the state is not `live`; empty if it is. For logs; clients and viewers get `told`.
        quality: 0 to 1, how far the mask can be relied on; None where nobody asked.
        slice_age_ms: arrival of each slice to this answer, where slices are refreshed one by one; else None.
        raised: whether the reason is an error in its own words, which mean something to whoever has the code alone.
    """

    state: State
    mask: NDArray[np.uint8] | None
    total_ms: float
    reason: str = ""
    quality: float | None = None
    slice_age_ms: tuple[float, ...] | None = None
    raised: bool = False

    @property
    def told(self) -> str:
        """The reason for clients and viewers."""
        return "the engine failed on this frame, the server's log says why" if self.raised else self.reason


class FrameRunner(Protocol):
    """Segments the frames of one source in their order; used from one thread."""

    def submit(self, frame: Frame) -> Answer:
        """Segment a frame and wait for the answer. It never raises: an engine's failure is an answer too."""
        ...

    def close(self) -> None:
        """Release what this source held."""
        ...


OpenRunner = Callable[[], FrameRunner]
"""Makes a runner for a new source. Sources do not share what earlier frames showed."""
