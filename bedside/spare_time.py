"""How much time there is between an answer and the next request, as far as the last ones tell."""

from __future__ import annotations

import time
from collections import deque

REMEMBERED = 22
"""Requests, one second of them at the slowest rate that a procedure needs."""
FEWEST = 4
"""Requests that say nothing yet of the next."""


class SpareTime:
    """Notes when there was nothing to do; used from one thread."""

    def __init__(self) -> None:
        self._idle_s: deque[float] = deque(maxlen=REMEMBERED)
        self._answered_s: float | None = None

    def requested(self) -> None:
        """A request is here."""
        if self._answered_s is not None:
            self._idle_s.append(time.monotonic() - self._answered_s)
        self._answered_s = None

    def answered(self) -> None:
        """It was answered."""
        self._answered_s = time.monotonic()

    def holds(self, work_s: float) -> bool:
        """Whether work that begins now is done before the next request, if that comes no sooner than the last ones."""
        return len(self._idle_s) >= FEWEST and min(self._idle_s) > work_s
