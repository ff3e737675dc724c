"""Patients in nnU-Net's raw layout, as its version 2 documents it (documentation/dataset_format.md).

Labels are taken by name, never by number: one dataset's 1 is another's 3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cinert.data.nifti import read_label
from cinert.data.nifti_file import is_nifti_name
from cinert.data.nnunet_names import Case, group, parse
from cinert.data.nnunet_splits import FILE, Roles, read_splits, refuse_separated, separated
from cinert.data.patients import Frame, Patient
from cinert.data.remarks import say_once
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


def read_nnunet(folder: Path) -> list[Patient]:
    """Find the training patients in a folder, sorted by id; say in one line what was counted as what.

    A case is one frame, slice or visit of a patient; `cinert.data.nnunet_names` says whose. The phase is the one in the
    name; where the names say none and a patient has two frames, the one with more LV is ED, for which these label maps
    are read; else it is unknown. Where splits_final.json lies beside dataset.json, its folds are the patients', and a
    patient that was guessed from numbers alone is none where the file parts the cases.

    Raises:
        BadInputError: dataset.json or splits_final.json cannot be used, a class is missing or named twice, there are
            several channels, or images and label maps are not of the same cases.
    """
    path = folder / "dataset.json"
    document = read_json(path, "nnU-Net's")
    stored = _stored_labels(document, path)
    ending = _file_ending(document, path)
    names = _cases(folder, ending)
    cases, roles = _whose(folder, names)
    by_patient: dict[str, list[str]] = {}
    for name, case in cases.items():
        by_patient.setdefault(case.patient_id, []).append(name)
    frames = {
        name: Frame(
            patient_id=case.patient_id,
            index=case.index,
            phase=case.phase,
            image_path=folder / "imagesTr" / f"{name}_0000{ending}",
            label_path=folder / "labelsTr" / f"{name}{ending}",
            stored_labels=stored,
        )
        for name, case in cases.items()
    }
    say_once(path, "cases", _counted(folder, by_patient, roles, document.get("numTraining")))
    return [
        Patient(
            id=id_,
            group="",
            frames=tuple(_in_order([frames[name] for name in own], all(cases[name].of_a_beat for name in own))),
            cine_path=None,
            roles=None if roles is None else roles[own[0]],
        )
        for id_, own in sorted(by_patient.items())
    ]


def _whose(folder: Path, names: list[str]) -> tuple[dict[str, Case], Roles | None]:
    """Whose image each case is, and the folds that lie beside."""
    certain = parse(names)
    cases = group(certain)
    path = folder / FILE
    if not path.exists():
        return cases, None
    roles = read_splits(path, names)
    parted = {name for own in separated(cases, roles).values() for name in own if cases[name].guessed}
    # The file knows better than numbers do: each of these is somebody else.
    cases = {name: certain[name] if name in parted else case for name, case in cases.items()}
    parted = {name for name in parted if certain[name].guessed}
    cases = {name: Case(name, 1, case.phase) if name in parted else case for name, case in cases.items()}
    refuse_separated(cases, roles, path)
    return cases, roles


def _counted(folder: Path, by_patient: Mapping[str, list[str]], roles: Roles | None, expected: object) -> str:
    """In words, what was counted as what."""
    count = sum(map(len, by_patient.values()))
    words = f"{folder}: {count} cases are counted as {len(by_patient)} patients"
    largest = max(by_patient, key=lambda id_: len(by_patient[id_]))
    if len(by_patient[largest]) > 1:
        shown = by_patient[largest]
        words += f", e.g. {', '.join(shown[:3])}{', ...' if len(shown) > 3 else ''} as {largest}"
    if roles is not None:
        words += f"; folds are the {len(next(iter(roles.values())))} of {FILE}"
    else:
        words += f"; where that is wrong, put a {FILE} that keeps each person's cases together beside dataset.json"
    if isinstance(expected, int) and expected != count:
        words += f"; dataset.json speaks of {expected} cases"
    return words + "."


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
    for path in sorted(path for name in ("imagesTr", "labelsTr") for path in (folder / name).glob("*")):
        if is_nifti_name(path.name) and not path.name.endswith(ending):
            raise BadInputError(
                f"{path} would be passed over: dataset.json says that files end in {ending}.",
                hint="convert it, or move it elsewhere.",
            )
    return sorted(labels)


def _in_order(frames: list[Frame], of_a_beat: bool) -> list[Frame]:
    """ED first, and an index for each frame."""
    if of_a_beat and len(frames) == 2 and all(frame.phase == "unknown" for frame in frames):
        small, large = sorted(frames, key=_lv_ml)
        if _lv_ml(small) < _lv_ml(large):
            frames = [replace(large, phase="ED"), replace(small, phase="ES")]
    frames = sorted(frames, key=lambda frame: (frame.phase, frame.index))
    usable = len({frame.index for frame in frames}) == len(frames) and min(frame.index for frame in frames) > 0
    return frames if usable else [replace(frame, index=place) for place, frame in enumerate(frames, start=1)]


def _lv_ml(frame: Frame) -> float:
    label, geometry = read_label(frame.label_path, stored=frame.stored_labels)
    return np.count_nonzero(label == 3) * geometry.voxel_ml
