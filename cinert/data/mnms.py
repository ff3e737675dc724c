"""Patients in the layouts of the M&Ms and M&Ms-2 challenges; both store 1 LV, 2 MYO, 3 RV.

Sources: V. M. Campello et al., IEEE TMI 40(12):3543-3554, 2021 (M&Ms); C. Martin-Isla et al., IEEE JBHI
27(7):3302-3313, 2023 (M&Ms-2).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from cinert.data.complete import refuse_left_out
from cinert.data.patients import Frame, Patient, Phase, find_nifti, require_nifti
from cinert.data.text import read_text
from cinert.errors import BadInputError

# .nii, .nii.gz or .hdr: glob has no alternatives.
_NIFTI = ".[nh][id][ir]*"
MNMS_PICTURE = "FOLDER/ID/{ID_sa.nii.gz, ID_sa_gt.nii.gz}, both 4D, and the challenge's CSV in FOLDER or above it"
MNMS_MARKER = f"*/*_sa{_NIFTI}"
MNMS2_PICTURE = "FOLDER/ID/ID_{SA_ED,SA_ED_gt,SA_ES,SA_ES_gt}.nii.gz"
MNMS2_MARKER = f"*/*_SA_ED{_NIFTI}"

_STORED_LABELS = (0, 3, 2, 1)
_CODE = "External code"
_PHASES: tuple[Phase, ...] = ("ED", "ES")
# OpenDataset/Training/Labeled/ID: the CSV lies in OpenDataset.
_LEVELS_ABOVE = 2

Row = Mapping[str, str]


def read_mnms(folder: Path) -> list[Patient]:
    """Find the patients of M&Ms in a folder, sorted by id; volumes are not read yet.

    Image and labels are 4D, and only two phases are labelled: the CSV says which, counted from 0.

    Raises:
        BadInputError: the CSV is missing or cannot be used, a patient is not in it, a label map is missing, or a folder
            looks like a patient and has no image.
    """
    table_path, table = _read_table(folder)
    patients = []
    for patient in _patient_folders(folder, MNMS_MARKER, "it has no image ID_sa.nii.gz", letters_vary=True):
        id_ = patient.name
        image = require_nifti(patient / f"{id_}_sa", f"the image of {id_}", f"the layout is {MNMS_PICTURE}.")
        if id_ not in table:
            raise BadInputError(f"the patient {id_} in {folder} is not in {table_path}.", hint="is it the right CSV?")
        row = table[id_]
        volumes = {phase: _volume(row, phase, id_, table_path) for phase in _PHASES}
        if volumes["ED"] == volumes["ES"]:
            raise BadInputError(
                f"{table_path} gives ED and ES of {id_} as the same phase, {volumes['ED']}.",
                hint="patients without labels are listed so; leave them out.",
            )
        label = require_nifti(
            patient / f"{id_}_sa_gt",
            f"the label map of {id_}",
            "Training/Unlabeled has none; give Training/Labeled, Validation or Testing.",
        )
        frames = tuple(
            Frame(
                patient_id=id_,
                index=volumes[phase] + 1,
                phase=phase,
                image_path=image,
                label_path=label,
                volume=volumes[phase],
                stored_labels=_STORED_LABELS,
            )
            for phase in _PHASES
        )
        patients.append(Patient(id=id_, group=row.get("Pathology") or "", frames=frames, cine_path=image))
    return patients


def read_mnms2(folder: Path) -> list[Patient]:
    """Find the patients of M&Ms-2 in a folder, sorted by id; volumes are not read yet. Long-axis files are ignored.

    Raises:
        BadInputError: a file is missing, or a folder looks like a patient and has no image of ED.
    """
    patients = []
    for patient in _patient_folders(folder, MNMS2_MARKER, "it has no image ID_SA_ED.nii.gz"):
        stem = patient / patient.name
        frames = tuple(_mnms2_frame(stem, phase, index) for index, phase in enumerate(_PHASES, start=1))
        cine = find_nifti(stem.with_name(f"{stem.name}_SA_CINE"))
        patients.append(Patient(id=stem.name, group="", frames=frames, cine_path=cine))
    return patients


def _patient_folders(folder: Path, marker: str, lacks: str, *, letters_vary: bool = False) -> list[Path]:
    """The folders in which the marker finds a file, sorted; refused where another one looks like a patient."""
    found = sorted({path.parent for path in folder.glob(marker) if not path.name.startswith(".")})
    refuse_left_out(folder, {path.name for path in found}, lacks, letters_vary=letters_vary)
    return found


def _mnms2_frame(stem: Path, phase: Phase, index: int) -> Frame:
    image = stem.with_name(f"{stem.name}_SA_{phase}")
    hint = f"a patient has the files {MNMS2_PICTURE}."
    return Frame(
        patient_id=stem.name,
        index=index,
        phase=phase,
        image_path=require_nifti(image, f"the image of {phase}", hint),
        label_path=require_nifti(image.with_name(f"{image.name}_gt"), f"the label map of {phase}", hint),
        stored_labels=_STORED_LABELS,
    )


def _read_table(folder: Path) -> tuple[Path, dict[str, Row]]:
    """The CSV with a row per patient, known by its columns: its name has changed from release to release."""
    resolved = folder.resolve()
    for level in (resolved, *resolved.parents[:_LEVELS_ABOVE]):
        found = [path for path in sorted(level.glob("*.csv")) if {_CODE, *_PHASES} <= set(_columns(path))]
        if len(found) > 1:
            raise BadInputError(
                f"{level} holds {len(found)} CSV files of M&Ms: {', '.join(path.name for path in found)}.",
                hint="keep the newest.",
            )
        if found:
            rows = csv.DictReader(io.StringIO(read_text(found[0]), newline=""))
            return found[0], {row[_CODE].strip(): row for row in rows if row[_CODE]}
    raise BadInputError(
        f"there is no CSV of M&Ms in {folder} or up to {_LEVELS_ABOVE} folders above it.",
        hint=f"it comes with the data and has the columns {_CODE}, ED and ES.",
    )


def _columns(path: Path) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(read_text(path), newline="")), [])
    except (BadInputError, csv.Error):
        return []  # somebody else's file, which happens to end in .csv


def _volume(row: Row, phase: Phase, id_: str, path: Path) -> int:
    text = (row[phase] or "").strip()
    if not (text.isascii() and text.isdigit()):
        raise BadInputError(f"{path} gives {phase} of {id_} as {text!r}.", hint="phases are numbered 0, 1, ...")
    return int(text)
