"""Command `latency calibrate`: correct a LUT from what bench-model and bench-engine measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from cinert.arch import SEARCHED_SCHEMAS, searched_from_dict
from cinert.cli import command, print_verdict
from cinert.environment import binding_differences
from cinert.errors import BadInputError
from cinert.files import check_writable, read_json
from cinert.quiet import busy_sentence
from cinert.schema import check_schema
from latency.calibration import Calibration, CalibrationNetwork, fit_calibration
from latency.checks import checked_ms, checked_positive_ms
from latency.estimate import estimate_groups
from latency.lut import Lut, check_calibration, load_lut, save_lut


@command(
    "latency calibrate",
    examples="""
latency calibrate lut.json --from model.json                  # the networks that bench-model measured
latency calibrate lut.json --add verify.json --add late.json  # and what bench-engine measured since
""",
)
@click.argument("lut_path", metavar="LUT", type=click.Path(path_type=Path))
@click.option(
    "--from", "model", type=click.Path(path_type=Path), help="model.json whose calibration replaces the LUT's."
)
@click.option(
    "--add", "added", multiple=True, type=click.Path(path_type=Path), help="verify.json of a network; may be repeated."
)
def calibrate(*, lut_path: Path, model: Path | None, added: tuple[Path, ...]) -> None:
    """Fit a LUT's correction anew, with measured networks added to those that it has.

    What bench-engine measured on the LUT's device flows back into the estimates of the networks to come. A network
    that is there already is replaced. The prices themselves stay as they are.
    """
    if model is None and not added:
        raise BadInputError("nothing to calibrate with.", hint="give --from model.json or --add verify.json.")
    lut = load_lut(lut_path)
    check_writable(lut_path)
    networks: dict[str, CalibrationNetwork] = {}
    there = lut.calibration if model is None else _calibration_of(lut, model)
    for network in () if there is None else there.networks:
        networks[network.name] = network
    for path in added:
        network = _measured_network(lut, path)
        networks[network.name] = network
    busy = there is not None and there.busy
    calibration = fit_calibration(list(networks.values()), lut=lut.uncalibrated_id, busy=busy)
    calibrated = replace(lut, calibration=calibration)
    save_lut(lut_path, calibrated)
    factors = ", ".join(f"{name} {factor:.2f}" for name, factor in calibration.factors.items())
    print_verdict(
        escape(
            f"Calibrated {lut_path} with {len(networks)} networks: factors {factors}; 90 % of new networks within"
            f" {calibration.relative_error_90:.1%} of their estimates.{busy_sentence(calibrated.busy)}"
        )
    )


def _calibration_of(lut: Lut, path: Path) -> Calibration:
    document = read_json(path, "the figures of bench-model")
    check_schema(document, schema="cinert.model", version=1, source=str(path))
    if document.get("calibration") is None:
        raise BadInputError(f"{path} has no calibration.", hint="run bench-model with --calibrate 30.")
    calibration = Calibration.from_dict(document["calibration"], source=f"{path}: calibration")
    check_calibration(lut, calibration, source=str(path))
    return calibration


def _measured_network(lut: Lut, path: Path) -> CalibrationNetwork:
    document = read_json(path, "the measurement")
    check_schema(document, schema="cinert.verify", version=1, source=str(path))
    if differences := binding_differences(lut.fingerprint, document["fingerprint"]):
        raise BadInputError(
            f"{path} was measured elsewhere than LUT {lut.source}: {'; '.join(differences)}.",
            hint="run bench-engine on the LUT's device, with its threads.",
        )
    machine = document["machine"]
    if machine is not None and machine["changed"]:
        raise BadInputError(
            f"{path} was measured while the machine was not as when LUT {lut.source} was: its reference network differs"
            f" by {machine['drift']:+.0%}.",
            hint="run bench-engine again on the quiet machine, or measure the LUT again.",
        )
    described: Mapping[str, Any] = document["bundle"]["arch"]
    if described.get("schema") not in SEARCHED_SCHEMAS:
        raise BadInputError(f"{path} is of a baseline, and a LUT prices the parts of searched networks.")
    arch = searched_from_dict(described, source=f"{path}: bundle.arch")
    measured = document["measured"]
    return CalibrationNetwork(
        name=arch.digest,
        source=str(path),
        group_ms=estimate_groups(arch, lut),
        measured_ms=checked_positive_ms(measured["quiet_ms"], f"{path}: measured.quiet_ms"),
        fps=checked_ms(measured["throughput_fps"], f"{path}: measured.throughput_fps"),
    )
