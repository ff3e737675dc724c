"""Frames through a pipeline: back to back, at the scanner's pace, or after an idle spell.

Latencies are wall-clock milliseconds. In `paced` mode a frame's latency counts from the moment it was *due*, not from
when the pipeline got round to it: a slow frame delays the next, and the delay is theirs too (no coordinated
omission). Frames are due at absolute times, so that one late frame does not slow the clock down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

import numpy as np

from cinert.timing import percentiles_ms

Mode = Literal["burst", "paced", "cold"]
MODES: tuple[Mode, ...] = get_args(Mode)

Work = Callable[[int], object]
"""Takes one frame, by its number, all the way through."""
OnFrame = Callable[[], object]
"""Called after every frame, outside the timed part of a burst; moves a progress bar."""

MOST_WAITING = 1
"""Frames that may be due by the time that the last one is done, without the pace being lost: a frame that was late may
keep the next one waiting."""
P99_FRAMES = 459
"""Frames without a miss that support "p99 is within the budget" at 99 % confidence: 0.99^459 < 0.01."""


class Clock(Protocol):
    """Time in milliseconds; tests put their own in its place."""

    def now_ms(self) -> float:
        """Milliseconds since some moment."""

    def sleep_until_ms(self, moment_ms: float) -> None:
        """Return at that moment, or at once if it has passed."""


class WallClock:
    """The monotonic clock of this machine.

    It sleeps and does not spin: waking up is part of what a frame costs at the bedside, and spinning would keep the
    CPU's clock up between frames, as nothing does there.
    """

    def now_ms(self) -> float:
        """Milliseconds since some moment."""
        return time.perf_counter_ns() / 1e6

    def sleep_until_ms(self, moment_ms: float) -> None:
        """Return at that moment, or at once if it has passed."""
        remaining_ms = moment_ms - self.now_ms()
        if remaining_ms > 0:
            time.sleep(remaining_ms / 1000)


def paced_rate(latency_ms: Sequence[float], fps: float) -> float:
    """Frames per second of a paced stream: `fps` where the pace was kept to its end.

    A pipeline that is too slow falls further and further behind; the last frame says how far.

    Args:
        latency_ms: of each frame, from when it was due.
        fps: frames due per second.
    """
    frames, last_ms = len(latency_ms), latency_ms[-1]
    if int(last_ms * fps / 1000) <= MOST_WAITING:
        return fps
    return 1000 * frames / (1000 * (frames - 1) / fps + last_ms)


@dataclass(frozen=True, slots=True)
class Stream:
    """Latencies of one stream, in milliseconds and in the order of the frames; none is left out."""

    mode: Mode
    latency_ms: list[float] = field(repr=False)

    def misses(self, budget_ms: float) -> int:
        """Frames that took longer than the budget."""
        return sum(latency > budget_ms for latency in self.latency_ms)

    def budget_met(self, budget_ms: float) -> bool:
        """Whether p99 is within the budget, and no frame missed it."""
        return self.misses(budget_ms) == 0 and float(np.percentile(self.latency_ms, 99)) <= budget_ms

    def queue_depth(self, fps: float) -> dict[str, float] | None:
        """Frames that were due and waited when one was done; None in a mode in which none has to wait."""
        if self.mode != "paced":
            return None
        due = np.floor(np.asarray(self.latency_ms) * fps / 1000)
        depths = np.minimum(due, np.arange(len(due))[::-1])
        return {"p50": float(np.median(depths)), "worst": float(depths.max())}

    def to_dict(self, budget_ms: float) -> dict[str, Any]:
        """Plain numbers for verify.json."""
        return {
            "mode": self.mode,
            "frames": len(self.latency_ms),
            **percentiles_ms(self.latency_ms),
            "misses": self.misses(budget_ms),
            "p99_supported": len(self.latency_ms) >= P99_FRAMES,
        }


def burst(work: Work, frames: int, *, clock: Clock, on_frame: OnFrame) -> Stream:
    """Send each frame as soon as the one before is done."""
    latencies = []
    for number in range(frames):
        start = clock.now_ms()
        work(number)
        latencies.append(clock.now_ms() - start)
        on_frame()
    return Stream("burst", latencies)


def paced(work: Work, frames: int, *, fps: float, clock: Clock, on_frame: OnFrame) -> Stream:
    """Send frames at a fixed rate; one that finds the pipeline busy waits, and its wait counts.

    Args:
        work: the pipeline.
        frames: how many.
        fps: frames due per second.
        clock: the time.
        on_frame: called after each frame.
    """
    latencies = []
    first_ms = clock.now_ms()
    for number in range(frames):
        due_ms = first_ms + number * 1000 / fps
        clock.sleep_until_ms(due_ms)
        work(number)
        latencies.append(clock.now_ms() - due_ms)
        on_frame()
    return Stream("paced", latencies)


def cold(work: Work, frames: int, *, idle_s: float, clock: Clock, on_frame: OnFrame) -> Stream:
    """Send each frame after an idle spell, when caches, clocks and threads have gone to sleep."""
    latencies = []
    for number in range(frames):
        clock.sleep_until_ms(clock.now_ms() + 1000 * idle_s)
        start = clock.now_ms()
        work(number)
        latencies.append(clock.now_ms() - start)
        on_frame()
    return Stream("cold", latencies)
