"""The command bench-robustness. Heavy imports wait until the arguments are known to be good."""

from __future__ import annotations

from pathlib import Path

import click
from rich.markup import escape

from bench.cli_common import CATCH, GOOD_DICE, describe, device_used, fingerprint_here, require_data
from cinert.cli import (
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
from cinert.environment import default_threads
from cinert.files import check_output_file, write_json
from cinert.provenance import counted
from cinert.trust.opening import open_trusted, trust_option


@command(
    "bench-robustness",
    examples="""
bench-robustness runs/mine/bundle --data acdc -o robustness.json --plot robustness.png
bench-robustness bundle --data other-hospital --fold all   # judges the bundle's own score, if it was calibrated
""",
)
@click.argument("folder", metavar="BUNDLE", type=click.Path(path_type=Path))
@data_option()
@fold_option()
@seed_option()
@trust_option()
@engine_options()
@click.option("--plot", type=click.Path(path_type=Path), help="Picture to write, e.g. robustness.png.")
@click.option("-o", "--output", default="robustness.json", type=click.Path(path_type=Path), help="Where to write.")
def bench_robustness(
    *,
    folder: Path,
    data: Path | None,
    fold: int | None,
    seed: int,
    trust: Path | None,
    device: str,
    threads: int | None,
    plot: Path | None,
    output: Path,
) -> None:
    """Report Dice and quality score of a bundle under simulated noise, undersampling, motion, arrhythmia and voids.

    The bundle's own score is judged on patients that it was not calibrated on. Where it was, or where the bundle holds
    none, each patient is scored by a fit to the others (a good mask: Dice 0.7; 90 % of bad ones to be caught).
    Patients that the network saw are refused.
    """
    data = require_data(data)
    for path in (output, plot):
        if path is not None:
            check_output_file(path)
    bundle = open_trusted(folder, trust)
    share(device_used(bundle, device))
    threads = threads or default_threads()
    here = fingerprint_here(bundle, device, threads)

    from bench.quality_document import robustness_document, strength_table, worth_lines
    from bench.quality_fit import Aim
    from bench.quality_patients import calibrated_on, sweep_bundle, unseen_patients
    from bench.quality_worth import cross_validated, score_with, unseen_corruption_auroc
    from bench.robustness_plot import save_robustness_plot

    patients = unseen_patients(bundle, data, fold)
    people, phantoms = tally(patients)
    who = counted(people, phantoms)
    model = bundle.quality
    aim = Aim(GOOD_DICE, CATCH) if model is None else Aim(model.good_dice, float(model.calibration["catch"]))
    own = model is not None and not calibrated_on(bundle, patients)
    samples = sweep_bundle(bundle, patients, seed=seed, device=device, threads=threads)
    if model is not None and own:
        scored, unseen = score_with(model, samples), None
        words = f"judged: the bundle's own score, on {who} that it was not calibrated on"
    else:
        scored, unseen = cross_validated(samples, aim), unseen_corruption_auroc(samples, aim)
        words = f"judged: scores fitted to the others, each of {who} in turn"
    document = robustness_document(
        scored,
        aim,
        judged_by="bundle" if own else "cross-validation",
        unseen=unseen,
        fold=fold,
        seed=seed,
        phantoms=phantoms,
        bundle=describe(bundle),
        fingerprint=here,
    )
    write_json(output, document)
    if plot is not None:
        save_robustness_plot(plot, scored, aim, title=f"{folder}: {who} that the network did not see")
    console.print(strength_table(scored, who))
    for line in (words, *worth_lines(document["worth"], aim, unseen)):
        print_verdict(escape(line))
    console.print(f"wrote {' and '.join(str(path) for path in (output, plot) if path)}", markup=False)
