"""Five folds by patient, the same on every machine."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cinert.data.patients import Patient
from cinert.errors import BadInputError

FOLDS = 5
# A fixed number, not --seed: results of different runs compare only on the same patients.
SHUFFLE_SEED = 1234


@dataclass(frozen=True, slots=True)
class Split:
    """Patients to learn from and patients held out, by id."""

    train: list[str]
    validation: list[str]


def fold_count(patients: Iterable[Patient]) -> int:
    """How many folds there are: those that the data set brings with it, or five."""
    return next((len(patient.roles) for patient in patients if patient.roles is not None), FOLDS)


def split_patients(patients: Iterable[Patient], fold: int | None) -> Split:
    """Hold out the patients of a fold that the data set brings with it, or those that `split` chooses.

    Args:
        patients: in any order; each once.
        fold: counted from 0, or None to train on all patients and hold none out.

    Raises:
        BadInputError: as `split`.
    """
    patients = sorted(patients, key=lambda patient: patient.id)
    roles = {patient.id: patient.roles for patient in patients if patient.roles is not None}
    if fold is None or not roles:
        return split([patient.id for patient in patients], fold)
    count = fold_count(patients)
    if not 0 <= fold < count:
        raise BadInputError(
            f"there is no fold {fold}: the data set brings {count} of its own.",
            hint=f"folds are 0..{count - 1}, or 'all'.",
        )
    parts = Split(
        train=[id_ for id_, own in roles.items() if own[fold] == "train"],
        validation=[id_ for id_, own in roles.items() if own[fold] == "val"],
    )
    if not parts.train or not parts.validation:
        side = "train on" if not parts.train else "hold out"
        raise BadInputError(f"fold {fold} of those that the data set brings has nobody to {side}.")
    return parts


def split(patient_ids: Iterable[str], fold: int | None) -> Split:
    """Hold out every fifth patient of a fixed shuffle.

    Args:
        patient_ids: in any order; each once.
        fold: 0..4, or None to train on all patients and hold none out.

    Raises:
        BadInputError: fewer than 2 patients, an id twice, an unknown fold, or a fold with nobody in it.
    """
    ids = sorted(patient_ids)
    twice = sorted({a for a, b in itertools.pairwise(ids) if a == b})
    if twice:
        raise BadInputError(f"the patient {twice[0]} is listed twice.")
    if len(ids) < 2:
        raise BadInputError(f"{len(ids)} patient(s) cannot be split.", hint="give at least 2 patients.")
    if fold is None:
        return Split(train=ids, validation=[])
    if not 0 <= fold < FOLDS:
        raise BadInputError(f"there is no fold {fold}.", hint=f"folds are 0..{FOLDS - 1}, or 'all'.")
    # The old generator, because its stream is frozen for good and published folds use it.
    np.random.RandomState(SHUFFLE_SEED).shuffle(ids)
    validation = ids[fold::FOLDS]
    train = [patient for patient in ids if patient not in validation]
    if not validation or not train:
        raise BadInputError(
            f"fold {fold} of {len(ids)} patients is empty.", hint=f"use a fold below {len(ids)}, or more patients."
        )
    return Split(train=train, validation=validation)
