"""What calibrate-quality and bench-robustness share: patients that the network did not see, and their masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bedside.pipeline import FramePipeline
from bench.robustness import MaskSample, planned, sweep
from bench.seen import patients_of_fold, refuse_seen, refuse_unknown, seen_among
from cinert.bundle import Bundle
from cinert.cli import progress_bar
from cinert.data.patients import Patient, patient_digest
from cinert.data.phantom_mark import is_phantom
from cinert.environment import default_threads
from cinert.errors import BadInputError
from cinert.provenance import patient_record

MIN_PATIENTS = 4
"""Fewer say nothing about hearts, and each is left out in turn."""


def unseen_patients(bundle: Bundle, data: Path, fold: int | None) -> list[Patient]:
    """The patients of a fold, or of the whole folder.

    Raises:
        BadInputError: the network saw one of them or does not say whom it saw, they are too few, or a file cannot be
            used.
    """
    patients = patients_of_fold(data, fold)
    if bundle.seen_patients is None:
        refuse_unknown(bundle=bundle.folder, hint="train with train-arch, which writes it down.")
    with progress_bar() as bar:
        task = bar.add_task("looking for patients that the network saw", total=len(patients))
        seen = seen_among(patients, bundle.seen_patients, on_patient=lambda: bar.advance(task))
    hint = "give patients that it did not see; --fold chooses those that a fold held out."
    refuse_seen(seen, by=bundle.folder, hint=hint)
    if len(patients) < MIN_PATIENTS:
        raise BadInputError(
            f"{data} gives {len(patients)} patients, too few to calibrate or judge a score.",
            hint=f"give {MIN_PATIENTS} or more; --fold all takes every patient.",
        )
    return patients


def calibrated_on(bundle: Bundle, patients: Sequence[Patient]) -> list[str]:
    """Ids of the patients that the bundle's score was calibrated on."""
    records = [] if bundle.quality is None else bundle.quality.calibration["patients"]
    return seen_among(patients, records, on_patient=lambda: None)


def records_of(patients: Sequence[Patient]) -> list[dict[str, Any]]:
    """{id, digest, phantom} of each patient."""
    return [patient_record(patient.id, patient_digest(patient), is_phantom(patient)) for patient in patients]


def sweep_bundle(
    bundle: Bundle, patients: Sequence[Patient], *, seed: int, device: str, threads: int | None
) -> list[MaskSample]:
    """`bench.robustness.sweep` with a bundle's engines and a progress bar."""
    with (
        FramePipeline.from_bundle(bundle, device=device, threads=threads or default_threads()) as pipeline,
        progress_bar() as bar,
    ):
        task = bar.add_task("segmenting clean and corrupted frames", total=planned(patients))
        return sweep(pipeline, patients, seed=seed, on_mask=lambda: bar.advance(task))
