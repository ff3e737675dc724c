"""The engine's own process: `python -m bedside.engine_child`, started by `bedside.engine_process` and by nobody else.

What crashes or hangs in here takes no server with it.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import gc
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.engine_protocol import Expect, Forget, Segment, Start
from bedside.frame_memory import FrameMemory
from bedside.pipeline import FramePipeline, FrameResult
from bedside.spare_time import SpareTime
from cinert.data.nifti import Geometry
from cinert.errors import CineRTError

WARMUP_FRAMES = 10
"""Frames of noise segmented before the first real one: the first ones allocate memory and wake the cores."""
BEAT_S = 0.1
"""An idle engine gives a sign of life so often; a busy one before and after each frame."""
_CAUTION = 2.0
"""Looking may take so many times as long as the last time."""
_FORGETTING = 0.99
"""Per frame after which there was no time for it."""
_PR_SET_PDEATHSIG = 1
_ELSEWHERE = np.zeros((0, 0, 0), np.uint8)
"""In place of a mask that lies in the shared memory."""


@dataclass(slots=True)
class _Source:
    pipeline: FramePipeline
    bound: Geometry | None = None


@dataclass(slots=True)
class Pipelines:
    """A pipeline per source on one engine: sources share nothing of what earlier frames showed."""

    first: FramePipeline
    look_s: float = 0.0
    """What looking for the heart took last."""
    _sources: dict[int, _Source] = field(default_factory=dict)
    _latest: tuple[FramePipeline, NDArray[Any]] | None = None
    """The frame that was segmented last, and by which pipeline."""

    def segment(self, request: Segment, image: NDArray[Any], mask: NDArray[np.uint8]) -> FrameResult:
        """Segment a frame into `mask`; one on another geometry than the source's last binds the pipeline anew."""
        self.expect(request.source)
        source = self._sources[request.source]
        if source.bound is None or not source.bound.same_grid(request.geometry):
            source.bound = None
            source.pipeline.bind(request.geometry)
            source.bound = request.geometry
        self._latest = None
        result = source.pipeline.segment(image, out=mask)
        self._latest = source.pipeline, image
        return dataclasses.replace(result, mask=_ELSEWHERE)

    def look(self, spare: SpareTime, unchanged: Callable[[], bool]) -> None:
        """Let the localiser look at the latest frame, where that is due and the next one need not wait for it.

        Args:
            spare: the time there is.
            unchanged: whether the frame still lies where it lay.
        """
        latest, self._latest = self._latest, None
        if latest is None or not latest[0].look_is_due:
            return
        if not spare.holds(_CAUTION * self.look_s):
            # One look that something else held up must not be the last.
            self.look_s *= _FORGETTING
            return
        pipeline, image = latest
        start_s = time.monotonic()
        pipeline.look(image, unchanged=unchanged)
        self.look_s = time.monotonic() - start_s

    def expect(self, source: int) -> None:
        """Make the buffers of a source."""
        if source not in self._sources:
            self._sources[source] = _Source(self.first.fork())

    def forget(self, source: int) -> None:
        """Release the buffers of a source; the engine stays loaded."""
        if left := self._sources.pop(source, None):
            self._latest = None
            left.pipeline.__exit__(None, None, None)


def serve(connection: Connection, memory: FrameMemory, start: Start) -> None:
    """Load the engine, warm it up, say so, and answer until the other side is gone.

    Raises:
        EOFError: the other side is gone.
        Exception: the engine fails even on what it could do before, so that only another process can help.
    """
    try:
        pipelines = Pipelines(start.load())
        noise = _warm_up(pipelines)
    except Exception as error:
        connection.send(error if isinstance(error, CineRTError) else _in_words(error))
        return
    # What was made so far stays: the collector need not look at it again in the middle of a frame.
    gc.collect()
    gc.freeze()
    connection.send(None)
    used_s, spare = time.monotonic(), SpareTime()
    while True:
        memory.beat()
        if connection.poll(BEAT_S):
            spare.requested()
            images = memory.images
            if not _answer(connection, memory, pipelines):
                # The frame may be to blame, or the engine: a GPU that met an error once fails from then on.
                pipelines.first.segment(noise)
            spare.answered()
            pipelines.look(spare, functools.partial(_holds, memory, images))
        elif start.keep_warm_s and time.monotonic() - used_s >= start.keep_warm_s:
            # A frame that comes meanwhile waits for the rest of this one: for one frame's time at most.
            pipelines.first.segment(noise)
        else:
            continue
        used_s = time.monotonic()


def _holds(memory: FrameMemory, images: int) -> bool:
    """Whether the memory still holds that image."""
    return memory.images == images


def _answer(connection: Connection, memory: FrameMemory, pipelines: Pipelines) -> bool:
    """Do what is asked; whether that went well."""
    request = connection.recv()
    memory.beat()
    try:
        if isinstance(request, Expect):
            pipelines.expect(request.source)
        elif isinstance(request, Forget):
            pipelines.forget(request.source)
        else:
            connection.send(pipelines.segment(request, *memory.arrays(request.layout)))
    except (EOFError, ConnectionError):
        raise
    except Exception as error:
        # Whatever an engine raises, the next frame has to be served.
        if isinstance(request, Segment):
            connection.send(error if isinstance(error, CineRTError) else _in_words(error))
        return False
    return True


def _in_words(error: Exception) -> RuntimeError:
    """Engines raise types of their own, which need not survive the way to another process."""
    return RuntimeError(f"{type(error).__name__}: {' '.join(str(error).split())}")


def _warm_up(pipelines: Pipelines) -> NDArray[np.float32]:
    pipeline = pipelines.first
    depth, height, width = pipeline.spec.shape_DHW
    affine = np.diag([*pipeline.spec.spacing_mm[::-1], 1.0])
    geometry = Geometry((width, height, depth), affine)
    pipeline.bind(geometry)
    noise = np.random.default_rng(0).normal(size=geometry.shape).astype(np.float32)
    for _ in range(WARMUP_FRAMES):
        pipeline.segment(noise)
    if pipeline.localiser is not None:
        start_s = time.monotonic()
        pipeline.localiser.locate(noise)
        pipelines.look_s = time.monotonic() - start_s
    return noise


def main() -> None:
    """Arguments: the pid of the parent, then the descriptors of the socket, the shared memory and the start."""
    parent, connection, memory, start = map(int, sys.argv[1:])
    # The kernel ends this process with its parent, even where it hangs in an engine's code.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    # Read without moving the offset, which all processes that are given the descriptor share.
    document = os.pread(start, os.fstat(start).st_size, 0)
    try:
        serve(Connection(connection), FrameMemory(memory), pickle.loads(document))
    except (EOFError, ConnectionError):
        return
    except Exception as error:
        sys.exit(f"engine: {_in_words(error)}")


if __name__ == "__main__":
    main()
