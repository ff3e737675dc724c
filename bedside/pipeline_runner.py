"""Frame runners on one engine: every source has its own pipeline, and all of them take turns in one thread."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np

from bedside.frames import Answer, Frame
from bedside.pipeline import FramePipeline, FrameResult
from bedside.quality import state_of
from cinert.bundle import Bundle
from cinert.data.nifti import Geometry

WARMUP_FRAMES = 10
"""Frames of noise segmented before the first source: the first ones allocate memory and wake the cores."""


class PipelineRunners:
    """Loads a bundle once and opens a runner per source. A context manager that closes the engine.

    Engines belong to the thread that loaded them, so one thread computes for all sources. A source has one frame in it
    at a time, hence turns are fair.

    Args:
        bundle: opened, that is, checked.
        device: `auto`, `cpu` or `cuda:N`.
        threads: CPU threads of the engine.
        budget_ms: arrival of a frame to its answer; a slower answer is `late`.

    Raises:
        BackendUnavailableError: the engine's back end is not available here.
    """

    def __init__(self, bundle: Bundle, *, device: str, threads: int, budget_ms: float) -> None:
        self._budget_ms = budget_ms
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        try:
            self._pipeline = self._thread.submit(
                lambda: FramePipeline.from_bundle(bundle, device=device, threads=threads)
            ).result()
            self._thread.submit(_warm_up, self._pipeline).result()
        except BaseException:
            self._thread.shutdown()
            raise

    def open(self) -> PipelineRunner:
        """A runner that knows nothing of the other sources."""
        return PipelineRunner(self._thread.submit(self._pipeline.fork).result(), self._thread, self._budget_ms)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.submit(self._pipeline.__exit__, *error).result()
        self._thread.shutdown()


@dataclass(slots=True)
class PipelineRunner:
    """The `FrameRunner` of one source; `PipelineRunners.open` makes it."""

    pipeline: FramePipeline
    thread: ThreadPoolExecutor
    budget_ms: float
    bound: Geometry | None = None

    def submit(self, frame: Frame) -> Answer:
        """Segment a frame; a frame on another geometry than the last binds the pipeline anew, within its budget."""
        try:
            result = self.thread.submit(self._segment, frame).result()
        except Exception as error:
            # Whatever an engine raises, the next frame has to be served.
            return Answer("failed", None, _since_ms(frame), f"{type(error).__name__}: {' '.join(str(error).split())}")
        total_ms = _since_ms(frame)
        quality = result.quality
        state, reason = state_of(quality, total_ms=total_ms, budget_ms=self.budget_ms)
        return Answer(state, result.mask, total_ms, reason, None if quality is None else quality.score)

    def close(self) -> None:
        """Release the buffers of this source; the engine stays loaded."""
        self.thread.submit(self.pipeline.__exit__, None, None, None).result()

    def _segment(self, frame: Frame) -> FrameResult:
        if self.bound is None or not self.bound.same_grid(frame.geometry):
            self.pipeline.bind(frame.geometry)
            self.bound = frame.geometry
        return self.pipeline.segment(frame.image)


def _since_ms(frame: Frame) -> float:
    return (time.perf_counter_ns() - frame.arrived_ns) / 1e6


def _warm_up(pipeline: FramePipeline) -> None:
    depth, height, width = pipeline.spec.shape_DHW
    affine = np.diag([*pipeline.spec.spacing_mm[::-1], 1.0])
    geometry = Geometry((width, height, depth), affine)
    pipeline.bind(geometry)
    noise = np.random.default_rng(0).normal(size=geometry.shape).astype(np.float32)
    for _ in range(WARMUP_FRAMES):
        pipeline.segment(noise)
