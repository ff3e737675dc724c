"""Measuring a LUT: every part alone, then designed short networks whole, interleaved and resumable."""

from __future__ import annotations

import contextlib
import datetime
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import psutil

from cinert.arch import Searched
from cinert.backends import Backend, Model, Runner
from cinert.backends.base import Precision
from cinert.device_lock import device_of
from cinert.environment import fingerprint
from cinert.errors import BadInputError
from cinert.onnx import network_model
from cinert.progress import Advance
from cinert.quiet import MachineWatch, Watch
from cinert.spaces import AnySpace
from cinert.timing import (
    Clock,
    Protocol,
    Visits,
    anchor_floor,
    measure_interleaved,
)
from latency.checkpoint import Checkpoint
from latency.clocks import ClockName, device_only, frame_interval, host_to_host
from latency.family import (
    anchor_network,
    key_model,
    keys_to_time,
    learned,
    network_record,
    networks_to_time,
    short_to_long,
)
from latency.load_factor import measure_load
from latency.lut import Lut, Row
from latency.noise_ranges import ORIGIN, with_noise_ranges
from latency.roofline import measure_roofline

_BLOCK_BYTES = 3 * 2**30
"""Runners that are interleaved together hold at most about this much memory: 3 GiB."""
_OVERLAP_NETWORKS = 5


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
    clock: ClockName = "wall"
    """`cpu` counts this process's processor time: what preempts it does not count. For one thread on a CPU."""

    def __post_init__(self) -> None:
        """Check that the clock tells the latency.

        Raises:
            BadInputError: processor time of several threads, or of a GPU's host.
        """
        if self.clock == "cpu" and (self.threads != 1 or device_of(self.backend, self.device) != "cpu"):
            raise BadInputError(
                f"--clock cpu is for one thread on a CPU, not for {self.threads} on"
                f" {device_of(self.backend, self.device)}: their processor times do not add up to a latency.",
                hint="give --threads 1 and a back end that runs on the CPU, or leave --clock out.",
            )

    def timed(self, clock: Callable[..., Clock]) -> Callable[..., Clock]:
        """`host_to_host` or `device_only` by this setup's clock."""
        return clock if self.clock == "wall" else functools.partial(clock, now=time.process_time_ns)

    def runner(self, model: Model) -> Runner:
        """Compile and load a model, filled with noise."""
        if self.precision == "int8":
            model = with_noise_ranges(model)
        runner = self.backend.runner(model, precision=self.precision, device=self.device, threads=self.threads)
        runner.fill()
        return runner

    def protocol_record(self) -> dict[str, Any]:
        """The protocol for lut.json; int8 says what its ranges are from, another clock than the wall's its name."""
        return {
            **self.protocol.to_dict(),
            **({"int8_ranges": ORIGIN} if self.precision == "int8" else {}),
            **({} if self.clock == "wall" else {"clock": self.clock}),
        }

    def fingerprint(self) -> dict[str, Any]:
        """What binds the measurement."""
        return fingerprint(self.backend, device=self.device, threads=self.threads, precision=self.precision)

    def watch(self) -> Watch:
        """What tells a busy machine from a quiet one."""
        return MachineWatch(
            threads=self.threads * self.lanes, gpu=self.backend.fingerprint(self.device)["device"].get("uuid")
        )


def measure_models(
    models: Mapping[str, Model],
    setup: Setup,
    checkpoint: Checkpoint,
    report: Advance,
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


@contextlib.contextmanager
def anchored(setup: Setup, space: AnySpace) -> Iterator[Clock]:
    """Load the anchor."""
    with setup.runner(network_model(anchor_network(space))) as runner:
        yield setup.timed(host_to_host)(runner)


def _load_block(
    waiting: list[str],
    models: Mapping[str, Model],
    setup: Setup,
    stack: contextlib.ExitStack,
    clock: Callable[..., Clock],
    report: Advance,
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


def measure_overlap(archs: Iterable[Searched], setup: Setup) -> float:
    """Median over a few networks of sustained frames/s times latency in seconds, the best of a few runs each."""
    ratios = []
    for arch in archs:
        with setup.runner(network_model(arch)) as runner, runner.fork() as second:
            alone, overlapped = host_to_host(runner), frame_interval(runner, second)
            ratios.append(min(alone() for _ in range(7)) / min(overlapped() for _ in range(3)))
    return float(np.median(ratios))


def measure_lut(
    space: AnySpace, setup: Setup, *, networks: int, output: FilePath, report: Advance, restart: bool = False
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
    keys = keys_to_time(space, setup.precision)
    archs = networks_to_time(space, networks, precision=setup.precision)
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
    parts = {key.label: key_model(space, key) for key in keys}
    with anchored(setup, space) as anchor:
        # The second stage can show that the anchor was slow all the time in the first.
        while checkpoint.waiting((*parts, *whole_models), setup.protocol):
            measure_models(
                parts, setup, checkpoint, report, clock=setup.timed(device_only), stage="parts alone", anchor=anchor
            )
            measure_models(
                whole_models,
                setup,
                checkpoint,
                report,
                clock=setup.timed(host_to_host),
                stage="networks whole",
                anchor=anchor,
            )
    timing = checkpoint.summaries(setup.protocol)
    report("throughput", 0, 1)
    overlap = measure_overlap(short_to_long(archs, setup.precision, _OVERLAP_NETWORKS), setup)
    report("throughput", 1, 1)
    roofline = measure_roofline(
        device=device_of(setup.backend, setup.device), threads=setup.threads, precision=setup.precision
    )
    prices = learned(
        space,
        archs,
        keys,
        network_ms=np.array([timing[name].quiet_ms for name in whole_models]),
        isolated_ms=np.array([timing[key.label].quiet_ms for key in keys]),
        precision=setup.precision,
        overlap=overlap,
        networks=[
            {**network_record(arch), "p50_ms": timing[name].p50_ms, "p99_ms": timing[name].p99_ms}
            for arch, name in zip(archs, whole_models, strict=True)
        ],
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
