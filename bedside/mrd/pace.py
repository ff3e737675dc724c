"""A cap on how fast a peer is read."""

from __future__ import annotations

import time


class Pace:
    """Lets `per_s` messages a second through, and up to one second's worth at once.

    What comes faster stays in the peer's own buffers: reading on would cost the other clients their share.
    """

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._credit = per_s
        self._last = time.monotonic()

    def wait(self) -> None:
        """Return when the next message may be worked on."""
        now = time.monotonic()
        self._credit = min(self._per_s, self._credit + (now - self._last) * self._per_s)
        self._last = now
        if self._credit < 1:
            time.sleep((1 - self._credit) / self._per_s)
        self._credit -= 1
