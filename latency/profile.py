"""Measuring a LUT: every part alone, then designed short networks whole, interleaved and resumable."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import psutil

from cinert.arch import Arch, NodeEdge
from cinert.backends import Backend, Model, Runner
from cinert.backends.base import Precision
from cinert.device_lock import device_of
from cinert.environment import fingerprint
from cinert.onnx import network_model
from cinert.paths import CELL_KINDS, Path
from cinert.quiet import MachineWatch, Watch
from cinert.space import Space
from cinert.timing import (
    Clock,
    Protocol,
    TimingStats,
    Visits,
    anchor_floor,
    measure_interleaved,
    sustained_fps,
)
from latency.checkpoint import Checkpoint
from latency.design import designed_networks
from latency.learn import learn_prices
from latency.load_factor import measure_load
from latency.lut import Lut, Row
from latency.noise_ranges import ORIGIN, with_noise_ranges
from latency.parts import PartCatalogue, part_model
from latency.roofline import measure_roofline

_BLOCK_BYTES = 3 * 2**30
"""Runners that are interleaved together hold at most about this much memory: 3 GiB."""
_OVERLAP_NETWORKS = 5
_INTERVAL_S = 0.25
_INTERVAL_ROUNDS = 2


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Where and how to measure."""

    backend: Backend
    device: str
    threads: int
    precision: Precision
    protocol: Protocol
    seed: int = 0
    lanes: int = 1
    """Frames in flight."""

    def runner(self, model: Model) -> Runner:
        """Compile and load a model, filled with noise."""
        if self.precision == "int8":
            model = with_noise_ranges(model)
        runner = self.backend.runner(model, precision=self.precision, device=self.device, threads=self.threads)
        runner.fill()
        return runner

    def protocol_record(self) -> dict[str, Any]:
        """The protocol for lut.json; int8 says what its ranges are from."""
        return {**self.protocol.to_dict(), **({"int8_ranges": ORIGIN} if self.precision == "int8" else {})}

    def fingerprint(self) -> dict[str, Any]:
        """What binds the measurement."""
        return fingerprint(self.backend, device=self.device, threads=self.threads, precision=self.precision)

    def watch(self) -> Watch:
        """What tells a busy machine from a quiet one."""
        return MachineWatch(
            threads=self.threads * self.lanes, gpu=self.backend.fingerprint(self.device)["device"].get("uuid")
        )


Report = Callable[[str, int, int], None]
"""Called with a stage's name, how many rows are done, and how many there are."""


def measure_models(
    models: Mapping[str, Model],
    setup: Setup,
    checkpoint: Checkpoint,
    report: Report,
    *,
    clock: Callable[..., Clock],
    stage: str,
    anchor: Clock,
) -> None:
    """Time models in blocks that fit into memory; inside a block all are interleaved. The samples are the checkpoint's.

    Args:
        models: by the name of their row.
        setup: where and how.
        checkpoint: samples so far; extended and saved.
        report: progress.
        clock: makes the clock of a model's runners, as many as the setup has lanes.
        stage: for the report.
        anchor: the network that is timed in every window of every block.

    Raises:
        MachineBusyError: the machine does not become quiet; what was measured is in the checkpoint.
    """
    protocol, visits, watch = setup.protocol, checkpoint.visits, setup.watch()

    def on_pass(_: Mapping[str, Visits]) -> None:
        report(stage, len(models) - len(checkpoint.waiting(models, protocol)), len(models))

    waiting = checkpoint.waiting(models, protocol)
    report(stage, len(models) - len(waiting), len(models))
    try:
        while waiting:
            with contextlib.ExitStack() as stack:
                clocks = _load_block(waiting, models, setup, stack, clock, report)
                on_pass(visits)
                measure_interleaved(
                    clocks,
                    protocol,
                    seed=setup.seed,
                    watch=watch,
                    anchor=anchor,
                    visits=visits,
                    on_window=checkpoint.save,
                    on_pass=on_pass,
                )
            # What later blocks say of the anchor can show that an earlier one was slow all the time.
            waiting = checkpoint.waiting(models, protocol)
    finally:
        checkpoint.save(force=True)


def anchor_network(space: Space) -> Arch:
    """A network of two layers that is the same for every measurement of a space, with an op of each limit."""
    nodes = [(NodeEdge(0, op),) for op in space.ops if op not in {"zero", "identity"}]
    cell = tuple((nodes * space.nodes)[: space.nodes])
    path: Path = ("ct", "ep") if space.scales > 1 else ("ns", "ns")
    return Arch(space=replace(space, layers=2), cells=dict.fromkeys(CELL_KINDS, cell), paths=(path,))


@contextlib.contextmanager
def anchored(setup: Setup, space: Space) -> Iterator[Clock]:
    """Load the anchor."""
    with setup.runner(network_model(anchor_network(space))) as runner:
        yield host_to_host(runner)


