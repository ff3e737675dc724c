"""Patients in nnU-Net's raw layout, as its version 2 documents it (documentation/dataset_format.md).

Labels are taken by name, never by number: one dataset's 1 is another's 3.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cinert.data.nifti import read_label
from cinert.data.patients import Frame, Patient, Phase
from cinert.errors import BadInputError
from cinert.files import read_json

PICTURE = "FOLDER/{dataset.json, imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz}"
MARKERS = ("dataset.json", "imagesTr")

# Names seen in published conversions of ACDC and M&Ms, in lower case.
_NAMES = {
    "background": ("background",),
    "RV": ("rv", "rvc", "rvbp", "right ventricle", "rv cavity"),
    "MYO": ("myo", "mlv", "lvm", "myocardium", "lv myocardium", "left ventricular myocardium"),
    "LV": ("lv", "lvc", "lvbp", "left ventricle", "lv cavity"),
}
_FRAME = re.compile(r"(?P<patient>.+)_frame(?P<number>\d+)", re.IGNORECASE)
_PHASE = re.compile(r"(?P<patient>.+)_(?P<phase>ED|ES)", re.IGNORECASE)
# nnU-Net's own conversion of M&Ms: patient, time step, vendor, centre.
_VENDOR = re.compile(r"(?P<patient>.+)_(?P<number>\d+)_[A-Z]_\d+")
_NUMBER = re.compile(r"(?P<patient>.+)_(?P<number>\d+)")


@dataclass(frozen=True, slots=True)
class _Case:
    patient_id: str
    index: int
    phase: Phase


def read_nnunet(folder: Path) -> list[Patient]:
    """Find the training patients in a folder, sorted by id.

    A case is one frame. Its patient is its name without `_frameNN`, `_ED`, `_ES`, or a number at its end (`_0`,
    `_0012`; counted from 0) where no more than two cases then share a patient: frames of one patient must not fall into
    two folds. The phase is the one in the name; where the names say none and a patient has two frames, the one with
    more LV is ED, for which these label maps are read; else it is unknown.

    Raises:
        BadInputError: dataset.json cannot be used, a class is missing or named twice, there are several channels, or
            images and label maps are not of the same cases.
    """
    path = folder / "dataset.json"
    document = read_json(path, "nnU-Net's")
    stored = _stored_labels(document, path)
    ending = _file_ending(document, path)
    by_patient: dict[str, list[Frame]] = {}
    for name, case in _parse(_cases(folder, ending)).items():
        frame = Frame(
            patient_id=case.patient_id,
            index=case.index,
            phase=case.phase,
            image_path=folder / "imagesTr" / f"{name}_0000{ending}",
            label_path=folder / "labelsTr" / f"{name}{ending}",
            stored_labels=stored,
        )
        by_patient.setdefault(case.patient_id, []).append(frame)
    return [
        Patient(id=id_, group="", frames=tuple(_in_order(frames)), cine_path=None)
        for id_, frames in sorted(by_patient.items())
    ]


def _stored_labels(document: dict[str, Any], path: Path) -> tuple[int, int, int, int]:
    channels = document.get("channel_names", document.get("modality"))
    if not isinstance(channels, dict) or len(channels) != 1:
        count = len(channels) if isinstance(channels, dict) else "no"
        raise BadInputError(f"{path} names {count} channels.", hint="images with one channel, cine MR, are read.")
    labels = document.get("labels")
    if not isinstance(labels, dict):
        raise BadInputError(f"{path} has no labels.", hint='it needs e.g. "labels": {"background": 0, "RV": 1, ...}.')
    if any(not isinstance(value, int) or isinstance(value, bool) for value in labels.values()):
        raise BadInputError(
            f"{path} has labels that are no single numbers: {labels}.",
            hint="regions are not read; nnU-Net's version 1 is turned into version 2 by its own converter.",
        )
    by_class: dict[str, list[str]] = {name: [] for name in _NAMES}
    for label in labels:
        plain = " ".join(re.split(r"[\s_-]+", label.strip().lower()))
        known = [name for name, names in _NAMES.items() if plain in names]
        if not known:
            raise BadInputError(
                f"{path} has the label {label!r}, which is none of ours.",
                hint=f"known names: {'; '.join(', '.join(names) for names in _NAMES.values())}.",
            )
        by_class[known[0]].append(label)
    for name, found in by_class.items():
        if len(found) != 1:
            what = f"{len(found)} labels for {name}: {', '.join(found)}" if found else f"no label for {name}"
            raise BadInputError(f"{path} has {what}.", hint=f"it needs one of {', '.join(_NAMES[name])}.")
    values = [labels[found[0]] for found in by_class.values()]
    if len(set(values)) < len(values):
        raise BadInputError(f"{path} gives two labels the same number: {labels}.")
    return values[0], values[1], values[2], values[3]


def _file_ending(document: dict[str, Any], path: Path) -> str:
    ending = document.get("file_ending")
    if ending not in (".nii.gz", ".nii"):
        raise BadInputError(f"{path} has the file_ending {ending!r}.", hint=".nii.gz and .nii are read.")
    return str(ending)


def _cases(folder: Path, ending: str) -> list[str]:
    def stems(name: str) -> set[str]:
        files = (path.name for path in (folder / name).glob(f"*{ending}"))
        return {file.removesuffix(ending) for file in files if not file.startswith(".")}

    images, labels = stems("imagesTr"), stems("labelsTr")
    for image in sorted(images):
        case, _, channel = image.rpartition("_")
        if channel != "0000" or case not in labels:
            what = "has no label map in labelsTr" if channel == "0000" else "is no CASE_0000 file"
            raise BadInputError(f"{folder / 'imagesTr' / image}{ending} {what}.", hint=f"the layout is {PICTURE}.")
    for label in sorted(labels):
        if f"{label}_0000" not in images:
            raise BadInputError(
                f"{folder / 'labelsTr' / label}{ending} has no image in imagesTr.", hint=f"the layout is {PICTURE}."
            )
    if not labels:
        raise BadInputError(f"{folder} holds no {ending} files in imagesTr and labelsTr.", hint=f"it is {PICTURE}.")
    return sorted(labels)


def _parse(names: list[str]) -> dict[str, _Case]:
    numbered = {name: match for name in names if (match := _NUMBER.fullmatch(name))}
    shared = Counter(match["patient"] for match in numbered.values())
    # Past two of a kind the number counts patients, not the frames of one.
    frames_are_numbered = bool(shared) and max(shared.values()) <= 2
    cases = {}
    for name in names:
        if match := _PHASE.fullmatch(name):
            cases[name] = _Case(match["patient"], 1, "ED" if match["phase"].upper() == "ED" else "ES")
        elif match := _FRAME.fullmatch(name):
            cases[name] = _Case(match["patient"], int(match["number"]), "unknown")
        elif match := _VENDOR.fullmatch(name) or (numbered.get(name) if frames_are_numbered else None):
            cases[name] = _Case(match["patient"], int(match["number"]) + 1, "unknown")
        else:
            cases[name] = _Case(name, 1, "unknown")
    return cases


def _in_order(frames: list[Frame]) -> list[Frame]:
    """ED first, and an index for each frame."""
    if len(frames) == 2 and all(frame.phase == "unknown" for frame in frames):
        small, large = sorted(frames, key=_lv_ml)
        if _lv_ml(small) < _lv_ml(large):
            frames = [replace(large, phase="ED"), replace(small, phase="ES")]
    frames = sorted(frames, key=lambda frame: (frame.phase, frame.index))
    distinct = len({frame.index for frame in frames}) == len(frames)
    return frames if distinct else [replace(frame, index=place) for place, frame in enumerate(frames, start=1)]


def _lv_ml(frame: Frame) -> float:
    label, geometry = read_label(frame.label_path, stored=frame.stored_labels)
    return np.count_nonzero(label == 3) * geometry.voxel_ml
