"""The patients to be scored, and which of them the weights have already seen, in the search or in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from cinert.data.folds import split_patients
from cinert.data.layouts import read_patients
from cinert.data.patients import Patient, patient_digest
from cinert.errors import BadInputError


def patients_of_fold(data: Path, fold: int | None) -> list[Patient]:
    """The patients that a fold holds out, or all in the folder, in the order of `read_patients`.

    Raises:
        BadInputError: the folder cannot be read, or cannot be split.
    """
    patients = read_patients(data)
    if fold is None:
        return patients
    held_out = set(split_patients(patients, fold).validation)
    return [patient for patient in patients if patient.id in held_out]


def seen_among(
    patients: Sequence[Patient], records: Sequence[Mapping[str, str]], *, on_patient: Callable[[], object]
) -> list[str]:
    """Find the patients that the weights saw: by the content of the first volume, or by id.

    Content finds a patient under another name; the id finds one whose files were converted again.

    Args:
        patients: to be scored.
        records: `seen_patients` of the bundle, each {id, digest}.
        on_patient: called after each patient.

    Returns:
        Ids, in the order of `patients`.

    Raises:
        BadInputError: a patient's files cannot be used.
    """
    ids = {record["id"] for record in records}
    digests = {record["digest"] for record in records}
    seen = []
    for patient in patients:
        if patient.id in ids or patient_digest(patient) in digests:
            seen.append(patient.id)
        on_patient()
    return seen


SAY_ALLOW_SEEN = "score others, or say --allow-seen; accuracy.json will name them."


def refuse_seen(seen: Sequence[str], *, by: object, hint: str = SAY_ALLOW_SEEN) -> None:
    """Refuse to score patients that a network saw; `by` names its file, `hint` says what to do.

    Raises:
        BadInputError: there are any; all are named.
    """
    if seen:
        raise BadInputError(
            f"the network in {by} saw {len(seen)} of these patients: {', '.join(seen)}.",
            hint=hint,
        )


TRAIN_OR_ALLOW = "train with train-arch, which writes it down, or say --allow-seen."


def refuse_unknown(*, bundle: object, hint: str = TRAIN_OR_ALLOW) -> NoReturn:
    """Refuse to score weights that do not say whom they saw; `hint` says what to do.

    Raises:
        BadInputError: always.
    """
    raise BadInputError(
        f"the weights in {bundle} do not say which patients they saw.",
        hint=hint,
    )
