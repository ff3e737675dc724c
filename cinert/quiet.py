"""Telling a quiet machine from a busy one while something is timed. Free of torch.

Two signs are looked at in every short window of a measurement. Other processes' use of the CPU, from the system's own
accounts: it is seen at once, also when it never pauses. And a reference network, the *anchor*: it slows down with
whatever the accounts do not show, such as a neighbour on the same host or a lowered clock (`cinert.timing`).
"""

from __future__ import annotations

import time
from typing import Protocol as TypingProtocol

import psutil

from cinert.errors import CineRTError, ExitCode
from cinert.gpu_state import throttle_reasons

BUSY = "BUSY"
"""Stands wherever a figure appears that was taken with --allow-busy, and for the word `quiet` there."""
FOREIGN_CORES = 0.2
"""Cores that other processes may use beside the engine. The accounts count in ticks of 10 ms, so that half a second
is known to about 0.05 cores; a desktop at rest uses less than 0.1."""


def busy_sentence(busy: bool) -> str:
    """What ends a line of figures that were taken with --allow-busy; nothing for others."""
    return f" {BUSY}: taken with --allow-busy, beside whatever else used the machine." if busy else ""


class MachineBusyError(CineRTError):
    """The machine did not become quiet; nothing is written that would pass for a measurement of it."""

    exit_code = ExitCode.UNAVAILABLE


class Watch(TypingProtocol):
    """Looks at the machine over a window."""

    def begin(self) -> None:
        """Start a window."""

    def disturbance(self) -> str | None:
        """What disturbed the window that has just passed, for people; None if nothing did."""


class MachineWatch:
    """Watches other processes' use of the CPU, and what holds a GPU's clocks back.

    Args:
        threads: of the engine. Cores that it leaves free may be used by others.
        gpu: UUID of the GPU that is measured; None on a CPU.
    """

    def __init__(self, *, threads: int, gpu: str | None = None) -> None:
        self._allowed = free_cores(threads)
        self._gpu = gpu
        self._process = psutil.Process()
        self._since = self._accounts()

    def begin(self) -> None:
        """Start a window."""
        self._since = self._accounts()

    def disturbance(self) -> str | None:
        """Name what disturbed the window; None if nothing did."""
        now = self._accounts()
        seconds, busy, own = (after - before for after, before in zip(now, self._since, strict=True))
        others = (busy - own) / max(seconds, 1e-9)
        if others > self._allowed:
            return f"other processes use {others:.1f} CPU cores"
        reasons = throttle_reasons(self._gpu) if self._gpu else None
        return f"the GPU is throttled: {', '.join(reasons)}" if reasons else None

    def _accounts(self) -> tuple[float, float, float]:
        """Seconds since some moment, CPU seconds of all processes and stolen by other guests, and our own."""
        own = self._process.cpu_times()
        return time.perf_counter(), busy_seconds(), own.user + own.system


def busy_seconds() -> float:
    """CPU seconds of all processes since some moment, and those stolen by other guests of the host."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # Guests are part of user time already.
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - guests - idle)


def free_cores(threads: int) -> float:
    """Cores that other processes may use without disturbing an engine of so many threads."""
    return max(0, physical_cores() - threads) + FOREIGN_CORES


def physical_cores() -> int:
    """Physical cores of the machine."""
    return int(psutil.cpu_count(logical=False) or psutil.cpu_count() or 1)
