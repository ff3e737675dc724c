"""Command bench-engine. Heavy imports wait until the arguments are known to be good."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from bench.cli_common import describe, device_options, device_used, fingerprint_here
from bench.stream import MODES, P99_FRAMES, Mode, OnFrame, WallClock
from cinert.bundle import open_bundle
from cinert.cli import command, console, data_option, errors, progress_bar, reserve, wait_option
from cinert.environment import default_threads
from cinert.errors import VerdictError
from cinert.files import check_output_file, write_json

_COLD_FRAMES = 10
_STREAM_FRAMES = 500


@command(
    "bench-engine",
    examples="""
bench-engine runs/demo/bundle --lut runs/demo/lut.json -o runs/demo/verify.json
bench-engine bundle --mode paced --fps 22 --plot verify.png
bench-engine bundle --mode cold --idle-s 5
bench-engine bundle --cine patient101_4d.nii.gz --budget-ms 50
bench-engine bundle --data acdc                      # parity with PyTorch here, e.g. of an engine built elsewhere
""",
)
@click.argument("folder", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--lut",
    "lut_path",
    type=click.Path(path_type=Path),
    show_default="the estimate in the bundle",
    help="LUT of this device, for the estimate.",
)
@click.option("--foreign-lut", is_flag=True, help="Take an estimate for another device too.")
@click.option(
    "--budget-ms", default=50.0, type=click.FloatRange(min=0, min_open=True), help="Frame in to mask out, at most."
)
@click.option("--mode", default="burst", type=click.Choice(MODES), help="Back to back, at --fps, or after idling.")
@click.option(
    "--fps",
    default=22.0,
    type=click.FloatRange(min=0, min_open=True),
    help="Frames per second that the scanner sends; the pace of --mode paced.",
)
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    show_default=f"{_STREAM_FRAMES}, or {_COLD_FRAMES} cold",
    help=f"Frames to time; a p99 claim takes {P99_FRAMES}.",
)
@click.option(
    "--idle-s",
    default=2.0,
    type=click.FloatRange(min=0),
    help="Idle time before each frame of --mode cold, in seconds.",
)
@click.option("--warmup", default=20, type=click.IntRange(min=0), help="Frames before the first that counts.")
@click.option(
    "--cine",
    type=click.Path(path_type=Path),
    show_default="noise, 256 x 256 x 10",
    help="4D NIfTI whose frames are used.",
)
@data_option()
@device_options
@click.option("--plot", type=click.Path(path_type=Path), help="Picture of every frame's latency, e.g. verify.png.")
@click.option("-o", "--output", default="verify.json", type=click.Path(path_type=Path), help="Where to write.")
@wait_option()
def bench_engine(
    *,
    folder: Path,
    lut_path: Path | None,
    foreign_lut: bool,
    budget_ms: float,
    mode: Mode,
    fps: float,
    frames: int | None,
    idle_s: float,
    warmup: int,
    cine: Path | None,
    data: Path | None,
    device: str,
    threads: int | None,
    plot: Path | None,
    output: Path,
    wait: bool,
) -> None:
    """Measure a bundle's latency and throughput here, and hold them against the estimate and the budget.

    The engine is timed host to host, which is what the estimate speaks of; frame to mask, with preprocessing and the
    inverse mapping, is held against the budget. An engine that could not run where it was exported is held against
    PyTorch here, and its layers are audited, by the gates of export-engine; so is any engine with --data.

    verify.json is written in any case; the exit code is 1 when the budget is missed, the measured p50 is outside the
    estimate's interval, or parity or audit fail.
    """
    for path in (output, plot):
        if path is not None:
            check_output_file(path)
    bundle = open_bundle(folder)
    reserve(device_used(bundle, device), "measure", wait=wait)
    threads = threads or default_threads()
    here = fingerprint_here(bundle, device, threads)

    from bedside.pipeline import FramePipeline
    from bench.frames import cine_frames, synthetic_frames
    from bench.gates import check_audit, check_parity, parity_at_export, parity_inputs
    from bench.machine import lut_anchor
    from bench.plots import save_latency_plot
    from bench.reference import find_reference
    from bench.tables import gate_lines, verdict_lines, verify_table
    from bench.verify import Plan, judge, machine_state, measure, verify_document

    reference = find_reference(bundle, lut_path, here, allow_foreign=foreign_lut)
    source = synthetic_frames() if cine is None else cine_frames(cine)
    inputs = parity_inputs(bundle, data)
    plan = Plan(
        mode=mode,
        frames=frames or (_COLD_FRAMES if mode == "cold" else _STREAM_FRAMES),
        budget_ms=budget_ms,
        fps=fps,
        idle_s=idle_s,
        warmup=warmup,
    )
    with contextlib.ExitStack() as stack:
        pipeline = stack.enter_context(FramePipeline.from_bundle(bundle, device=device, threads=threads))
        lut = None if reference is None else reference.lut_with_anchor
        anchor = None if lut is None else stack.enter_context(lut_anchor(lut, device=device))
        bar = stack.enter_context(progress_bar())

        def progress(stage: str, total: int) -> OnFrame:
            task = bar.add_task(stage, total=total)
            return lambda: bar.advance(task)

        measurement = measure(pipeline, source, plan, clock=WallClock(), progress=progress, anchor=anchor)
        # After the measurement, which PyTorch's threads would disturb.
        if inputs is not None:
            bar.add_task("parity with PyTorch", total=None)
        parity = parity_at_export(bundle) if inputs is None else check_parity(bundle, pipeline, inputs)
        audit = check_audit(bundle, pipeline)
    estimate = None if reference is None else reference.values
    machine = machine_state(measurement, lut)
    verdict = judge(measurement, plan, estimate, machine)
    document = verify_document(
        measurement,
        plan,
        verdict,
        parity=parity,
        audit=audit,
        estimate=estimate,
        lut=None if reference is None else reference.to_dict(),
        machine=machine,
        fingerprint=here,
        # The architecture too, so that `latency calibrate` needs nothing but this file.
        bundle={**describe(bundle), "arch": bundle.arch.to_dict()},
        source=source.name,
    )
    write_json(output, document)
    if plot is not None:
        save_latency_plot(
            plot, measurement.frame_to_mask.latency_ms, budget_ms=budget_ms, title=f"{mode}: {source.name}"
        )
    console.print(verify_table(document))
    if reference is not None and reference.differences:
        errors.print(f"The estimate is of another device: {'; '.join(reference.differences)}.", markup=False)
    for line in (*verdict_lines(document), *gate_lines(document)):
        console.print(line)
    console.print(f"wrote {output}", markup=False)
    if document["failures"]:
        raise VerdictError("; ".join(document["failures"]) + ".")
