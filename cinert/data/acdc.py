"""Patients in ACDC's on-disk layout.

    FOLDER/patientXXX/{Info.cfg, patientXXX_4d.nii.gz, patientXXX_frameNN.nii.gz, patientXXX_frameNN_gt.nii.gz}

Source: O. Bernard et al., IEEE TMI 37(11):2514-2525, 2018. Uncompressed .nii files are read too; the 4D cine may be
absent.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cinert.data.nifti import Geometry, read_image, read_label
from cinert.errors import BadInputError

Phase = Literal["ED", "ES"]
PHASES: tuple[Phase, ...] = ("ED", "ES")
LAYOUT = "FOLDER/patientXXX/{Info.cfg, patientXXX_frameNN.nii.gz, patientXXX_frameNN_gt.nii.gz}"


@dataclass(frozen=True, slots=True)
class Frame:
    """One labelled phase of a patient.

    Attributes:
        patient_id: name of the patient's folder.
        index: number of the frame in the cine, counted from 1 as in the file names.
        phase: end diastole or end systole.
        image_path: grey values.
        label_path: labels.
    """

    patient_id: str
    index: int
    phase: Phase
    image_path: Path
    label_path: Path


@dataclass(frozen=True, slots=True)
class Patient:
    """One patient: what Info.cfg says, and where the files are.

    Attributes:
        id: name of the folder.
        group: diagnosis (DCM, HCM, MINF, NOR, RV), empty where Info.cfg does not say.
        folder: of the patient.
        frames: ED, then ES.
        cine_path: the 4D series, where there is one.
    """

    id: str
    group: str
    folder: Path
    frames: tuple[Frame, ...]
    cine_path: Path | None


def read_acdc(folder: Path) -> list[Patient]:
    """Find the patients in a folder, sorted by id; volumes are not read yet.

    Raises:
        BadInputError: the folder is missing or holds no patients, an Info.cfg cannot be used, or a file is missing.
    """
    if not folder.is_dir():
        raise BadInputError(f"there is no data folder {folder}.", hint=f"the layout is {LAYOUT}.")
    found = sorted(path.parent for path in folder.glob("*/Info.cfg"))
    if not found:
        raise BadInputError(f"{folder} is not in ACDC's layout: {_what_is_in(folder)}.", hint=_layout_hint(folder))
    return [_read_patient(path) for path in found]


def load_frame(frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.uint8], Geometry]:
    """Read image and label of a frame, stored axes.

    Raises:
        BadInputError: a file cannot be used, or the label does not lie on the image's grid.
    """
    image, geometry = read_image(frame.image_path)
    label, label_geometry = read_label(frame.label_path)
    if label.shape != image.shape:
        raise BadInputError(
            f"label map {frame.label_path} has shape {label.shape}, but its image has {image.shape}.",
            hint="are they of the same frame?",
        )
    if not geometry.same_grid(label_geometry, tolerance_mm=1.0):
        raise BadInputError(
            f"label map {frame.label_path} lies elsewhere than its image: their affines differ.",
            hint="write the label with the image's affine.",
        )
    return image, label, geometry


def patient_digest(patient: Patient) -> str:
    """SHA-256 of the voxels of the ED frame, so that a patient is recognised under another name.

    Raises:
        BadInputError: as `load_frame`.
    """
    image, label, _ = load_frame(patient.frames[0])
    digest = hashlib.sha256(repr(label.shape).encode())
    digest.update(label.tobytes(order="F"))
    digest.update(image.astype("<f4").tobytes(order="F"))
    return digest.hexdigest()


def _what_is_in(folder: Path) -> str:
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    if not names:
        return "it is empty"
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"it holds {shown}, but no folder with an Info.cfg"


def _layout_hint(folder: Path) -> str:
    if (folder / "Info.cfg").is_file():
        return f"this is one patient; give the folder above it, {folder.resolve().parent}."
    deeper = next(folder.glob("*/*/Info.cfg"), None)
    return f"try {deeper.parent.parent}." if deeper else f"the layout is {LAYOUT}."


def _read_patient(folder: Path) -> Patient:
    info_path = folder / "Info.cfg"
    info = _read_info(info_path)
    frames = tuple(_find_frame(folder, phase, _frame_number(info, phase, info_path)) for phase in PHASES)
    cine = _existing(folder / f"{folder.name}_4d")
    return Patient(folder.name, info.get("Group", ""), folder, frames, cine)


def _read_info(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BadInputError(f"cannot read {path}: {reason}.") from error
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _frame_number(info: dict[str, str], phase: Phase, path: Path) -> int:
    if phase not in info:
        raise BadInputError(f"{path} does not say which frame is {phase}.", hint=f"it needs a line like '{phase}: 1'.")
    text = info[phase]
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise BadInputError(f"{path} gives {phase} as {text!r}.", hint="frames are numbered 1, 2, ...")
    return int(text)


def _find_frame(folder: Path, phase: Phase, index: int) -> Frame:
    stem = folder / f"{folder.name}_frame{index:02d}"
    image, label = _existing(stem), _existing(stem.with_name(stem.name + "_gt"))
    for path, what, name in ((image, "image", stem.name), (label, "label map", f"{stem.name}_gt")):
        if path is None:
            raise BadInputError(
                f"the {what} of {phase} is missing: {folder / name}.nii.gz.",
                hint=f"{folder / 'Info.cfg'} says {phase}: {index}.",
            )
    assert image is not None
    assert label is not None
    return Frame(folder.name, index, phase, image, label)


def _existing(stem: Path) -> Path | None:
    for suffix in (".nii.gz", ".nii"):
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            return path
    return None
