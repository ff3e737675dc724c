"""A folder of synthetic patients in ACDC's layout, so that every stage can be tried without anybody's data.

Numbers start at 901: ACDC itself ends at 150, so an id never means two patients. The same seed gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from cinert.data.heart_draw import PatientDraw, draw_patient
from cinert.data.heart_image import make_scene, render
from cinert.data.phantom_mark import DESCRIPTION, MARKER
from cinert.errors import BadInputError
from cinert.files import atomic_folder, read_json, write_json

FIRST_NUMBER = 901
MAX_PATIENTS = 99
VERSION = 1
_Nifti1Image: Any = nib.Nifti1Image  # untyped in nibabel


def write_phantom(
    folder: Path, *, patients: int = 12, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write a folder of phantom patients, whole or not at all.

    Args:
        folder: made, or replaced if it holds an earlier phantom.
        patients: 1..99.
        seed: the same seed gives the same patients; more patients leave the first ones as they are.
        progress: called with (patients done, patients in all) after each patient.

    Raises:
        BadInputError: the folder holds something else than an earlier phantom, or cannot be written.
    """
    if not 1 <= patients <= MAX_PATIENTS:
        raise BadInputError(f"{patients} phantom patients were asked for.", hint=f"choose 1 to {MAX_PATIENTS}.")
    check_replaceable(folder)
    with atomic_folder(folder) as partial:
        drawn = {}
        for done in range(patients):
            name = f"patient{FIRST_NUMBER + done}"
            rng = np.random.default_rng([seed, FIRST_NUMBER + done])
            patient = draw_patient(rng)
            _write_patient(partial / name, patient, rng)
            drawn[name] = {"group": patient.group, **asdict(patient)}
            if progress is not None:
                progress(done + 1, patients)
        write_json(partial / MARKER, {"schema": "cinert-phantom", "version": VERSION, "seed": seed, "patients": drawn})


def check_replaceable(folder: Path) -> None:
    """Refuse to replace a folder that is no phantom: it may be somebody's data.

    Raises:
        BadInputError: `folder` holds files, and no marker of an earlier phantom.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    marker = folder / MARKER
    if not marker.is_file() or read_json(marker, "the phantom's marker").get("schema") != "cinert-phantom":
        raise BadInputError(
            f"{folder} holds files that are not a phantom.", hint="choose a new folder; only a phantom is replaced."
        )


def _write_patient(folder: Path, patient: PatientDraw, rng: np.random.Generator) -> None:
    folder.mkdir()
    scene = make_scene(patient, rng)
    phases = list(render(scene, rng))
    affine = np.diag([-patient.spacing_mm[0], -patient.spacing_mm[1], patient.spacing_mm[2], 1.0])
    for index in (0, patient.es_index):
        image, label = phases[index]
        stem = f"{folder.name}_frame{index + 1:02d}"
        _save(folder / f"{stem}.nii.gz", image, affine)
        _save(folder / f"{stem}_gt.nii.gz", label, affine)
    cine = np.stack([image for image, _ in phases], axis=-1)
    _save(folder / f"{folder.name}_4d.nii.gz", cine, affine, step_s=patient.beat_ms / 1e3 / patient.phases)
    info = {
        "ED": 1,
        "ES": patient.es_index + 1,
        "Group": patient.group,
        "Height": patient.height_cm,
        "NbFrame": patient.phases,
        "Weight": patient.weight_kg,
    }
    (folder / "Info.cfg").write_text("".join(f"{key}: {value}\n" for key, value in info.items()), encoding="utf-8")


def _save(path: Path, voxels: NDArray[Any], affine: NDArray[np.float64], *, step_s: float | None = None) -> None:
    image = _Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm", "sec" if step_s is not None else None)
    image.header["descrip"] = DESCRIPTION
    if step_s is not None:
        image.header["pixdim"][4] = step_s
    # nibabel leaves the time out of the gzip header, so the same voxels give the same bytes.
    nib.save(image, path)
