"""What other programs use of the CPU while something is measured: it stands beside every verdict on a latency."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import psutil

from cinert.quiet import busy_seconds, free_cores, physical_cores

SHORTEST_S = 0.5
"""The system's accounts count in ticks of 10 ms: of less time nothing is said."""
_RELIST_NOTES = 30


class OthersTrack:
    """Watches the CPU during a stream; a context manager. Ours are this process and its children, whatever they do.

    Args:
        threads: of the engine. Cores that it leaves free may be used by others.
    """

    def __init__(self, threads: int) -> None:
        self._free = free_cores(threads)
        self._process = psutil.Process()
        self._children: list[psutil.Process] = []
        self._until_relist = 0
        self._worst: float | None = None
        """Cores in the worst second; None while nothing was long enough to say."""

    def __enter__(self) -> Self:
        self._began = self._last = self._mark()
        self._worst = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._look(SHORTEST_S)

    def note(self) -> None:
        """Look once a second, so that a burst of others' work shows. To be called outside what is timed."""
        if time.perf_counter() - self._last[0] >= 1:
            self._look(1)

    def _look(self, least_s: float) -> None:
        now = self._mark()
        seconds = now[0] - self._last[0]
        # What is left of a second at the end may be too short by itself.
        if seconds >= least_s:
            self._worst = max(self._worst or 0.0, (now[1] - self._last[1]) / seconds)
        self._last = now

    def to_dict(self) -> dict[str, Any] | None:
        """Cores that others used on average and in the worst second, of how many; None where it was too short."""
        seconds, used = (after - before for before, after in zip(self._began, self._last, strict=True))
        if self._worst is None:
            return None
        return {
            "cpu_cores": max(0.0, used / seconds),
            "worst_cpu_cores": self._worst,
            "of_cores": physical_cores(),
            "disturbing": self._worst > self._free,
        }

    def _mark(self) -> tuple[float, float]:
        """Seconds since some moment, and CPU seconds of others."""
        return time.perf_counter(), busy_seconds() - self._own_seconds()

    def _own_seconds(self) -> float:
        # Looking for children reads all of /proc, which would take time from the frames.
        if self._until_relist <= 0:
            self._children = self._process.children(recursive=True)
            self._until_relist = _RELIST_NOTES
        self._until_relist -= 1
        # User and system time, own and of children that ended.
        total = sum(self._process.cpu_times()[:4])
        for child in self._children:
            try:
                total += sum(child.cpu_times()[:4])
            except psutil.Error:
                self._until_relist = 0  # a server that was started again has another number
        return float(total)


def others_words(others: Mapping[str, Any] | None) -> str:
    """A phrase that ends the figures of a verdict.

    Args:
        others: of `OthersTrack.to_dict`; None where it was too short, or where a file from before says nothing.
    """
    if others is None:
        return "; what other programs used meanwhile is not known"
    worst = others["worst_cpu_cores"]
    more = f", {worst:.1f} in the worst second" if worst >= others["cpu_cores"] + 0.1 else ""
    return f"; other programs used {others['cpu_cores']:.1f} of {others['of_cores']} CPU cores{more}"


def blame_words(others: Mapping[str, Any] | None) -> str:
    """The same for a verdict that failed: what to do where they may be the reason; empty where they are not."""
    if others is None or not others["disturbing"]:
        return ""
    return f"{others_words(others)}, so measure again on the quiet machine"
