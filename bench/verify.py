"""Estimate against measurement on one bundle, and the verdicts (docs/design.md, "Proof").

Two things are measured, each in the chosen mode. The *engine* host to host is what an estimate speaks of. *Frame to
mask* adds localiser, preprocessing and inverse mapping and is what the budget is held against.

A LUT is measured back to back, on a warm engine. An engine that slept between paced frames has to wake up first (0.4 ms
on a 2-core CPU, five times a network of 0.1 ms), which is no error of the estimate. So in every mode the estimate is
held against a burst of the engine in the same run; what the mode adds to it stands beside it. And an estimate speaks
of the quiet machine, so the quiet time of that burst counts; its p50 stands beside what the LUT's load predicts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bedside.pipeline import STAGES, FramePipeline, FrameResult
from bench.frames import FrameSource
from bench.gates import AuditCheck, ParityCheck
from bench.machine import AnchorWatch, Machine
from bench.stream import Clock, Mode, OnFrame, Stream, Work, burst, cold, paced
from cinert.backends.base import Runner
from cinert.data.grid import GridMap
from cinert.timing import sustained_fps

if TYPE_CHECKING:
    from latency.lut import Lut

SCHEMA, VERSION = "cinert.verify", 1
LANES = 2
"""Frames in flight while throughput is measured."""
_DEVICE_RUNS = 50
_QUIET_BLOCK = 10
_THROUGHPUT_FRAMES = 200
_BURST_FRAMES = 100
"""Frames of the burst that the estimate is held against, where the chosen mode is another."""

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
    anchor_ms: float | None = None
    """Quiet time of the LUT's anchor, just before and after `engine_burst`; None without a LUT of this device."""
    stages_p50_ms: Mapping[str, float]
    """{localise, preprocess, engine, inverse}: medians within `frame_to_mask`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What is held against what."""

    within_interval: bool | None
    """Whether the engine's quiet time, back to back, lies in the estimate's interval; None without an estimate."""
    budget_met: bool
    """Frame to mask: p99 within the budget, and no miss."""
    fps_met: bool
    """Frame to mask: the sustained rate reaches the scanner's. Told, but no reason to fail."""
    failures: list[str] = field(default_factory=list)
    """A line per failed verdict; empty when the exit code is 0."""


def run_stream(work: Work, plan: Plan, *, clock: Clock, on_frame: OnFrame) -> Stream:
    """Warm up, then send the frames in the plan's mode."""
    for number in range(plan.warmup):
        work(number)
    if plan.mode == "burst":
        return burst(work, plan.frames, clock=clock, on_frame=on_frame)
    if plan.mode == "paced":
        return paced(work, plan.frames, fps=plan.fps, clock=clock, on_frame=on_frame)
    return cold(work, plan.frames, idle_s=plan.idle_s, clock=clock, on_frame=on_frame)


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
    grid = GridMap(source.geometry, pipeline.spec)
    images = [grid.to_network(frame)[None, None] for frame in source.frames]

    def engine(own: Runner) -> Work:
        return lambda number: own.run(images[number % len(images)])

    results: list[FrameResult] = []
    with contextlib.ExitStack() as stack:
        second_pipeline = stack.enter_context(pipeline.fork()).bind(source.geometry)
        second = second_pipeline.runner
        beside = contextlib.nullcontext() if anchor is None else anchor
        in_mode = progress(f"engine, {plan.mode}", plan.frames)
        if plan.mode == "burst":
            with beside:
                engine_stream = engine_burst = run_stream(engine(runner), plan, clock=clock, on_frame=in_mode)
        else:
            engine_stream = run_stream(engine(runner), plan, clock=clock, on_frame=in_mode)
            advance = progress("engine, back to back", _BURST_FRAMES)
            with beside:
                engine_burst = burst(engine(runner), _BURST_FRAMES, clock=clock, on_frame=advance)
        device_ms = _device_p50_ms(runner)
        localiser_ms = 0.0 if pipeline.localiser is None else _device_p50_ms(pipeline.localiser.runner)
        frame_stream = run_stream(
            lambda number: results.append(pipeline.segment(source.frame(number))),
            plan,
            clock=clock,
            on_frame=progress(f"frame to mask, {plan.mode}", plan.frames),
        )
        lanes = {
            "engine": [engine(runner), engine(second)],
            "frame to mask": [_segmenter(own, source) for own in (pipeline, second_pipeline)],
        }
        fps = {
            name: _throughput(works, progress(f"{name}, {LANES} frames in flight", _THROUGHPUT_FRAMES))
            for name, works in lanes.items()
        }
    counted = results[plan.warmup :]
    return Measurement(
        engine=engine_stream,
        engine_burst=engine_burst,
        engine_fps=fps["engine"],
        device_p50_ms=device_ms,
        frame_to_mask=frame_stream,
        frame_device_p50_ms=device_ms + localiser_ms,
        frame_to_mask_fps=fps["frame to mask"],
        anchor_ms=None if anchor is None else anchor.quiet_ms,
        stages_p50_ms={stage: float(np.median([result.stage_ms(stage) for result in counted])) for stage in STAGES},
    )


