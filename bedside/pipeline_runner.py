"""Frame runners on one engine in a process of its own: sources take turns, and an engine that dies is replaced."""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bedside.engine_limits import HANG_MS, KEEP_WARM_MS
from bedside.engine_process import Document, EngineGoneError, EngineProcess
from bedside.engine_protocol import Expect, Forget, Start
from bedside.follow import LOOK_FRAMES
from bedside.frame_memory import FrameMemory
from bedside.frames import Answer, Frame
from bedside.pipeline import FramePipeline, FrameResult
from bedside.quality import state_of
from bedside.turns import Turns
from bedside.watchdog import Log, Outage, Watchdog
from cinert.bundle import Bundle
from cinert.errors import CineRTError


def _to_nobody(_: str) -> None:
    """The log of those who read `outages` alone."""


class PipelineRunners:
    """Starts an engine process for a bundle and opens a runner per source. A context manager that ends the process.

    Sources take turns, one frame each. The process starts with what was read and checked when the bundle was opened,
    after a crash too: a folder that has changed since changes nothing.

    Args:
        bundle: opened, that is, checked.
        device: `auto`, `cpu` or `cuda:N`.
        threads: CPU threads of the engine.
        budget_ms: arrival of a frame to its answer; a slower answer is `late`.
        look_frames: frames from one look of the localiser in spare time to the next; 0 never looks.
        keep_warm_ms: an engine that is idle for so long segments a frame of noise; 0 never does.
        hang_ms: an engine without a sign of life for so long is killed and replaced.
        log: takes a line when the engine is lost, when it is back, and when it raises an error on a frame.

    Raises:
        CineRTError: the engine's back end is not available here, or the engine cannot be loaded.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str,
        threads: int,
        budget_ms: float,
        look_frames: int = LOOK_FRAMES,
        keep_warm_ms: float = KEEP_WARM_MS,
        hang_ms: float = HANG_MS,
        log: Log = _to_nobody,
    ) -> None:
        self.budget_ms = budget_ms
        self._log, self._logged = log, ""
        self._turns = Turns()
        self._sources = itertools.count(1)
        load = functools.partial(
            FramePipeline.from_bundle, bundle, device=device, threads=threads, look_frames=look_frames
        )
        with contextlib.ExitStack() as stack:
            document = Document(Start(load, keep_warm_ms / 1e3))
            stack.callback(document.close)
            memory = FrameMemory()
            stack.callback(memory.close)
            start = functools.partial(EngineProcess, document, memory)
            self._watchdog = stack.enter_context(Watchdog(start, hang_s=hang_ms / 1e3, log=log))
            self._resources = stack.pop_all()

    @property
    def outages(self) -> tuple[Outage, ...]:
        """Times without an engine that are over."""
        return self._watchdog.outages

    @property
    def pid(self) -> int:
        """Of the engine process.

        Raises:
            EngineGoneError: there is none now.
        """
        return self._watchdog.engine().pid

    def open(self) -> PipelineRunner:
        """A runner that knows nothing of the other sources."""
        source = next(self._sources)
        self._tell(Expect(source))
        return PipelineRunner(self, source)

    def segment(self, source: int, frame: Frame) -> tuple[FrameResult, NDArray[np.uint8]]:
        """Wait for a turn and segment a frame; raises as `EngineProcess.segment`."""
        with self._turns.turn():
            try:
                return self._watchdog.engine().segment(source, frame)
            except EngineGoneError:
                self._watchdog.count_lost()
                raise

    def log_failure(self, words: str) -> None:
        """Log what the engine raised on a frame; the same words again, frame after frame, are logged once."""
        if words != self._logged:
            self._log(f"engine: failed on a frame: {words}")
        self._logged = words

    def forget(self, source: int) -> None:
        """Release what the engine process holds of a source."""
        self._tell(Forget(source))

    def _tell(self, word: Expect | Forget) -> None:
        with self._turns.turn(), contextlib.suppress(EngineGoneError):
            self._watchdog.engine().tell(word)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()


class PipelineRunner:
    """The `FrameRunner` of one source; `PipelineRunners.open` makes it."""

    def __init__(self, runners: PipelineRunners, source: int) -> None:
        self._runners, self._source = runners, source
        self._masked_ns = time.perf_counter_ns()

    def submit(self, frame: Frame) -> Answer:
        """Segment a frame; a frame on another geometry than the last is segmented on its own, within its budget."""
        try:
            result, mask = self._runners.segment(self._source, frame)
        except EngineGoneError as error:
            reason = f"the engine {error}; no mask for {_since_ms(self._masked_ns) / 1e3:.2f} s"
            return Answer("failed", None, _since_ms(frame.arrived_ns), reason)
        except CineRTError as error:
            return Answer("failed", None, _since_ms(frame.arrived_ns), error.message)
        except Exception as error:
            # Whatever happens to a frame, the next one has to be served.
            words = " ".join(str(error).split())
            self._runners.log_failure(words)
            return Answer("failed", None, _since_ms(frame.arrived_ns), words, raised=True)
        self._masked_ns = time.perf_counter_ns()
        total_ms, quality = _since_ms(frame.arrived_ns), result.quality
        state, reason = state_of(
            quality, implausible=result.implausible, total_ms=total_ms, budget_ms=self._runners.budget_ms
        )
        return Answer(state, mask, total_ms, reason, None if quality is None else quality.score)

    def close(self) -> None:
        """Release the buffers of this source; the engine stays loaded."""
        self._runners.forget(self._source)


def _since_ms(moment_ns: int) -> float:
    return (time.perf_counter_ns() - moment_ns) / 1e6
