"""Measuring a bundle: the engine host to host, and frame to mask, in one of the modes of `bench.stream`."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.pipeline import STAGES, FramePipeline
from bench.frames import FrameSource
from bench.machine import AnchorWatch
from bench.memory import MemoryTrack
from bench.others import OthersTrack
from bench.stream import Clock, Mode, OnFrame, Stream, Work, burst, cold, paced
from cinert.backends.base import Runner
from cinert.data.grid import GridMap
from cinert.timing import sustained_fps

LANES = 2
"""Frames in flight while throughput is measured."""
_DEVICE_RUNS = 50
_THROUGHPUT_FRAMES = 200
_BURST_FRAMES = 100
"""Frames of the burst that the estimate is held against, where the chosen mode is another."""
ENGINE_FRAMES = 500
"""Frames of the engine alone, at most: they are held against no budget, and p99 needs no more."""

Progress = Callable[[str, int], OnFrame]
"""Called with a stage's name and its number of frames; returns what to call after each frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How to measure."""

    mode: Mode
    frames: int
    budget_ms: float
    fps: float
    idle_s: float
    warmup: int
    threads: int
    """Of the engine, on a CPU: cores that it leaves free may be used by others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What was measured."""

    engine: Stream
    """In the chosen mode."""
    engine_burst: Stream
    """Back to back; the same stream in burst mode."""
    engine_fps: float
    device_p50_ms: float
    """Median time of the engine on the device alone, without the copies, back to back."""
    frame_to_mask: Stream
    frame_device_p50_ms: float
    """The same for all that a frame has on the device: `device_p50_ms`, and the localiser's."""
    frame_to_mask_fps: float
    stages_p99_ms: Mapping[str, float]
    engine_others: Mapping[str, Any] | None = None
    """What other programs used during `engine_burst` (`bench.others`), or during all of the measurement where that was
    too short to say; None where all of it was."""
    frame_others: Mapping[str, Any] | None = None
    """The same during `frame_to_mask`."""
    throughput_others: Mapping[str, Any] | None = None
    """The same while frames to masks overlapped."""
    memory: Mapping[str, Any] | None = None
    """Of this process during `frame_to_mask` (`bench.memory`)."""
    anchor_ms: float | None = None
    """Quiet time of the LUT's anchor, just before and after `engine_burst`; None without a LUT of this device."""
    stages_p50_ms: Mapping[str, float]
    """{localise, preprocess, engine, inverse}: medians within `frame_to_mask`."""


def run_stream(work: Work, plan: Plan, *, clock: Clock, on_frame: OnFrame, frames: int | None = None) -> Stream:
    """Warm up, then send the frames in the plan's mode; `frames` takes the place of the plan's."""
    frames = plan.frames if frames is None else frames
    for number in range(plan.warmup):
        work(number)
    if plan.mode == "burst":
        return burst(work, frames, clock=clock, on_frame=on_frame)
    if plan.mode == "paced":
        return paced(work, frames, fps=plan.fps, clock=clock, on_frame=on_frame)
    return cold(work, frames, idle_s=plan.idle_s, clock=clock, on_frame=on_frame)


def measure(
    pipeline: FramePipeline,
    source: FrameSource,
    plan: Plan,
    *,
    clock: Clock,
    progress: Progress,
    anchor: AnchorWatch | None = None,
) -> Measurement:
    """Measure engine and frame-to-mask latency and throughput.

    Args:
        pipeline: with the engine; is bound to the frames' geometry and stays open.
        source: frames in stored axes.
        plan: how.
        clock: the time.
        progress: makes a bar for each stage.
        anchor: of the LUT, loaded; timed beside the engine back to back.
    """
    runner = pipeline.bind(source.geometry).runner
    engine = _engine_work(pipeline, source)
    whole = OthersTrack(plan.threads)
    with contextlib.ExitStack() as stack:
        stack.enter_context(whole)
        second_pipeline = stack.enter_context(pipeline.fork()).bind(source.geometry)
        second = second_pipeline.runner
        beside = contextlib.nullcontext() if anchor is None else anchor
        few = min(plan.frames, ENGINE_FRAMES)
        in_mode, engine_others = progress(f"engine, {plan.mode}", few), OthersTrack(plan.threads)
        if plan.mode == "burst":
            with beside, engine_others:
                on_frame = _both(in_mode, engine_others.note)
                engine_stream = run_stream(engine(runner), plan, clock=clock, on_frame=on_frame, frames=few)
            engine_burst = engine_stream
        else:
            engine_stream = run_stream(engine(runner), plan, clock=clock, on_frame=in_mode, frames=few)
            advance = progress("engine, back to back", _BURST_FRAMES)
            with beside, engine_others:
                on_frame = _both(advance, engine_others.note)
                engine_burst = burst(engine(runner), _BURST_FRAMES, clock=clock, on_frame=on_frame)
        device_ms = _device_p50_ms(runner)
        localiser_ms = 0.0 if pipeline.localiser is None else _device_p50_ms(pipeline.localiser.runner)
        on_frame = progress(f"frame to mask, {plan.mode}", plan.frames)
        frames = frames_to_masks(pipeline, source, plan, clock=clock, on_frame=on_frame)
        lanes = {
            "engine": [engine(runner), engine(second)],
            "frame to mask": [_segmenter(own, source) for own in (pipeline, second_pipeline)],
        }
        fps, overlapped_others = {}, OthersTrack(plan.threads)
        for name, works in lanes.items():
            with overlapped_others:
                fps[name] = _throughput(works, progress(f"{name}, {LANES} frames in flight", _THROUGHPUT_FRAMES))
    p50, p99 = np.percentile(frames.stages_ms, [50, 99], axis=0).tolist()
    return Measurement(
        engine=engine_stream,
        engine_burst=engine_burst,
        engine_fps=fps["engine"],
        device_p50_ms=device_ms,
        frame_to_mask=frames.stream,
        frame_device_p50_ms=device_ms + localiser_ms,
        frame_to_mask_fps=fps["frame to mask"],
        anchor_ms=None if anchor is None else anchor.quiet_ms,
        engine_others=engine_others.to_dict() or whole.to_dict(),
        frame_others=frames.others or whole.to_dict(),
        throughput_others=overlapped_others.to_dict() or whole.to_dict(),
        memory=frames.memory,
        stages_p50_ms=dict(zip(STAGES, p50, strict=True)),
        stages_p99_ms=dict(zip(STAGES, p99, strict=True)),
    )


