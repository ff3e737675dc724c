"""What waits to be answered: few frames, the freshest of them, and every drop declared."""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import TypeGuard

from bedside.mrd.gather import Drop, Gathered

_MAX_WAITING = 1024

Item = Gathered | Drop | str
"""`str`: words for the client."""


class Outbox:
    """Carries frames and drops from the thread that receives to the thread that answers.

    Args:
        frames: how many may wait; when another comes, the oldest becomes a drop. 1 serves the freshest. Frames of a
            gated scan do not count: they are complete at its end, all at once, and none is fresher than another.
        max_gated_bytes: pixels of such frames that may wait; beyond it `put` waits.
    """

    def __init__(self, frames: int, max_gated_bytes: float = math.inf) -> None:
        self._frames = frames
        self._max_gated_bytes = max_gated_bytes
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Item) -> None:
        """Add a frame or a drop; waits while a client that reads no answers has too many of them waiting."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(item))
            if self._closed:
                return
            self._waiting.append(item)
            frames = [(place, each) for place, each in enumerate(self._waiting) if _may_be_overtaken(each)]
            if len(frames) > self._frames:
                place, oldest = frames[0]
                self._waiting[place] = oldest.dropped("a newer frame came before its turn")
            self._changed.notify_all()

    def _has_room(self, item: Item) -> bool:
        if len(self._waiting) >= _MAX_WAITING:
            return False
        if not _is_gated(item):
            return True
        held = sum(each.frame.image.nbytes for each in self._waiting if _is_gated(each))
        return not held or held + item.frame.image.nbytes <= self._max_gated_bytes

    def take(self) -> Item | None:
        """Wait for the next one; None when there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            item = self._waiting.popleft() if self._waiting else None
            self._changed.notify_all()
            return item

    def finish(self) -> None:
        """Take nothing more in; what waits is still given out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def discard(self) -> None:
        """Take nothing more in and throw away what waits: there is nobody left to answer."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()


def _is_gated(item: Item) -> TypeGuard[Gathered]:
    return isinstance(item, Gathered) and item.gated


def _may_be_overtaken(item: Item) -> TypeGuard[Gathered]:
    return isinstance(item, Gathered) and not item.gated
