"""The command make-phantom."""

from __future__ import annotations

from pathlib import Path

import click

from cinert.cli import command, console, progress_bar, seed_option
from cinert.data.phantom import MAX_PATIENTS, write_phantom
from cinert.files import check_writable


@command(
    "make-phantom",
    examples="""
    make-phantom phantom/
    make-phantom phantom/ --patients 40 --seed 7
    """,
)
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--patients", default=12, type=click.IntRange(1, MAX_PATIENTS), help="Patients to make, from patient901 on."
)
@seed_option()
def make_phantom(out: Path, patients: int, seed: int) -> None:
    """Write synthetic beating hearts with labels to the folder OUT, in ACDC's layout.

    Each patient has a 4D cine, and ED and ES frames with labels. Volumes and ejection fractions follow ACDC's range.
    OUT is replaced if it holds an earlier phantom, and left alone if it holds anything else.
    """
    check_writable(out)
    with progress_bar() as bar:
        task = bar.add_task("making patients", total=patients)
        write_phantom(
            out,
            patients=patients,
            seed=seed,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(f"{patients} patients in {out}, seed {seed}.", markup=False)