def _device_p50_ms(runner: Runner) -> float:
    return float(np.median([runner.device_ms() for _ in range(_DEVICE_RUNS)]))


def _segmenter(pipeline: FramePipeline, source: FrameSource) -> Work:
    return lambda number: pipeline.segment(source.frame(number))


def _throughput(lanes: list[Work], on_frame: OnFrame) -> float:
    def counted(work: Work) -> Work:
        def run(number: int) -> None:
            work(number)
            on_frame()

        return run

    for work in lanes:
        work(0)
    return sustained_fps([counted(work) for work in lanes], _THROUGHPUT_FRAMES)


def quiet_ms(stream: Stream) -> float:
    """Quiet-machine time: the lowest median over blocks of successive frames (`cinert.timing`)."""
    values = stream.latency_ms
    return min(float(np.median(values[start : start + _QUIET_BLOCK])) for start in range(0, len(values), _QUIET_BLOCK))


def machine_state(measurement: Measurement, lut: Lut | None) -> Machine | None:
    """The anchor here and in the LUT; None where there was none to time."""
    if lut is None or lut.anchor_ms is None or measurement.anchor_ms is None:
        return None
    return Machine(anchor_ms=measurement.anchor_ms, lut_anchor_ms=lut.anchor_ms)


def judge(
    measurement: Measurement, plan: Plan, estimate: Mapping[str, float] | None, machine: Machine | None = None
) -> Verdict:
    """Hold frame to mask against the budget, and the engine back to back against the estimate.

    A machine that has changed since the LUT was measured excuses nothing: an estimate that is missed is missed, and the
    line says what the anchor makes of it.
    """
    frames = measurement.frame_to_mask
    p99 = float(np.percentile(frames.latency_ms, 99))
    misses = frames.misses(plan.budget_ms)
    budget_met = p99 <= plan.budget_ms and misses == 0
    failures = []
    if not budget_met:
        failures.append(
            f"the budget of {plan.budget_ms:g} ms is missed: frame to mask takes {p99:.1f} ms at p99,"
            f" and {misses} of {len(frames.latency_ms)} frames are late"
        )
    within = None
    if estimate is not None:
        quiet = quiet_ms(measurement.engine_burst)
        within = estimate["low_ms"] <= quiet <= estimate["high_ms"]
        if not within:
            failures.append(
                f"the measurement is outside the estimate's interval: the engine takes {quiet:.2f} ms back to back in"
                f" its quietest spell, the estimate is {estimate['ms']:.2f} ms [{estimate['low_ms']:.2f},"
                f" {estimate['high_ms']:.2f}]" + ("" if machine is None else _blame(machine, quiet, estimate))
            )
    return Verdict(
        within_interval=within,
        budget_met=budget_met,
        fps_met=measurement.frame_to_mask_fps >= plan.fps,
        failures=failures,
    )


def _blame(machine: Machine, quiet: float, estimate: Mapping[str, float]) -> str:
    if not machine.changed:
        return "; the machine runs as it did when the LUT was measured"
    if machine.explains(quiet, estimate):
        return f"; {machine}: the machine has changed, not the network"
    return f"; {machine}, which does not explain all of it"


def verify_document(
    measurement: Measurement,
    plan: Plan,
    verdict: Verdict,
    *,
    parity: ParityCheck,
    audit: AuditCheck | None,
    estimate: Mapping[str, float] | None,
    lut: Mapping[str, Any] | None,
    machine: Machine | None = None,
    fingerprint: Mapping[str, Any],
    bundle: Mapping[str, Any],
    source: str,
) -> dict[str, Any]:
    """What verify.json says (docs/schemas/verify.schema.json)."""
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "bundle": dict(bundle),
        "estimate": None if estimate is None else dict(estimate),
        "lut": None if lut is None else dict(lut),
        "machine": None if machine is None else machine.to_dict(),
        "measured": {
            **measurement.engine.to_dict(plan.budget_ms),
            "burst_p50_ms": float(np.percentile(measurement.engine_burst.latency_ms, 50)),
            "quiet_ms": quiet_ms(measurement.engine_burst),
            "throughput_fps": measurement.engine_fps,
            "device_p50_ms": measurement.device_p50_ms,
        },
        "frame_to_mask": {
            **measurement.frame_to_mask.to_dict(plan.budget_ms),
            "throughput_fps": measurement.frame_to_mask_fps,
            "device_p50_ms": measurement.frame_device_p50_ms,
            "stages_p50_ms": dict(measurement.stages_p50_ms),
            "source": source,
            "latency_ms": [round(value, 4) for value in measurement.frame_to_mask.latency_ms],
        },
        "budget_ms": plan.budget_ms,
        "fps": plan.fps,
        "within_interval": verdict.within_interval,
        "budget_met": verdict.budget_met,
        "fps_met": verdict.fps_met,
        "parity": parity.to_dict(),
        "audit": None if audit is None else audit.to_dict(),
        "failures": [*verdict.failures, *parity.failures, *([] if audit is None else audit.failures)],
        "fingerprint": dict(fingerprint),
    }
