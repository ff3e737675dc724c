"""Command bench-engine. Heavy imports wait until the arguments are known to be good."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from bench.certificate import (
    certificate_path,
    describe_certificate,
    read_certificate,
    settle_certificate,
)
from bench.certificate import check_certificate as hold_certificate
from bench.cli_common import device_used, fingerprint_here
from bench.co_load import check_command
from bench.stream import MODES, P99_FRAMES, Mode, OnFrame
from cinert.bundle import Bundle
from cinert.cli import (
    FiniteRange,
    command,
    console,
    data_option,
    engine_options,
    errors,
    print_verdict,
    progress_bar,
    reserve,
    say_notes,
    wait_option,
)
from cinert.environment import default_threads
from cinert.errors import BadInputError, VerdictError
from cinert.files import check_output_file, sha256_of_file, write_json
from cinert.trust.opening import open_trusted, trust_option

if TYPE_CHECKING:
    from bench.engine_run import Through

_COLD_FRAMES = 10
_STREAM_FRAMES = 500


@command(
    "bench-engine",
    examples="""
bench-engine runs/demo/bundle --lut runs/demo/lut.json -o runs/demo/verify.json
bench-engine bundle --mode paced --fps 22 --plot verify.png
bench-engine bundle --mode cold --idle-s 5
bench-engine bundle --cine patient101_4d.nii.gz --budget-ms 50
bench-engine bundle --mode paced --fps 22 --frames 13200 --through mrd   # ten minutes, as a scanner would send them
bench-engine bundle --mode paced --co-load "python reconstruct.py"       # p99 alone, and beside another program
bench-engine bundle --check-certificate              # does it hold for this bundle on this device?
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
    "--budget-ms", default=50.0, type=FiniteRange(min=0, min_open=True), help="Frame in to mask out, at most."
)
@click.option("--mode", default="burst", type=click.Choice(MODES), help="Back to back, at --fps, or after idling.")
@click.option(
    "--fps",
    default=22.0,
    type=FiniteRange(min=0, min_open=True),
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
    type=FiniteRange(min=0),
    help="Idle time before each frame of --mode cold, in seconds.",
)
@click.option("--warmup", default=20, type=click.IntRange(min=0), help="Frames before the first that counts.")
@click.option(
    "--cine",
    type=click.Path(path_type=Path),
    show_default="noise, 256 x 256 x 10",
    help="4D NIfTI whose frames are used.",
)
@click.option(
    "--through",
    default="pipeline",
    type=click.Choice(("pipeline", "mrd")),
    help="mrd: all frames go through serve-mrd, in a process of its own; few of them are measured in this process.",
)
@click.option(
    "--co-load",
    metavar="CMD",
    help="Measure once more while this program runs; it is started without a shell, and ended with its children.",
)
@click.option(
    "--certificate/--no-certificate",
    default=True,
    help="Write BUNDLE.certificate.json if --mode paced supports that p99 is within the budget here.",
)
@click.option(
    "--check-certificate",
    is_flag=True,
    help="Measure nothing: hold the certificate beside the bundle against the bundle and this device.",
)
@data_option()
@trust_option()
@engine_options()
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
    through: Through,
    co_load: str | None,
    certificate: bool,
    check_certificate: bool,
    data: Path | None,
    trust: Path | None,
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

    verify.json is written in any case; the exit code is 1 when the budget is missed, alone or served or beside another
    program, the engine's quiet time is outside the estimate's interval, or parity or audit fail. A certificate takes
    --mode paced and 459 frames or more, none of them late; one line says why there is none. An estimate whose interval
    is wider than 25 % either way is not judged. Beside every verdict stands what other programs used of the CPU.
    """
    if check_certificate:
        _check_certificate(folder, trust, device=device, threads=threads)
        return
    if through == "mrd" and mode != "paced":
        raise BadInputError(f"--through mrd sends frames at --fps, not in --mode {mode}.", hint="add --mode paced.")
    if co_load is not None:
        check_command(co_load)
    for path in (output, plot):
        if path is not None:
            check_output_file(path)
    bundle = open_trusted(folder, trust)
    if certificate and mode == "paced":
        _check_certificate_path(bundle, output)
    reserve(device_used(bundle, device), "measure", wait=wait)
    threads = threads or default_threads()
    here = fingerprint_here(bundle, device, threads)

    from bench.engine_run import Order, measure_bundle
    from bench.frames import cine_frames, synthetic_frames
    from bench.gates import parity_inputs
    from bench.measure import Plan
    from bench.plots import save_latency_plot
    from bench.reference import find_reference
    from bench.served_run import proof_lines
    from bench.tables import gate_lines, verify_table
    from bench.verdicts import VERDICT, verdict_lines

    reference = find_reference(bundle, lut_path, here, allow_foreign=foreign_lut)
    source = synthetic_frames() if cine is None else cine_frames(cine)
    say_notes(source.notes)
    order = Order(
        plan=Plan(
            mode=mode,
            frames=frames or (_COLD_FRAMES if mode == "cold" else _STREAM_FRAMES),
            budget_ms=budget_ms,
            fps=fps,
            idle_s=idle_s,
            warmup=warmup,
            threads=threads,
        ),
        through=through,
        trust=trust,
        co_load=co_load,
        source=source,
        reference=reference,
        parity_inputs=parity_inputs(bundle, data),
        device=device,
        threads=threads,
        fingerprint=here,
    )
    with progress_bar() as bar:

        def progress(stage: str, total: int) -> OnFrame:
            task = bar.add_task(stage, total=total)
            return lambda: bar.advance(task)

        document = measure_bundle(bundle, order, progress)
    write_json(output, document)
    if plot is not None:
        frames_ms, title = document["frame_to_mask"]["latency_ms"], f"{mode}: {order.source.name}"
        save_latency_plot(plot, frames_ms, budget_ms=budget_ms, title=title)
    console.print(verify_table(document))
    if reference is not None and reference.differences:
        errors.print(f"The estimate is of another device: {'; '.join(reference.differences)}.", markup=False)
    for line in (*verdict_lines(document), *proof_lines(document, VERDICT), *gate_lines(document)):
        print_verdict(line)
    console.print(f"wrote {output}", markup=False)
    if certificate:
        created = datetime.now(UTC).isoformat(timespec="seconds")
        line = settle_certificate(bundle, document, evidence=sha256_of_file(output), created=created)
        print_verdict(escape(line))
    if document["failures"]:
        raise VerdictError("; ".join(document["failures"]) + ".")


def _check_certificate_path(bundle: Bundle, output: Path) -> None:
    path = certificate_path(bundle.folder)
    try:
        check_output_file(path)
    except BadInputError as error:
        raise BadInputError(error.message, hint="measure without it: --no-certificate.") from error
    if output.resolve() == path:
        raise BadInputError(f"-o {output} is where the certificate goes.", hint="name another file.")


def _check_certificate(folder: Path, trust: Path | None, *, device: str, threads: int | None) -> None:
    bundle = open_trusted(folder, trust)
    path = certificate_path(bundle.folder)
    if threads is None and path.is_file():
        threads = int(read_certificate(path)["fingerprint"]["threads"])
    here = fingerprint_here(bundle, device, threads or default_threads())
    print_verdict(escape(f"{path} holds: {describe_certificate(hold_certificate(bundle, here))}"))
