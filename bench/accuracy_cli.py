"""Command evaluate-bundle. Heavy imports wait until the arguments are known to be good."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli_common import describe, device_used, fingerprint_here, require_data
from bench.seen import patients_of_fold, refuse_seen, refuse_unknown, seen_among
from cinert.bundle import Bundle
from cinert.cli import command, console, data_option, engine_options, fold_option, progress_bar, share
from cinert.environment import default_threads
from cinert.errors import BadInputError
from cinert.files import check_output_file, write_json
from cinert.scores import in_digits
from cinert.trust.opening import open_trusted, trust_option

if TYPE_CHECKING:
    from cinert.data.patients import Patient


@command(
    "evaluate-bundle",
    examples="""
evaluate-bundle runs/demo/bundle --data phantom -o runs/demo/accuracy.json
evaluate-bundle bundle --data acdc --fold 2 --plot bland_altman.png   # the patients that fold 2 held out
evaluate-bundle bundle --data other-hospital --fold all
""",
)
@click.argument("folder", metavar="BUNDLE", type=click.Path(path_type=Path))
@data_option()
@fold_option()
@click.option("--allow-seen", is_flag=True, help="Score patients that the weights saw too; accuracy.json names them.")
@trust_option()
@engine_options()
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    help="Bland-Altman picture of volumes, ejection fractions and mass, e.g. bland_altman.png.",
)
@click.option("-o", "--output", default="accuracy.json", type=click.Path(path_type=Path), help="Where to write.")
def evaluate_bundle(
    *,
    folder: Path,
    data: Path | None,
    fold: int | None,
    allow_seen: bool,
    trust: Path | None,
    device: str,
    threads: int | None,
    plot: Path | None,
    output: Path,
) -> None:
    """Score a bundle on labelled patients: Dice and HD95 per class, on the original grid, and clinical indices.

    By default the patients that the fold held out are scored; --fold all scores every patient in the folder. A missed
    structure scores Dice 0 and the diagonal of the volume; one that is in neither labels nor mask has no score and
    leaves the mean. Patients that the weights saw are refused. Volumes,
    ejection fractions and muscle mass are compared in patients with an ED and an ES frame; the others are named.
    """
    data = require_data(data)
    for path in (output, plot):
        if path is not None:
            check_output_file(path)
    bundle = open_trusted(folder, trust)
    share(device_used(bundle, device))
    threads = threads or default_threads()
    here = fingerprint_here(bundle, device, threads)
    patients = patients_of_fold(data, fold)
    seen = _seen(bundle, patients, allow_seen=allow_seen)
    if plot is not None and not any({"ED", "ES"} <= {frame.phase for frame in each.frames} for each in patients):
        raise BadInputError(
            f"--plot {plot}: none of these {len(patients)} patients has an ED and an ES frame.",
            hint="leave --plot out; Dice and HD95 need no phases.",
        )

    from bedside.pipeline import FramePipeline
    from bench.accuracy import accuracy_document, score_patients, summarise
    from bench.clinical import clinical_indices
    from bench.clinical_plot import save_bland_altman
    from bench.tables import accuracy_table, clinical_remarks, clinical_table

    with FramePipeline.from_bundle(bundle, device=device, threads=threads) as pipeline, progress_bar() as bar:
        task = bar.add_task("scoring", total=sum(len(patient.frames) for patient in patients))
        frames = score_patients(pipeline, patients, on_frame=lambda: bar.advance(task))
    write_json(output, accuracy_document(frames, seen=seen, fold=fold, bundle=describe(bundle), fingerprint=here))
    console.print(accuracy_table(frames, seen or []))
    summary = summarise(frames)
    clinical = clinical_indices(frames)
    console.print(clinical_table(clinical, summary.kind))
    for line in clinical_remarks(clinical):
        console.print(line, markup=False)
    if plot is not None:
        save_bland_altman(plot, clinical, title=f"{folder}: {summary.who}, fold {'all' if fold is None else fold}")
    console.print(
        f"mean Dice {in_digits(summary.mean_dice)} on {summary.who}, mean HD95 {in_digits(summary.mean_hd95_mm, 1)} mm;"
        " wrote"
        f" {' and '.join(str(path) for path in (output, plot) if path)}",
        markup=False,
    )


def _seen(bundle: Bundle, patients: list[Patient], *, allow_seen: bool) -> list[str] | None:
    if bundle.seen_patients is None:
        if not allow_seen:
            refuse_unknown(bundle=bundle.folder)
        return None
    with progress_bar() as bar:
        task = bar.add_task("looking for patients that the weights saw", total=len(patients))
        seen = seen_among(patients, bundle.seen_patients, on_patient=lambda: bar.advance(task))
    if not allow_seen:
        refuse_seen(seen, by=bundle.folder)
    return seen
