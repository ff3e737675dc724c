"""Labelled patients, whatever layout they are stored in; `cinert.data.layouts` finds them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cinert.data.nifti import CLASSES, Geometry, read_image, read_label
from cinert.data.nifti_file import SUFFIXES, same_image
from cinert.errors import BadInputError

Phase = Literal["ED", "ES", "unknown"]
Role = Literal["train", "val", "out"]
"""Of a patient in a fold: learnt from, held out, or neither."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One labelled phase of a patient.

    Attributes:
        patient_id: whose frame it is.
        index: number of the frame in the cine, counted from 1; where the layout does not say, its place among the
            patient's labelled frames.
        phase: end diastole or end systole.
        image_path: grey values.
        label_path: labels.
        volume: where both files are 4D, the phase to take, counted from 0; None for 3D files.
        stored_labels: value that stands in the file for each of background, RV, MYO, LV.
    """

    patient_id: str
    index: int
    phase: Phase
    image_path: Path
    label_path: Path
    volume: int | None = None
    stored_labels: tuple[int, int, int, int] = (0, 1, 2, 3)


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient:
    """One patient and where the files are.

    Attributes:
        id: as the layout names the patient.
        group: diagnosis, e.g. DCM, HCM, NOR; empty where the layout does not say.
        frames: labelled, at least one; ED first where the phases are known.
        cine_path: the 4D series, where there is one.
        roles: in each fold that the data set brings with it; None where it brings none.
    """

    id: str
    group: str
    frames: tuple[Frame, ...]
    cine_path: Path | None
    roles: tuple[Role, ...] | None = None


def load_frame(frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.uint8], Geometry]:
    """Read image and label (0 background, 1 RV, 2 MYO, 3 LV) of a frame, stored axes.

    Raises:
        BadInputError: a file cannot be used, the label does not lie on the image's grid, or nothing is labelled.
    """
    image, geometry = read_image(frame.image_path, volume=frame.volume)
    label, label_geometry = read_label(frame.label_path, volume=frame.volume, stored=frame.stored_labels)
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
    if not label.any():
        where = "" if frame.volume is None else f", phase {frame.volume} counted from 0,"
        raise BadInputError(
            f"label map {frame.label_path}{where} of patient {frame.patient_id} is empty: no voxel is"
            f" {', '.join(CLASSES[1:-1])} or {CLASSES[-1]}.",
            hint="is it the phase that was labelled? Leave patients without labels out.",
        )
    return image, label, geometry


def patient_digest(patient: Patient) -> str:
    """SHA-256 of the voxels of the first frame, so that a patient is recognised under another name or layout.

    Raises:
        BadInputError: as `load_frame`.
    """
    image, label, _ = load_frame(patient.frames[0])
    return voxel_digest(image, label)


def voxel_digest(image: NDArray[np.float32], label: NDArray[np.uint8]) -> str:
    """SHA-256 of a frame's voxels, stored axes."""
    digest = hashlib.sha256(repr(label.shape).encode())
    digest.update(label.tobytes(order="F"))
    digest.update(image.astype("<f4").tobytes(order="F"))
    return digest.hexdigest()


def find_nifti(stem: Path) -> Path | None:
    """The NIfTI file of that name, where there is one: .nii.gz, .nii, or .hdr with .img beside it.

    Raises:
        BadInputError: there are two that hold different images.
    """
    found = [path for suffix in SUFFIXES if (path := stem.with_name(stem.name + suffix)).is_file()]
    for other in found[1:]:
        if not same_image(found[0], other):
            raise BadInputError(
                f"there are two files of one image, and they differ: {found[0]} and {other.name}.",
                hint="keep the right one.",
            )
    return found[0] if found else None


def require_nifti(stem: Path, what: str, hint: str) -> Path:
    """As `find_nifti`.

    Raises:
        BadInputError: there is none; `what` names it in the message.
    """
    path = find_nifti(stem)
    if path is None:
        raise BadInputError(f"{what} is missing: {stem}.nii.gz.", hint=hint)
    return path
