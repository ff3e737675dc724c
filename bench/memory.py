"""Whether a stream's memory grows: resident memory of the processes that serve it, noted once a second."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import psutil
from scipy.stats import theilslopes

FEWEST_SAMPLES = 10
"""Notes that a slope takes; it would be noise with fewer."""
_MOST_SAMPLES = 1024
"""Beyond it every second note is forgotten, and notes are taken half as often: a day takes no more memory than that."""
_RELIST_NOTES = 30
_MIB = 2**20


class MemoryTrack:
    """Notes the resident memory of a process and its children. Shared pages count once per process.

    Args:
        pid: of the process; None is this one.
        every_s: seconds between notes.
    """

    def __init__(self, pid: int | None = None, *, every_s: float = 1.0) -> None:
        self._root = psutil.Process(pid)
        self._every_s = every_s
        self._next_s = 0.0
        self._notes: list[tuple[float, float]] = []
        self._listed: list[psutil.Process] = []
        self._until_relist = 0

    def note(self) -> None:
        """Take a note if it is time for one; costs a comparison otherwise. To be called outside what is timed."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._every_s
        self._notes.append((now_s, self._resident() / _MIB))
        if len(self._notes) > _MOST_SAMPLES:
            self._notes = self._notes[::2]
            self._every_s *= 2

    def _resident(self) -> float:
        # Looking for children reads all of /proc, which would take time from the frames.
        if self._until_relist <= 0:
            self._listed = [self._root, *self._root.children(recursive=True)]
            self._until_relist = _RELIST_NOTES
        self._until_relist -= 1
        total = 0
        for process in self._listed:
            try:
                total += process.memory_info().rss
            except psutil.Error:
                self._until_relist = 0  # an engine that was restarted has another number
        return float(total)

    def to_dict(self) -> dict[str, Any] | None:
        """MiB at the first, the last and the worst note, and the slope (Theil-Sen) in MiB/h; None without a note."""
        if not self._notes:
            return None
        times_s, resident_mib = np.array(self._notes).T
        slope = None
        if len(self._notes) >= FEWEST_SAMPLES:
            slope = 3600 * float(theilslopes(resident_mib, times_s).slope)
        return {
            "start_mib": float(resident_mib[0]),
            "end_mib": float(resident_mib[-1]),
            "worst_mib": float(resident_mib.max()),
            "slope_mib_per_h": slope,
            "samples": len(self._notes),
        }