def _load_block(
    waiting: list[str],
    models: Mapping[str, Model],
    setup: Setup,
    stack: contextlib.ExitStack,
    clock: Callable[..., Clock],
    report: Report,
) -> dict[str, Clock]:
    process = psutil.Process()
    limit = process.memory_info().rss + _BLOCK_BYTES
    clocks: dict[str, Clock] = {}
    for name in waiting:
        runner = stack.enter_context(setup.runner(models[name]))
        clocks[name] = clock(runner, *(stack.enter_context(runner.fork()) for _ in range(setup.lanes - 1)))
        report("loading", len(clocks), len(waiting))
        if process.memory_info().rss > limit:
            break
    return clocks


def host_to_host(runner: Runner) -> Clock:
    """Clock of one frame from host memory to host memory, copies included."""
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(shape, dtype=np.float32) for shape in runner.input_shapes]

    def run() -> float:
        start = time.perf_counter_ns()
        runner.run(*inputs)
        return (time.perf_counter_ns() - start) / 1e6

    return run


def device_only(runner: Runner) -> Clock:
    """Clock of the device alone."""
    return runner.device_ms


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


def measure_overlap(archs: list[Arch], setup: Setup) -> float:
    """Median over a few networks of sustained frames/s times latency in seconds, the best of a few runs each."""
    ratios = []
    for arch in archs:
        with setup.runner(network_model(arch)) as runner, runner.fork() as second:
            alone, overlapped = host_to_host(runner), frame_interval(runner, second)
            ratios.append(min(alone() for _ in range(7)) / min(overlapped() for _ in range(3)))
    return float(np.median(ratios))


def _spread_out(archs: list[Arch]) -> Iterator[Arch]:
    """A few networks from short to long."""
    ordered = sorted(archs, key=lambda arch: len(arch.edges))
    for position in np.linspace(0, len(ordered) - 1, _OVERLAP_NETWORKS).round().astype(int):
        yield ordered[position]


def measure_lut(
    space: Space, setup: Setup, *, networks: int, output: FilePath, report: Report, restart: bool = False
) -> Lut:
    """Measure every part of a space alone and in context.

    Args:
        space: what can be deployed.
        setup: where and how.
        networks: how many short networks to time whole.
        output: the LUT's path; the checkpoint lies beside it, for the caller to remove when the LUT is written.
        report: progress.
        restart: throw away the samples of an interrupted run.

    Raises:
        BadInputError: an interrupted run lies there that cannot be continued.
    """
    keys = PartCatalogue(space, setup.precision).all()
    archs = designed_networks(space, networks, precision=setup.precision)
    print_ = setup.fingerprint()
    header = {
        "space": f"{space.name} {space.digest}",
        "fingerprint": print_,
        "protocol": setup.protocol_record(),
        "networks": [arch.digest for arch in archs],
        "seed": setup.seed,
    }
    checkpoint = Checkpoint(output, header, restart=restart)
    whole_models = {f"network {arch.digest}": network_model(arch) for arch in archs}
    if setup.backend.name != "torch":
        for number, model in enumerate(whole_models.values()):
            report("exporting networks", number + 1, len(archs))
            _ = model.onnx
    parts = {key.label: part_model(key) for key in keys}
    with anchored(setup, space) as anchor:
        # The second stage can show that the anchor was slow all the time in the first.
        while checkpoint.waiting((*parts, *whole_models), setup.protocol):
            measure_models(parts, setup, checkpoint, report, clock=device_only, stage="parts alone", anchor=anchor)
            measure_models(
                whole_models, setup, checkpoint, report, clock=host_to_host, stage="networks whole", anchor=anchor
            )
    timing = checkpoint.summaries(setup.protocol)
    report("throughput", 0, 1)
    overlap = measure_overlap(list(_spread_out(archs)), setup)
    report("throughput", 1, 1)
    roofline = measure_roofline(
        device=device_of(setup.backend, setup.device), threads=setup.threads, precision=setup.precision
    )
    prices = learn_prices(
        space,
        archs,
        keys,
        network_ms=np.array([timing[name].quiet_ms for name in whole_models]),
        isolated_ms=np.array([timing[key.label].quiet_ms for key in keys]),
        precision=setup.precision,
        overlap=overlap,
        networks=[_network_record(arch, timing[name]) for arch, name in zip(archs, whole_models, strict=True)],
    )
    return Lut(
        space=space,
        fingerprint=print_,
        protocol={**setup.protocol_record(), "anchor_ms": anchor_floor(checkpoint.visits)},
        rows=tuple(Row(key=key, timing=timing[key.label].to_dict()) for key in keys),
        prices=prices,
        load=measure_load(
            {name: checkpoint.visits[name] for name in whole_models},
            {name: timing[name].quiet_ms for name in whole_models},
        ),
        roofline=roofline,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        source=str(output),
    )


def _network_record(arch: Arch, timing: TimingStats) -> dict[str, Any]:
    return {
        "digest": arch.digest,
        "seed": arch.provenance["seed"],
        "layers": arch.space.layers,
        "paths": len(arch.paths),
        "p50_ms": timing.p50_ms,
        "p99_ms": timing.p99_ms,
    }
