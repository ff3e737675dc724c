"""The one timing protocol: rows interleaved in random order over several passes (docs/latency-model.md).

A busy spell of a shared machine then hits all rows alike and none for good. Visits are grouped in windows of half a
second. What was timed in a window in which something else used the machine, or in which the anchor was slow, is kept
for the load factor and timed again. What composes is the quiet-machine time, a low quantile over quiet visits; what a
user feels, p50 and p99 over all samples, is kept beside it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from cinert.quiet import MachineBusyError, Watch

_WINDOW_ANCHORS = 6
"""A window takes as long as so many runs of the anchor at least, so that the rows get most of it."""
_FEWEST_BUSY_WINDOWS = 10
"""A process that was suspended finds one window that took long; that is no busy machine."""

Clock = Callable[[], float]
"""Runs the work once and returns how long it took, in milliseconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """How rows are timed. Written into every LUT."""

    warmup: int = 2
    """Runs before the first sample of each visit, not counted: caches belong to the previous row. One is enough where
    it takes longer than a visit."""
    min_passes: int = 5
    """Quiet visits to every row before any may stop."""
    max_passes: int = 14
    """Quiet visits after which a row stops, tight or not."""
    row_s: float = 6.0
    """After its fewest visits a row also stops when its quiet ones add up to this: slow networks would take hours."""
    visit_ms: float = 15.0
    """Time given to a row in each visit; at least one sample is taken."""
    spread: float = 0.015
    """A row stops when its three quietest passes lie within this fraction of each other."""
    cov_limit: float = 0.025
    """Coefficient of variation above which a row is flagged as noisy (as trtexec does)."""
    window_s: float = 0.5
    """Visits are judged together in windows of this length, and longer where the anchor is slow."""
    anchor_limit: float = 0.12
    """A window is not quiet if the anchor takes this fraction longer than in the quietest tenth of the windows."""
    patience_s: float = 90.0
    """Time without a quiet window after which the machine is called busy."""
    tolerant: bool = False
    """Take every window for a quiet one: for a machine that never rests, and for tests. Figures are worth less."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return asdict(self)


class Visit(NamedTuple):
    """One visit to a row. A tuple, so that JSON keeps it small."""

    samples_ms: list[float]
    anchor_ms: float
    """Time of the anchor in the same window; 0 without an anchor."""
    disturbed: bool
    """Whether something else used the machine."""


Visits = list[Visit]
"""Visits to one row, in order."""


@dataclass(frozen=True, slots=True)
class TimingStats:
    """Distribution of one row's samples, in milliseconds. Outliers are kept."""

    quiet_ms: float
    """Quiet-machine time: the lowest of the quiet visits' medians."""
    spread: float
    """How far the third-lowest of them lies above it, as a fraction."""
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


def anchor_floor(visits: Mapping[str, Visits]) -> float:
    """The anchor on the quiet machine: its time in the quietest tenth of the windows, 0 without an anchor.

    Not the fastest window: a processor that has rested runs faster than it can for long.
    """
    windows = {visit.anchor_ms for row in visits.values() for visit in row}
    return float(np.quantile(list(windows), 0.1)) if windows else 0.0


def quiet_medians(visits: Visits, protocol: Protocol, floor: float) -> list[float]:
    """Medians of the visits that were quiet, lowest first, in milliseconds.

    Args:
        visits: to one row.
        protocol: says how slow the anchor may be.
        floor: of `anchor_floor`.
    """
    limit = (1 + protocol.anchor_limit) * floor
    return sorted(
        float(np.median(visit.samples_ms))
        for visit in visits
        if protocol.tolerant or (not visit.disturbed and visit.anchor_ms <= limit)
    )


def summarise(visits: Visits, protocol: Protocol, floor: float) -> TimingStats:
    """Summarise a row's samples; at least one visit must have been quiet."""
    samples = np.concatenate([np.asarray(visit.samples_ms) for visit in visits])
    mean, std = float(samples.mean()), float(samples.std())
    p50, p90, p99 = (float(value) for value in np.percentile(samples, [50, 90, 99]))
    quiet = quiet_medians(visits, protocol, floor)
    return TimingStats(
        quiet_ms=quiet[0],
        spread=quiet[:3][-1] / quiet[0] - 1,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=mean,
        std_ms=std,
        n=len(samples),
        noisy=std > protocol.cov_limit * mean,
    )


