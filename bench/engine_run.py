"""All that bench-engine measures of a bundle, in order, and the document that says it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bedside.pipeline import FramePipeline
from bench.cli_common import describe
from bench.co_load import check_command, co_load
from bench.frames import FrameSource
from bench.gates import ParityInputs, check_audit, check_parity, parity_at_export
from bench.machine import lut_anchor
from bench.measure import ENGINE_FRAMES, Plan, Progress, measure, measure_beside
from bench.reference import Reference
from bench.served_run import co_load_part, measure_served, served_part
from bench.stream import WallClock
from bench.verify import judge, machine_state, verify_document
from cinert.bundle import Bundle

Through = Literal["pipeline", "mrd"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What to measure, where, and what to hold it against."""

    plan: Plan
    through: Through
    """`mrd`: all frames go through serve-mrd, and those in this process are as many as p99 takes."""
    trust: Path | None
    """Public key that serve-mrd demands a signature of."""
    co_load: str | None
    """Program to run beside a second measurement, as it was typed."""
    source: FrameSource
    reference: Reference | None
    parity_inputs: ParityInputs | None
    """None where the manifest's word on parity stands."""
    device: str
    threads: int
    fingerprint: Mapping[str, Any]


def measure_bundle(bundle: Bundle, order: Order, progress: Progress) -> dict[str, Any]:
    """Measure a bundle and judge it.

    Args:
        bundle: opened.
        order: what to measure.
        progress: makes a bar for each stage.

    Returns:
        verify.json (docs/schemas/verify.schema.json).

    Raises:
        BackendUnavailableError: the engine does not run here.
        BadInputError: the program beside it ended too early; or the server did not start, or broke off.
    """
    reference, clock, device, threads = order.reference, WallClock(), order.device, order.threads
    plan = order.plan
    if order.through == "mrd":
        plan = replace(plan, frames=min(plan.frames, ENGINE_FRAMES))
    lut = None if reference is None else reference.lut_with_anchor
    beside = served = None
    with contextlib.ExitStack() as stack:
        pipeline = stack.enter_context(FramePipeline.from_bundle(bundle, device=device, threads=threads))
        anchor = None if lut is None else stack.enter_context(lut_anchor(lut, device=device))
        measurement = measure(pipeline, order.source, plan, clock=clock, progress=progress, anchor=anchor)
        if order.co_load is not None:
            with co_load(check_command(order.co_load)) as load:
                streams = measure_beside(pipeline, order.source, plan, clock=clock, progress=progress)
                load.check()
                beside = co_load_part(order.co_load, load, *streams, plan)
        # After what is timed in this process, which PyTorch's threads would disturb.
        if order.parity_inputs is None:
            parity = parity_at_export(bundle)
        else:
            done = progress("parity with PyTorch", 1)
            parity = check_parity(bundle, pipeline, order.parity_inputs)
            done()
        audit = check_audit(bundle, pipeline)
    if order.through == "mrd":
        frames = measure_served(
            bundle.folder,
            order.source,
            order.plan,
            trust=order.trust,
            device=device,
            threads=threads,
            progress=progress,
        )
        served = served_part(frames, order.plan)
    estimate = None if reference is None else reference.values
    machine = machine_state(measurement, lut)
    return verify_document(
        measurement,
        plan,
        judge(measurement, plan, estimate, machine),
        parity=parity,
        audit=audit,
        estimate=estimate,
        lut=None if reference is None else reference.to_dict(),
        machine=machine,
        served=served,
        co_load=beside,
        fingerprint=order.fingerprint,
        # The architecture too, so that `latency calibrate` needs nothing but this file.
        bundle={**describe(bundle), "arch": bundle.arch.to_dict()},
        source=order.source.name,
    )
