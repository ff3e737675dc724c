"""A cine replayed at its pace, the freshest frame first: what would have come from the scanner."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bedside.frames import Answer, Frame, FrameRunner
from cinert.data.nifti import Cine

Show = Callable[[Frame | None, Answer], None]

DROPPED = Answer("dropped", None, 0.0, "a newer frame came before its turn")


class Replay:
    """Sends the frames of a cine at their times and segments the newest; what had to give way is a drop.

    Args:
        cine: (x, y, z, t).
        fps: frames a second.
        passes: through the cine; None goes on until `stop`.
        show: is told every answer; has to return at once.
    """

    def __init__(self, cine: Cine, *, fps: float, passes: int | None, show: Show) -> None:
        self._cine = cine
        self._step_s = 1 / fps
        self._frames = None if passes is None else passes * cine.image.shape[3]
        self._show = show
        self._waiting: Frame | None = None
        self._ended = False
        self._changed = threading.Condition()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Send no more frames."""
        self._stopped.set()

    def run(self, runner: FrameRunner) -> None:
        """Segment in this thread until the last frame has its answer."""
        pacer = threading.Thread(target=self._pace, name="replay", daemon=True)
        pacer.start()
        try:
            while (frame := self._take()) is not None:
                self._show(frame, runner.submit(frame))
        finally:
            self.stop()
            pacer.join()

    def _pace(self) -> None:
        phases, sent, due_s = self._cine.image.shape[3], 0, time.perf_counter()
        while not self._stopped.wait(max(0.0, due_s - time.perf_counter())):
            if sent == self._frames:
                break
            self._put(
                Frame(self._cine.image[..., sent % phases], self._cine.geometry, arrived_ns=time.perf_counter_ns())
            )
            sent += 1
            # After a pause of the whole machine the pace goes on; frames of the pause are not sent in a burst.
            due_s = max(due_s + self._step_s, time.perf_counter() - self._step_s)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _put(self, frame: Frame) -> None:
        with self._changed:
            gave_way, self._waiting = self._waiting, frame
            self._changed.notify_all()
        if gave_way is not None:
            self._show(None, DROPPED)

    def _take(self) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._ended)
            frame, self._waiting = self._waiting, None
            return frame
