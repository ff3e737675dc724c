"""What the page tells of one source of frames: the newest answer, the newest picture, and the last seconds."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.frames import Answer, Frame
from bedside.volumes import frame_volumes_ml
from bedside.web.mosaic import Mosaic, Tiles

_LATENCIES = 110
"""Bars of the strip: 5 s at 22 frames/s."""
_VOLUMES = 512
"""Points of the curve; 10 s at 50 frames/s."""
_RATE_S = 3.0
_MAX_REASON = 300


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """An answer as it was published; times are `time.perf_counter()`."""

    number: int
    answer: Answer
    frame: Frame | None
    answered_s: float

    @property
    def arrived_s(self) -> float:
        """When the frame was there: what the eye sees is as old as that."""
        return self.answered_s if self.frame is None else self.frame.arrived_ns / 1e9


class Source:
    """The frames of one place. `publish` belongs to whoever segments, the rest to the painter's thread."""

    def __init__(self) -> None:
        self.newest: Shown | None = None
        self.newest_mask: Shown | None = None
        self.counts: Counter[str] = Counter()
        self.latencies: deque[tuple[float, float, str]] = deque(maxlen=_LATENCIES)
        self._volumes: deque[tuple[float, float, float]] = deque(maxlen=_VOLUMES)
        self._measured = 0
        self._mosaic = Mosaic()

    def publish(self, number: int, frame: Frame | None, answer: Answer) -> None:
        """Take an answer; holds on to its arrays and reads none of them."""
        shown = Shown(number, answer, frame, time.perf_counter())
        self.newest = shown
        if frame is not None and answer.mask is not None:
            self.newest_mask = shown
        self.counts[answer.state] += 1
        self.latencies.append((shown.answered_s, answer.total_ms, answer.state))

    def measure(self, shown: Shown) -> None:
        """Add a mask's volumes to the curve, once."""
        if shown.number <= self._measured or shown.frame is None or shown.answer.mask is None:
            return
        if shown.answer.state == "stale":
            # The mask of an older frame, which stands in the curve already.
            return
        self._measured = shown.number
        volumes = frame_volumes_ml(shown.answer.mask, shown.frame.geometry)
        self._volumes.append((round(shown.arrived_s, 4), round(volumes["lv"], 1), round(volumes["rv"], 1)))

    def cut(self, shown: Shown) -> Tiles:
        """The slices to show of a mask; raises as numpy does where frame and mask do not fit each other."""
        if shown.frame is None or shown.answer.mask is None:
            raise ValueError("an answer without a mask has no picture")
        return self._mosaic.cut(shown.frame, shown.answer.mask)

    def volumes(self) -> list[tuple[float, float, float]]:
        """(arrived_s, LV ml, RV ml) of the last masks that were measured, rounded for the page."""
        return list(self._volumes)


def told(shown: Shown) -> dict[str, Any]:
    """An answer in words and numbers."""
    answer = shown.answer
    return {
        "number": shown.number,
        "state": answer.state,
        "reason": answer.told[:_MAX_REASON],
        "quality": answer.quality if answer.quality is None else round(answer.quality, 3),
        "total_ms": round(answer.total_ms, 2),
        "arrived_s": shown.arrived_s,
        "answered_s": shown.answered_s,
    }


def rate_fps(latencies: list[tuple[float, float, str]]) -> float | None:
    """Masks a second over the last seconds that had any; None where there are fewer than two."""
    times = [at for at, _, state in latencies if state not in {"dropped", "failed"}]
    times = [at for at in times if times[-1] - at <= _RATE_S]
    return None if len(times) < 2 or math.isclose(times[-1], times[0]) else (len(times) - 1) / (times[-1] - times[0])


def pixels(tiles: Tiles) -> NDArray[np.uint8]:
    """Grey values, then labels, in one row."""
    return np.concatenate([tiles.grey_SYX.ravel(), tiles.label_SYX.ravel()])
