"""The one timing protocol: rows interleaved in random order over several passes (docs/latency-model.md).

A busy spell of a shared machine then hits all rows alike and none for good. What composes is the quiet-machine
time, a low quantile over passes; what a user feels, p50 and p99 over all samples, is kept beside it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Clock = Callable[[], float]
"""Runs the work once and returns how long it took, in milliseconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """How rows are timed. Written into every LUT."""

    warmup: int = 2
    """Runs before the first sample of each visit, not counted: caches belong to the previous row."""
    min_passes: int = 5
    """Visits to every row before any may stop."""
    max_passes: int = 12
    """Visits after which a row stops, tight or not."""
    visit_ms: float = 15.0
    """Time given to a row in each visit; at least one sample is taken."""
    spread: float = 0.02
    """A row stops when its three quietest passes lie within this fraction of each other."""
    cov_limit: float = 0.025
    """Coefficient of variation above which a row is flagged as noisy (as trtexec does)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TimingStats:
    """Distribution of one row's samples, in milliseconds. Outliers are kept."""

    quiet_ms: float
    """Quiet-machine time: the lowest of the passes' medians."""
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    std_ms: float
    n: int
    noisy: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return asdict(self)


Visits = list[list[float]]
"""Samples of one row in milliseconds, one list per pass."""


def summarise(visits: Visits, protocol: Protocol) -> TimingStats:
    """Summarise a row's samples."""
    samples = np.concatenate([np.asarray(visit) for visit in visits])
    mean, std = float(samples.mean()), float(samples.std())
    p50, p90, p99 = (float(value) for value in np.percentile(samples, [50, 90, 99]))
    return TimingStats(
        quiet_ms=min(float(np.median(visit)) for visit in visits),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=mean,
        std_ms=std,
        n=len(samples),
        noisy=std > protocol.cov_limit * mean,
    )


def is_tight(visits: Visits, protocol: Protocol) -> bool:
    """Whether the three quietest passes agree, or the bound on passes is reached."""
    if len(visits) < protocol.min_passes:
        return False
    if len(visits) >= protocol.max_passes:
        return True
    quietest = sorted(float(np.median(visit)) for visit in visits)[:3]
    return quietest[-1] <= (1 + protocol.spread) * quietest[0]


def visit(clock: Clock, protocol: Protocol) -> list[float]:
    """Visit a row once: warm up, then sample until its time is used up."""
    for _ in range(protocol.warmup):
        clock()
    samples: list[float] = []
    deadline = time.perf_counter() + protocol.visit_ms / 1000
    while not samples or time.perf_counter() < deadline:
        samples.append(clock())
    return samples


def measure_interleaved(
    clocks: Mapping[str, Clock],
    protocol: Protocol,
    *,
    seed: int,
    visits: dict[str, Visits] | None = None,
    on_pass: Callable[[dict[str, Visits]], None] | None = None,
) -> dict[str, Visits]:
    """Time all rows, interleaved in random order, until each is tight or the bound is reached.

    Args:
        clocks: the rows.
        protocol: how.
        seed: for the order.
        visits: samples of an earlier, interrupted run to go on from; extended in place.
        on_pass: called after every pass with all samples so far, to store them or to move a progress bar.

    Returns:
        All samples, one list per row and pass.
    """
    visits = {} if visits is None else visits
    rng = np.random.default_rng(seed)
    while True:
        open_rows = [name for name in clocks if not is_tight(visits.get(name, []), protocol)]
        if not open_rows:
            return visits
        for position in rng.permutation(len(open_rows)):
            name = open_rows[position]
            visits.setdefault(name, []).append(visit(clocks[name], protocol))
        if on_pass is not None:
            on_pass(visits)


def percentiles_ms(samples_ms: Sequence[float]) -> dict[str, float]:
    """p50, p90, p95, p99, p99.9, worst and jitter (standard deviation) of samples in milliseconds."""
    values = np.asarray(samples_ms, dtype=np.float64)
    p50, p90, p95, p99, p999 = (float(value) for value in np.percentile(values, [50, 90, 95, 99, 99.9]))
    return {
        "p50_ms": p50,
        "p90_ms": p90,
        "p95_ms": p95,
        "p99_ms": p99,
        "p999_ms": p999,
        "worst_ms": float(values.max()),
        "jitter_ms": float(values.std()),
    }


def sustained_fps(lanes: Sequence[Callable[[int], object]], frames: int) -> float:
    """Throughput with successive frames overlapped: frame n + 1 enters a free lane while frame n is still under way.

    Args:
        lanes: independent pipelines that take a frame by its number, each used by a thread of its own.
        frames: sent in all.

    Returns:
        Frames per second from the first frame in to the last frame out.

    Raises:
        Exception: the first that a lane raised.
    """
    waiting = iter(range(frames))
    lock = threading.Lock()
    failures: list[BaseException] = []

    def serve(work: Callable[[int], object]) -> None:
        try:
            while not failures:
                with lock:
                    number = next(waiting, None)
                if number is None:
                    return
                work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=serve, args=(work,), daemon=True) for work in lanes]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return frames / (time.perf_counter() - start)
