"""Command bench-model: how well a LUT's estimates hold for networks that it has never seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from bench.machine import Machine
from bench.model import calibrate as fit_correction
from bench.model import measure_networks
from bench.model_document import Run, model_document, model_title, save_model_plot
from bench.model_networks import calibration_networks, held_out_networks
from cinert.backends import resolve_backend
from cinert.cli import (
    FiniteRange,
    allow_busy_option,
    claim_file,
    command,
    console,
    errors,
    print_verdict,
    reserve,
    stage_bars,
    wait_option,
)
from cinert.device_lock import device_of
from cinert.environment import binding_differences
from cinert.errors import BadInputError
from cinert.files import check_output_file, write_json
from cinert.quiet import busy_sentence
from cinert.timing import Protocol
from latency.calibration import GROUP_NAMES, SMALLEST_CALIBRATION, group_of
from latency.checkpoint import Checkpoint, checkpoint_path
from latency.lut import load_lut, save_lut
from latency.profile import Setup

_ROWS = {
    "calibrated": "calibrated",
    "uncalibrated": "prices in context",
    "raw_sum": "sum of parts alone",
    "flops": "FLOPs alone",
    "throughput": "throughput",
}


@command(
    "bench-model",
    examples="""
bench-model --lut lut.json --nets 100 --calibrate 30 -o model.json
bench-model --lut lut.json --nets 30 --seed 7 --budget-ms 20      # quick, without a calibration
""",
)
@click.option("--lut", "lut_path", required=True, type=click.Path(path_type=Path), help="LUT of this device.")
@click.option(
    "--nets", default=100, type=click.IntRange(min=5), help="Networks held out; of cells, those of 1 to 4 fused paths."
)
@click.option(
    "--calibrate",
    default=0,
    type=click.IntRange(min=0, max=30),
    help="Further full-size networks that the LUT's correction is fitted to; it is stored in the LUT.",
)
@click.option("--seed", default=1000, type=click.IntRange(min=1), help="Of the networks; take one never used before.")
@click.option(
    "--budget-ms",
    default=None,
    type=FiniteRange(min=0, min_open=True),
    show_default="median of the measured networks",
    help="For the rate of networks called feasible that are.",
)
@click.option("--foreign-lut", is_flag=True, help="Measure although the LUT is another device's.")
@click.option("--plot/--no-plot", default=True, help="Draw the scatter beside it, as model.png beside model.json.")
@click.option("-o", "--output", default="model.json", type=click.Path(path_type=Path), help="Where to write.")
@click.option("--restart", is_flag=True, help="Throw away the samples of an interrupted run.")
@allow_busy_option()
@wait_option()
def bench_model(
    *,
    lut_path: Path,
    nets: int,
    calibrate: int,
    seed: int,
    budget_ms: float | None,
    foreign_lut: bool,
    plot: bool,
    output: Path,
    restart: bool,
    allow_busy: bool,
    wait: bool,
) -> None:
    """Measure random networks that a LUT has never seen, and say how far its estimates are off.

    Raw sum, FLOPs and the LUT's own estimates are held against the same measurements, beside the noise floor: what a
    second measurement of the same networks gives. With --calibrate further networks are measured, the LUT's
    correction is fitted to them and stored in the LUT. A killed run goes on when the same command is given again.
    """
    if 0 < calibrate < SMALLEST_CALIBRATION:
        raise BadInputError(
            f"--calibrate {calibrate} is too few: the correction has {len(GROUP_NAMES)} factors.",
            hint=f"take {SMALLEST_CALIBRATION} to 30, or 0 for no calibration.",
        )
    lut = load_lut(lut_path)
    # Before anything is measured: what the errors and the correction are grouped by.
    for row in lut.rows:
        group_of(row.key.kind)
    for path in (output, lut_path):
        check_output_file(path)
    if plot and output.suffix == ".png":
        raise BadInputError(f"cannot write the figures to {output}: the picture goes there.", hint="name it .json.")
    # Judged as it was before any calibration: the correction is fitted anew, or left out.
    plain = replace(lut, calibration=None if calibrate else lut.calibration)
    backend = resolve_backend(lut.backend, "auto", lut.precision)
    backend.cuda_graph = bool(lut.fingerprint["libraries"].get("cuda_graph", True))
    setup = Setup(
        backend=backend,
        device="auto",
        threads=int(lut.fingerprint["threads"]),
        precision=lut.precision,
        protocol=Protocol(tolerant=allow_busy),
        seed=seed,
        clock=lut.clock,
    )
    here = setup.fingerprint()
    if (differences := binding_differences(lut.fingerprint, here)) and not foreign_lut:
        raise BadInputError(
            f"{lut_path} was measured elsewhere: {'; '.join(differences)}.",
            hint="measure one here with bench-ops, or give --foreign-lut.",
        )
    reserve(device_of(backend, "auto"), "measure", wait=wait)
    claim_file(output)
    known = {network["digest"] for network in lut.prices.report["networks"]}
    if plain.calibration is not None:
        # The correction stays, so what it was fitted to is no test of it.
        known |= {network.name for network in plain.calibration.networks}
    held_out = held_out_networks(lut.space, nets, seed=seed, known=known)
    known |= {arch.digest for arch in held_out}
    to_calibrate = calibration_networks(plain, calibrate, seed=seed + 1, known=known)
    others = [arch for arch, _ in to_calibrate]
    header = {
        "lut": lut.uncalibrated_id,
        "fingerprint": here,
        "protocol": setup.protocol.to_dict(),
        "networks": [arch.digest for arch in (*held_out, *others)],
        "seed": seed,
    }
    checkpoint = Checkpoint(output, header, restart=restart)
    errors.print(f"Measuring {nets + len(others)} networks of space {lut.space.name} on {lut.title}.")
    with stage_bars() as report:
        measured = measure_networks(held_out, others, lut, setup, checkpoint, report)
    drift = _drift(lut.protocol.get("anchor_ms"), measured.anchor_ms)
    correction = lut.calibration
    if others:
        correction = fit_correction(plain, to_calibrate, measured, busy=allow_busy)
    run = Run(
        lut=replace(lut, calibration=None),
        calibration=correction,
        held_out=held_out,
        calibration_archs=others,
        measured=measured,
        seed=seed,
        budget_ms=budget_ms,
        fingerprint=here,
        busy=allow_busy,
    )
    document = model_document(run)
    write_json(output, document)
    if plot:
        save_model_plot(output.with_suffix(".png"), document)
    checkpoint_path(output).unlink(missing_ok=True)
    console.print(_table(document))
    print_verdict(escape(_closing(document, output)))
    if drift is not None:
        print_verdict(escape(drift))
    elif others:
        save_lut(lut_path, replace(lut, calibration=correction))
        stored = f"Stored the calibration from {len(others)} networks in {lut_path}.{busy_sentence(allow_busy)}"
        print_verdict(escape(stored))


def _drift(lut_ms: float | None, here_ms: float) -> str | None:
    if lut_ms is None:
        return None
    machine = Machine(anchor_ms=here_ms, lut_anchor_ms=lut_ms)
    if not machine.changed:
        return None
    return f"The machine has changed: {machine}. The calibration is not stored; measure the LUT again."


def _table(document: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"{document['nets']} held-out networks: {model_title(document)}",
        caption="5 %, 10 %: networks within; 90 %: measured within the estimate's 90 % interval",
    )
    table.add_column("model", min_width=16)
    for name in ("5 %", "10 %", "MAPE", "bias", "worst", "tau", "rho", "90 %"):
        table.add_column(name, justify="right", no_wrap=True)

    def add(words: str, row: Mapping[str, float]) -> None:
        shares = [f"{row[name]:.0%}" for name in ("within_5", "within_10")]
        errors_ = [f"{row['mape']:.1%}", f"{row['bias']:+.1%}", f"{row['worst']:.1%}"]
        ranks = [f"{row[name]:.3f}" if name in row else "" for name in ("kendall_tau", "spearman_rho")]
        inside = f"{row['coverage_90']:.0%}" if "coverage_90" in row else ""
        table.add_row(words, *shares, *errors_, *ranks, inside)

    for name, words in _ROWS.items():
        if name != "calibrated" or document["calibration"] is not None:
            add(words, document["held_out"][name])
    add("measured again", document["noise_floor"])
    return table


def _closing(document: Mapping[str, Any], output: Path) -> str:
    feasible = document["feasible"]
    rates = "; ".join(
        f"{feasible[name]['predicted']} by its {words}, of which {feasible[name]['rate']:.0%} are"
        for name, words in (("estimate", "estimate"), ("upper", "upper bound"))
        if feasible[name]["rate"] is not None
    )
    return (
        f"Called feasible at {feasible['budget_ms']:.1f} ms: {rates or 'none'}. Wrote {output}."
        f"{busy_sentence(document['busy'])}"
    )
