"""The command calibrate-quality. Heavy imports wait until the arguments are known to be good."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
from rich.markup import escape

from bench.cli_common import CATCH, GOOD_DICE, device_used, require_data
from cinert.bundle_write import add_quality
from cinert.cli import (
    FiniteRange,
    command,
    console,
    data_option,
    engine_options,
    fold_option,
    print_verdict,
    seed_option,
    share,
)
from cinert.data.phantom_mark import tally
from cinert.files import check_writable
from cinert.provenance import counted
from cinert.trust.opening import open_trusted, trust_option


@command(
    "calibrate-quality",
    examples="""
calibrate-quality runs/mine/bundle --data acdc                # the patients that fold 0 held out
calibrate-quality bundle --data other-hospital --fold all --good-dice 0.8
""",
)
@click.argument("folder", metavar="BUNDLE", type=click.Path(path_type=Path))
@data_option()
@fold_option()
@click.option(
    "--good-dice",
    default=GOOD_DICE,
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    help="Mean Dice that a good mask has at least.",
)
@click.option(
    "--catch",
    default=CATCH,
    type=FiniteRange(0, 1, min_open=True),
    help="Share of the bad masks that are to be called unsure; more of them cost more false alarms.",
)
@seed_option()
@trust_option()
@engine_options()
def calibrate_quality(
    *,
    folder: Path,
    data: Path | None,
    fold: int | None,
    good_dice: float,
    catch: float,
    seed: int,
    trust: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Calibrate the quality score that every mask of a bundle carries, and write it into the bundle.

    Every labelled frame of patients that the network did not see is segmented clean and with simulated noise,
    undersampling, motion, arrhythmia and a device's void. The score is fitted to the mean Dice of these masks; below
    the threshold that it finds, a mask is `unsure`. What the score is worth is judged by cross-validation over
    patients and stored beside it. The bundle's digest changes: sign it, and certify it, afterwards.
    """
    data = require_data(data)
    check_writable(folder)
    bundle = open_trusted(folder, trust)
    share(device_used(bundle, device))

    from bench.quality_document import calibration_record, strength_table, worth_lines
    from bench.quality_fit import Aim, fit_quality
    from bench.quality_patients import records_of, sweep_bundle, unseen_patients
    from bench.quality_worth import cross_validated, unseen_corruption_auroc, worth

    patients = unseen_patients(bundle, data, fold)
    samples = sweep_bundle(bundle, patients, seed=seed, device=device, threads=threads)
    aim = Aim(good_dice, catch)
    scored, unseen = cross_validated(samples, aim), unseen_corruption_auroc(samples, aim)
    figures = worth(scored, good_dice)
    model = replace(
        fit_quality(samples, aim),
        calibration=calibration_record(samples, aim, records_of(patients), seed=seed),
        judged={**figures, "unseen_corruption_auroc": unseen},
    )
    changed = add_quality(bundle, model)
    who = counted(*tally(patients))
    console.print(strength_table(scored, who))
    print_verdict(f"judged by cross-validation over {who}, whose masks are alike among themselves:")
    for line in worth_lines(figures, aim, unseen):
        print_verdict(escape(f"  {line}"))
    console.print(
        f"threshold {model.threshold:.3f}; wrote quality.json into {folder}, whose digest is now {changed.digest[:12]}",
        markup=False,
    )
