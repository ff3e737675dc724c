"""What times a runner: one frame host to host, the device alone, or one frame among many that overlap."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from cinert.backends.base import Runner
from cinert.timing import Clock, sustained_fps

Now = Callable[[], int]
"""Reads a clock, in nanoseconds."""
ClockName = Literal["wall", "cpu"]
CLOCKS: tuple[ClockName, ...] = get_args(ClockName)
_INTERVAL_S = 0.25
_INTERVAL_ROUNDS = 2


def host_to_host(runner: Runner, now: Now = time.perf_counter_ns) -> Clock:
    """Clock of one frame from host memory to host memory, copies included."""
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(shape, dtype=np.float32) for shape in runner.input_shapes]

    def run() -> float:
        start = now()
        runner.run(*inputs)
        return (now() - start) / 1e6

    return run


def device_only(runner: Runner, now: Now = time.perf_counter_ns) -> Clock:
    """Clock of the device alone."""
    if now is time.perf_counter_ns:
        return runner.device_ms

    def run() -> float:
        start = now()
        runner.execute()
        return (now() - start) / 1e6

    return run


def frame_interval(*runners: Runner) -> Clock:
    """Clock of one frame among many that overlap, one to a runner: the inverse of the sustained rate."""
    clocks = [host_to_host(runner) for runner in runners]
    seconds = clocks[0]() / 1000
    if seconds < _INTERVAL_S:
        seconds = min(clocks[0]() for _ in range(3)) / 1000
    rounds = max(_INTERVAL_ROUNDS, round(_INTERVAL_S / (seconds * len(runners))))
    # As many frames on every runner: of five frames on two, the last would run alone, and a sixth of the rate be lost.
    frames = rounds * len(runners)
    lanes = [lambda _, clock=clock: clock() for clock in clocks]
    return lambda: 1000 / sustained_fps(lanes, frames)
