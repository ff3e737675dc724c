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

FOREIGN_CORES = 0.2
"""Cores that other processes may use beside the engine. The accounts count in ticks of 10 ms, so that half a second
is known to about 0.05 cores; a desktop at rest uses less than 0.1."""


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
        cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
        self._allowed = max(0, cores - threads) + FOREIGN_CORES
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
        times, own = psutil.cpu_times(), self._process.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # Guests are part of user time already.
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        return time.perf_counter(), sum(times) - guests - idle, own.user + own.system
