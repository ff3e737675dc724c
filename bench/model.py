"""Measuring how well a LUT's estimates hold for networks that it has never seen (`bench-model`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cinert.arch import Searched
from cinert.onnx import network_model
from cinert.progress import Advance
from cinert.timing import Clock, Protocol, anchor_floor, quiet_medians
from latency.calibration import Calibration, CalibrationNetwork, fit_calibration
from latency.checkpoint import Checkpoint
from latency.clocks import frame_interval, host_to_host
from latency.estimate import estimate_groups
from latency.lut import Lut
from latency.profile import Setup, anchored, measure_models
from latency.terms import Vector

AGAIN = 30
"""Held-out networks that are measured a second time, later, for the noise floor."""
_LANES = 2


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured; quiet times, host to host."""

    held_out_ms: Vector
    """(networks,)."""
    again_ms: Vector
    """(`AGAIN` or fewer,) the first held-out networks measured again."""
    frame_interval_ms: Vector
    """(networks,) 1000 over the sustained rate with two frames in flight."""
    calibration_ms: Vector
    """(calibration networks,)."""
    calibration_interval_ms: Vector
    order: Vector
    """(networks,) when each held-out network was measured, in blocks: 0 is first, 1 last."""
    anchor_ms: float
    """Quiet time of the anchor in this run."""


def measure_networks(
    held_out: Sequence[Searched],
    calibration: Sequence[Searched],
    lut: Lut,
    setup: Setup,
    checkpoint: Checkpoint,
    report: Advance,
) -> Measured:
    """Measure latency and throughput of all networks, and of some a second time.

    Args:
        held_out: networks to judge the estimate by.
        calibration: networks to fit the correction to.
        lut: whose space the anchor is of.
        setup: where and how.
        checkpoint: samples so far; goes on from them.
        report: progress.

    Raises:
        MachineBusyError: the machine does not become quiet.
    """
    archs = [*held_out, *calibration]
    models = {arch.digest: network_model(arch) for arch in archs}
    if setup.backend.name != "torch":
        for number, model in enumerate(models.values()):
            report("exporting networks", number + 1, len(models))
            _ = model.onnx
    # Shuffled, so that held-out and calibration networks share every busy spell.
    shuffled = [archs[position].digest for position in np.random.default_rng(setup.seed).permutation(len(archs))]
    # A run of overlapped frames averages already, so few runs are enough.
    protocol = replace(setup.protocol, warmup=0, min_passes=2, max_passes=4, visit_ms=0.0, spread=0.05)
    overlapped = replace(setup, lanes=_LANES, protocol=protocol)
    again = [arch.digest for arch in held_out[:AGAIN]]
    with anchored(setup, lut.space) as anchor:

        def run(prefix: str, digests: Sequence[str], stage: str, how: Setup, clock: Callable[..., Clock]) -> None:
            rows = {f"{prefix} {digest}": models[digest] for digest in digests}
            measure_models(rows, how, checkpoint, report, clock=clock, stage=stage, anchor=anchor)

        run("latency", shuffled, "latency", setup, setup.timed(host_to_host))
        run("again", again, "latency again", setup, setup.timed(host_to_host))
        run("interval", shuffled, "throughput", overlapped, frame_interval)
    floor = anchor_floor(checkpoint.visits)

    def quiet(prefix: str, digests: Sequence[str], protocol: Protocol) -> Vector:
        rows = [checkpoint.visits[f"{prefix} {digest}"] for digest in digests]
        return np.array([quiet_medians(row, protocol, floor)[0] for row in rows])

    first, other = [arch.digest for arch in held_out], [arch.digest for arch in calibration]
    return Measured(
        held_out_ms=quiet("latency", first, setup.protocol),
        again_ms=quiet("again", again, setup.protocol),
        frame_interval_ms=quiet("interval", first, overlapped.protocol),
        calibration_ms=quiet("latency", other, setup.protocol),
        calibration_interval_ms=quiet("interval", other, overlapped.protocol),
        order=np.array([shuffled.index(digest) for digest in first]) / max(len(shuffled) - 1, 1),
        anchor_ms=floor,
    )


def calibrate(
    lut: Lut, networks: Sequence[tuple[Searched, bool]], measured: Measured, *, busy: bool = False
) -> Calibration:
    """Fit the correction to the networks of `calibration_networks`; `busy` if they were measured with --allow-busy."""
    return fit_calibration(
        [
            CalibrationNetwork(
                name=arch.digest,
                source="bench-model",
                group_ms=estimate_groups(arch, lut),
                measured_ms=float(ms),
                chosen=chosen,
                fps=1000 / float(interval),
            )
            for (arch, chosen), ms, interval in zip(
                networks, measured.calibration_ms, measured.calibration_interval_ms, strict=True
            )
        ],
        lut=lut.uncalibrated_id,
        busy=busy,
    )
