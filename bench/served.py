"""What became of the frames that were sent to a server at a fixed rate, seen from outside.

Two clocks tell transport and computing apart. The client's says when a frame was due and when the last byte of its mask
was back (*round trip*; a frame that could not be sent in time has been waiting since it was due). The server's says how
long it took from the last byte of the frame to the mask, waiting for the engine included (*frame to mask*, what the
budget is held against). *Transport* is the difference: both ways, reading and writing messages.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.stream import P99_FRAMES
from cinert.timing import percentiles_ms


@dataclass(slots=True)
class FrameRecord:
    """One frame; moments in milliseconds since some moment."""

    due_ms: float
    sent_ms: float
    """When its last byte was given to the system."""
    answered_ms: float | None = None
    """When its answer was complete; None if there was none."""
    state: str = ""
    """What the answer said: `live`, `late`, `dropped`, ..."""
    reason: str = ""
    """Why there is no mask."""
    server_ms: float | None = None
    """Last byte in to mask ready, by the server; None without a mask."""

    @property
    def round_trip_ms(self) -> float | None:
        """From when it was due to the last byte of its mask; None without a mask."""
        return None if self.server_ms is None or self.answered_ms is None else self.answered_ms - self.due_ms


@dataclass(frozen=True, slots=True)
class Served:
    """A stream that was served, frames in the order in which they were due; none is left out."""

    frames: list[FrameRecord]
    memory: dict[str, Any] | None
    """Of the server's processes (`bench.memory`)."""
    others: dict[str, Any] | None = None
    """What programs other than client and server used of the CPU (`bench.others`)."""

    @property
    def masks(self) -> list[FrameRecord]:
        """The frames that got one."""
        return [frame for frame in self.frames if frame.round_trip_ms is not None]

    @property
    def server_ms(self) -> list[float]:
        """Frame to mask of every mask."""
        return [frame.server_ms for frame in self.masks if frame.server_ms is not None]

    def misses(self, budget_ms: float) -> int:
        """Frames without a mask within the budget: late ones, and those that were dropped, failed or not answered."""
        return len(self.frames) - sum(ms <= budget_ms for ms in self.server_ms)

    def budget_met(self, budget_ms: float) -> bool:
        """Whether p99 of frame to mask is within the budget, and no frame missed it."""
        return self.misses(budget_ms) == 0 and float(np.percentile(self.server_ms, 99)) <= budget_ms

    def queue_depths(self) -> list[int]:
        """Frames that were sent and not answered, that one included, whenever a frame had been sent."""
        sent = np.array([frame.sent_ms for frame in self.frames])
        answered = np.sort([np.inf if frame.answered_ms is None else frame.answered_ms for frame in self.frames])
        return [int(n) for n in np.arange(1, len(sent) + 1) - np.searchsorted(answered, sent, side="right")]

    def overtaken(self) -> int:
        """Masks of frames that were served though a newer one was there: 0 where the freshest is always served.

        The engine turned to a frame when it had sent the mask before, which was at most that mask's transport before it
        was here. A newer frame that had then been under way for longer than the slowest transport was there.
        """
        served = [place for place, frame in enumerate(self.frames) if frame.round_trip_ms is not None]
        slowest_ms = max((self._transport_ms(self.frames[place]) for place in served), default=0.0)
        count = 0
        for before, place in itertools.pairwise(served):
            mask = self.frames[before]
            begun_ms = (mask.answered_ms or 0.0) - self._transport_ms(mask)
            count += any(frame.sent_ms + slowest_ms < begun_ms for frame in self.frames[place + 1 : place + 2])
        return count

    @staticmethod
    def _transport_ms(frame: FrameRecord) -> float:
        return (frame.round_trip_ms or 0.0) - (frame.server_ms or 0.0)

    def to_dict(self, budget_ms: float) -> dict[str, Any]:
        """Plain values for verify.json."""
        masks, depths = self.masks, self.queue_depths()
        answers_ms = sorted(frame.answered_ms for frame in masks if frame.answered_ms is not None)
        first_ms = self.frames[0].due_ms
        return {
            "frames": len(self.frames),
            "masks": len(masks),
            "states": dict(sorted(Counter(frame.state or "unanswered" for frame in self.frames).items())),
            "reasons": dict(Counter(frame.reason for frame in self.frames if frame.reason).most_common()),
            "misses": self.misses(budget_ms),
            "budget_met": self.budget_met(budget_ms),
            "p99_supported": len(self.frames) >= P99_FRAMES,
            "frame_to_mask": percentiles_ms(self.server_ms) if masks else None,
            "transport": percentiles_ms([self._transport_ms(frame) for frame in masks]) if masks else None,
            "round_trip": percentiles_ms([frame.round_trip_ms or 0.0 for frame in masks]) if masks else None,
            "masks_per_s": 1000 * len(masks) / (answers_ms[-1] - first_ms) if masks else 0.0,
            "longest_gap_ms": float(np.diff([first_ms, *answers_ms]).max()) if masks else None,
            "queue_depth": {"p50": float(np.median(depths)), "worst": max(depths)},
            "overtaken": self.overtaken(),
            "memory": self.memory,
            "others": self.others,
        }