@dataclass(frozen=True, slots=True)
class FramesToMasks:
    """A stream through the whole pipeline."""

    stream: Stream
    stages_ms: NDArray[np.float64]
    """(frames, `STAGES`)."""
    memory: dict[str, Any] | None
    others: dict[str, Any] | None
    """`OthersTrack.to_dict`."""


def frames_to_masks(
    pipeline: FramePipeline, source: FrameSource, plan: Plan, *, clock: Clock, on_frame: OnFrame
) -> FramesToMasks:
    """Send the frames of the plan through a pipeline that is bound to their geometry; masks are not kept."""
    # Reserved at once: a list that grows with the frames would pass for a leak.
    stages_ms = np.zeros((plan.warmup + plan.frames, len(STAGES)))
    memory, others = MemoryTrack(), OthersTrack(plan.threads)
    places = itertools.count()
    latest = [source.frame(0)]

    def segment(number: int) -> None:
        latest[0] = source.frame(number)
        result = pipeline.segment(latest[0])
        stages_ms[next(places)] = [result.stage_ms(stage) for stage in STAGES]

    def between_frames() -> None:
        # As at the bedside, in the time to the next frame; where there is none, that frame waits.
        pipeline.look(latest[0])
        on_frame()
        memory.note()
        others.note()

    with others:
        stream = run_stream(segment, plan, clock=clock, on_frame=between_frames)
    return FramesToMasks(stream, stages_ms[plan.warmup :], memory.to_dict(), others.to_dict())


def measure_beside(
    pipeline: FramePipeline, source: FrameSource, plan: Plan, *, clock: Clock, progress: Progress
) -> tuple[Stream, FramesToMasks]:
    """Engine and frame to mask once more, in the plan's mode, while something else uses the device.

    Args:
        pipeline: that `measure` bound.
        source: frames in stored axes.
        plan: how.
        clock: the time.
        progress: makes a bar for each stream.

    Returns:
        The engine's stream, and the frames to masks.
    """
    few, what = min(plan.frames, ENGINE_FRAMES), "beside the other program"
    work = _engine_work(pipeline, source)(pipeline.runner)
    engine = run_stream(work, plan, clock=clock, on_frame=progress(f"engine {what}", few), frames=few)
    on_frame = progress(f"frame to mask {what}", plan.frames)
    return engine, frames_to_masks(pipeline, source, plan, clock=clock, on_frame=on_frame)


def _both(first: OnFrame, second: OnFrame) -> OnFrame:
    def call() -> None:
        first()
        second()

    return call


def _engine_work(pipeline: FramePipeline, source: FrameSource) -> Callable[[Runner], Work]:
    grid = GridMap(source.geometry, pipeline.spec)
    images = [grid.to_network(frame)[None, None] for frame in source.frames]
    return lambda runner: lambda number: runner.run(images[number % len(images)])


def _device_p50_ms(runner: Runner) -> float:
    return float(np.median([runner.device_ms() for _ in range(_DEVICE_RUNS)]))


def _segmenter(pipeline: FramePipeline, source: FrameSource) -> Work:
    def segment(number: int) -> None:
        image = source.frame(number)
        pipeline.segment(image)
        pipeline.look(image)

    return segment


def _throughput(lanes: list[Work], on_frame: OnFrame) -> float:
    def counted(work: Work) -> Work:
        def run(number: int) -> None:
            work(number)
            on_frame()

        return run

    for work in lanes:
        work(0)
    return sustained_fps([counted(work) for work in lanes], _THROUGHPUT_FRAMES)
