"""Measuring a LUT: every part alone, then designed short networks whole, interleaved and resumable."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from cinert.arch import Arch
from cinert.backends import Backend, Model, Runner
from cinert.backends.base import Precision
from cinert.device_lock import device_of
from cinert.environment import fingerprint
from cinert.onnx import network_model
from cinert.space import Space
from cinert.timing import Clock, Protocol, TimingStats, Visits, is_tight, measure_interleaved, summarise, sustained_fps
from latency.checkpoint import Checkpoint
from latency.design import count_matrix, designed_networks
from latency.lut import Lut, Row
from latency.noise_ranges import ORIGIN, with_noise_ranges
from latency.parts import PartCatalogue, part_model
from latency.prices import learn_prices
from latency.roofline import measure_roofline

_BLOCK_BYTES = 3 * 2**29
"""Runners that are interleaved together hold at most this much memory: 1.5 GiB."""
_OVERLAP_NETWORKS = 5
_OVERLAP_S = 0.6
_OVERLAP_FRAMES = 8


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Where and how to measure."""

    backend: Backend
    device: str
    threads: int
    precision: Precision
    protocol: Protocol
    seed: int = 0

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


Report = Callable[[str, int, int], None]
"""Called with a stage's name, how many rows are done, and how many there are."""


def measure_models(
    models: Mapping[str, Model],
    setup: Setup,
    checkpoint: Checkpoint,
    report: Report,
    *,
    clock: Callable[[Runner], Clock],
    stage: str,
) -> dict[str, TimingStats]:
    """Time models in blocks that fit into memory; inside a block all are interleaved."""
    waiting = [name for name in models if not _is_done(checkpoint.visits.get(name), setup.protocol)]
    done = len(models) - len(waiting)
    report(stage, done, len(models))
    while waiting:
        with contextlib.ExitStack() as stack:
            clocks = _load_block(waiting, models, setup, stack, clock)

            def on_pass(visits: Mapping[str, Visits], clocks: Mapping[str, Clock] = clocks, done: int = done) -> None:
                checkpoint.save()
                finished = sum(_is_done(visits.get(name), setup.protocol) for name in clocks)
                report(stage, done + finished, len(models))

            measure_interleaved(clocks, setup.protocol, seed=setup.seed, visits=checkpoint.visits, on_pass=on_pass)
        waiting = waiting[len(clocks) :]
        done += len(clocks)
        checkpoint.save(force=True)
    return {name: summarise(checkpoint.visits[name], setup.protocol) for name in models}


def _is_done(visits: Visits | None, protocol: Protocol) -> bool:
    return visits is not None and is_tight(visits, protocol)


def _load_block(
    waiting: list[str],
    models: Mapping[str, Model],
    setup: Setup,
    stack: contextlib.ExitStack,
    clock: Callable[[Runner], Clock],
) -> dict[str, Clock]:
    process = psutil.Process()
    limit = process.memory_info().rss + _BLOCK_BYTES
    clocks: dict[str, Clock] = {}
    for name in waiting:
        clocks[name] = clock(stack.enter_context(setup.runner(models[name])))
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


def measure_overlap(archs: list[Arch], setup: Setup) -> float:
    """Median over a few networks of sustained frames/s times latency in seconds."""
    ratios = []
    for arch in archs:
        with setup.runner(network_model(arch)) as runner, runner.fork() as second:
            clocks = [host_to_host(runner), host_to_host(second)]
            seconds = float(np.median([clocks[0]() for _ in range(7)])) / 1000
            frames = max(_OVERLAP_FRAMES, round(_OVERLAP_S / seconds))
            lanes = [lambda _, clock=clock: clock() for clock in clocks]
            ratios.append(sustained_fps(lanes, frames) * seconds)
    return float(np.median(ratios))


def _spread_out(archs: list[Arch]) -> Iterator[Arch]:
    """A few networks from short to long."""
    ordered = sorted(archs, key=lambda arch: len(arch.edges))
    for position in np.linspace(0, len(ordered) - 1, _OVERLAP_NETWORKS).round().astype(int):
        yield ordered[position]


def measure_lut(
    space: Space, setup: Setup, *, networks: int, output: Path, report: Report, restart: bool = False
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
    parts = {key.label: part_model(key) for key in keys}
    alone = measure_models(parts, setup, checkpoint, report, clock=device_only, stage="parts alone")
    whole_models: dict[str, Model] = {}
    for number, arch in enumerate(archs):
        model = network_model(arch)
        if setup.backend.name != "torch":
            report("exporting networks", number + 1, len(archs))
            _ = model.onnx
        whole_models[f"network {arch.digest}"] = model
    whole = measure_models(whole_models, setup, checkpoint, report, clock=host_to_host, stage="networks whole")
    report("throughput", 0, 1)
    overlap = measure_overlap(list(_spread_out(archs)), setup)
    report("throughput", 1, 1)
    roofline = measure_roofline(
        device=device_of(setup.backend, setup.device), threads=setup.threads, precision=setup.precision
    )
    prices = learn_prices(
        keys,
        count_matrix(archs, keys, setup.precision),
        np.array([whole[f"network {arch.digest}"].quiet_ms for arch in archs]),
        np.array([alone[key.label].quiet_ms for key in keys]),
        overlap=overlap,
        networks=[_network_record(arch, whole[f"network {arch.digest}"]) for arch in archs],
    )
    return Lut(
        space=space,
        fingerprint=print_,
        protocol=setup.protocol_record(),
        rows=tuple(Row(key=key, timing=alone[key.label].to_dict()) for key in keys),
        prices=prices,
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