def is_tight(visits: Visits, protocol: Protocol, floor: float) -> bool:
    """Whether the three quietest visits agree, or a bound on quiet visits or on their time is reached."""
    quiet = quiet_medians(visits, protocol, floor)
    if len(quiet) < protocol.min_passes:
        return False
    enough = len(quiet) >= protocol.max_passes or sum(quiet) >= 1000 * protocol.row_s
    return enough or quiet[:3][-1] <= (1 + protocol.spread) * quiet[0]


def sample(clock: Clock, protocol: Protocol) -> list[float]:
    """Warm up, then sample until the time of a visit is used up."""
    for _ in range(protocol.warmup):
        if clock() > protocol.visit_ms:
            break
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
    watch: Watch,
    anchor: Clock | None = None,
    visits: dict[str, Visits] | None = None,
    on_window: Callable[[], object] | None = None,
    on_pass: Callable[[dict[str, Visits]], None] | None = None,
) -> dict[str, Visits]:
    """Time all rows, interleaved in random order, until each is tight or the bound is reached.

    Args:
        clocks: the rows.
        protocol: how.
        seed: for the order.
        watch: tells whether something else used the machine.
        anchor: a network that stays the same in the whole measurement; timed in every window.
        visits: samples of an earlier, interrupted run, and of other blocks, to go on from; extended in place.
        on_window: called after every window, to store the samples: a pass over slow rows takes minutes.
        on_pass: called after every pass with all samples so far, to move a progress bar.

    Returns:
        All samples, one list per row and visit.

    Raises:
        MachineBusyError: no window was quiet for the protocol's patience.
    """
    visits = {} if visits is None else visits
    rng = np.random.default_rng(seed)
    quiet_at, busy_windows = time.perf_counter(), 0
    while True:
        floor = anchor_floor(visits)
        open_rows = [name for name in clocks if not is_tight(visits.get(name, []), protocol, floor)]
        if not open_rows:
            return visits
        waiting = [open_rows[position] for position in rng.permutation(len(open_rows))]
        while waiting:
            window_s = max(protocol.window_s, _WINDOW_ANCHORS * floor / 1000)
            rows, anchor_ms, reason = _window(waiting, clocks, protocol, watch, anchor, window_s)
            for name, samples in rows.items():
                visits.setdefault(name, []).append(Visit(samples, anchor_ms, reason is not None))
            waiting = waiting[len(rows) :]
            if on_window is not None:
                on_window()
            floor = anchor_floor(visits)
            if reason is None and anchor_ms > (1 + protocol.anchor_limit) * floor:
                reason = f"a reference network takes {anchor_ms / floor:.1f} times as long as at rest"
            now = time.perf_counter()
            if reason is None:
                quiet_at, busy_windows = now, 0
                continue
            busy_windows += 1
            late = now - quiet_at > protocol.patience_s and busy_windows >= _FEWEST_BUSY_WINDOWS
            if late and not protocol.tolerant:
                raise MachineBusyError(
                    f"the machine has been busy for {now - quiet_at:.0f} s: {reason}. Nothing is written.",
                    hint="stop what else runs there; the same command goes on from here. --allow-busy measures anyway,"
                    " from the start.",
                )
        if on_pass is not None:
            on_pass(visits)


def _window(
    waiting: Sequence[str],
    clocks: Mapping[str, Clock],
    protocol: Protocol,
    watch: Watch,
    anchor: Clock | None,
    window_s: float,
) -> tuple[dict[str, list[float]], float, str | None]:
    """Visit rows for the length of a window; their samples, the anchor's time and what disturbed them."""
    watch.begin()
    deadline = time.perf_counter() + window_s
    rows: dict[str, list[float]] = {}
    for name in waiting:
        rows[name] = sample(clocks[name], protocol)
        if time.perf_counter() > deadline:
            break
    anchor_samples = [0.0] if anchor is None else sample(anchor, protocol)
    # The system's accounts tick too coarsely for a shorter window.
    while not protocol.tolerant and (left_s := deadline - time.perf_counter()) > 0:
        if anchor is None:
            time.sleep(left_s)
        else:
            anchor_samples += sample(anchor, protocol)
    return rows, float(np.median(anchor_samples)), watch.disturbance()


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
