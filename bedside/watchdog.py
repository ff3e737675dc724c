"""Keeps an engine process running: one that crashed or hangs is replaced, and the time without one is measured."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from bedside.engine_process import EngineGoneError, EngineLoadError, EngineProcess
from cinert.errors import CineRTError

START_S = 120.0
"""Loading an engine may take so long; a plan of TensorRT for a large network takes tens of seconds."""
DELAYS_S = (0.0, 1.0, 2.0, 4.0, 8.0)
"""Before the first restart, the second and so on; after the last of them nothing is tried any more."""
SETTLED_S = 30.0
"""An engine that ran for so long has not been replaced in vain: the delays begin anew."""
_TICK_S = 0.1
_KEPT_OUTAGES = 1000

Log = Callable[[str], object]
StartEngine = Callable[[], EngineProcess]


@dataclass(frozen=True, slots=True)
class Outage:
    """A time without an engine.

    Attributes:
        cause: in words, after "the engine".
        down_s: from the engine's last sign of life to the next engine's being ready.
        frames: that got no mask meanwhile.
    """

    cause: str
    down_s: float
    frames: int


class Watchdog:
    """Owns the engine process, in a thread of its own. A context manager that starts it and ends it.

    A hang is told by the signs of life that stay away, counted in this thread's own ticks: a machine that stood still
    as a whole, suspended or stopped, is no hang.

    Args:
        start: starts a process; called in this thread only.
        hang_s: without a sign of life for so long, the process is killed. Has to be longer than any frame takes.
        log: takes a line per event.
    """

    def __init__(self, start: StartEngine, *, hang_s: float, log: Log) -> None:
        self._start, self._hang_s, self._log = start, hang_s, log
        self._engine: EngineProcess | None = None
        self._why = "is being loaded"
        self._lost = 0
        self._outages: deque[Outage] = deque(maxlen=_KEPT_OUTAGES)
        self._closing = threading.Event()
        self._begun = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    @property
    def outages(self) -> tuple[Outage, ...]:
        """Those that are over, the oldest first; the last 1000."""
        return tuple(self._outages)

    def engine(self) -> EngineProcess:
        """The engine, ready.

        Raises:
            EngineGoneError: there is none now, with the reason.
        """
        engine = self._engine
        if engine is None:
            raise EngineGoneError(self._why)
        return engine

    def count_lost(self) -> None:
        """Count a frame that got no mask because the engine was gone."""
        self._lost += 1

    def __enter__(self) -> Watchdog:
        self._thread.start()
        self._begun.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            engine = self._ready()
        except BaseException as error:
            self._failure = error
            return
        finally:
            self._begun.set()
        failures = 0
        while True:
            ready_s = time.monotonic()
            cause, last_life_s = self._watch(engine)
            self._why, self._engine = cause, None
            engine.close()
            if self._closing.is_set():
                return
            failures = 1 if time.monotonic() - ready_s >= SETTLED_S else failures + 1
            replaced = self._replace(cause, failures)
            if replaced is None:
                return
            engine, failures = replaced
            outage = Outage(cause, time.monotonic() - last_life_s, self._lost)
            self._lost = 0
            self._outages.append(outage)
            self._log(
                f"engine: {cause}; ready again after {outage.down_s:.2f} s, {outage.frames} frames without a mask"
            )

    def _ready(self) -> EngineProcess:
        engine = self._start()
        engine.wait_until_ready(START_S)
        self._engine = engine
        return engine

    def _watch(self, engine: EngineProcess) -> tuple[str, float]:
        """Return when the engine has ended or this watch has: how, and when it last gave a sign of life."""
        beats, silent_s, life_s = engine.beats, 0.0, time.monotonic()
        while not self._closing.is_set():
            if engine.wait(_TICK_S):
                return engine.ending(), life_s
            if engine.beats != beats:
                beats, silent_s, life_s = engine.beats, 0.0, time.monotonic()
                continue
            silent_s += _TICK_S
            if silent_s >= self._hang_s:
                engine.kill(f"gave no sign of life for {self._hang_s:g} s and was killed")
                return engine.ending(), life_s
        return "", life_s

    def _replace(self, cause: str, failures: int) -> tuple[EngineProcess, int] | None:
        """Start engines until one is ready; None if that was given up, or this watch is over."""
        while failures <= len(DELAYS_S):
            self._why = f"{cause}; it is being started again (try {failures} of {len(DELAYS_S)})"
            self._log(f"engine: {self._why}")
            if self._closing.wait(DELAYS_S[failures - 1]):
                return None
            try:
                return self._ready(), failures
            except (CineRTError, OSError) as error:
                cause = _cause(error)
                self._log(f"engine: {error}")
                failures += 1
        self._why = f"{cause}; it was given up after {len(DELAYS_S)} tries, start the server again"
        self._log(f"engine: {self._why}")
        return None


def _cause(error: CineRTError | OSError) -> str:
    """Why no engine could be started, after "the engine"; clients read it too, so an engine's own words stay out."""
    if isinstance(error, EngineLoadError):
        return "cannot be loaded"
    if isinstance(error, OSError):
        return f"cannot be started, {error.strerror or 'the system refuses'}"
    return error.message.removeprefix("the engine ").rstrip(".")
