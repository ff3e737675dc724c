"""Patients in ACDC's on-disk layout.

Source: O. Bernard et al., IEEE TMI 37(11):2514-2525, 2018. Uncompressed .nii files and pairs of .hdr and .img are read
too; the 4D cine may be absent.
"""

from __future__ import annotations

from pathlib import Path

from cinert.data.complete import refuse_left_out
from cinert.data.patients import Frame, Patient, Phase, find_nifti, require_nifti
from cinert.data.text import read_text
from cinert.errors import BadInputError

PICTURE = "FOLDER/patientXXX/{Info.cfg, patientXXX_frameNN.nii.gz, patientXXX_frameNN_gt.nii.gz}"
MARKER = "*/Info.cfg"
_PHASES: tuple[Phase, ...] = ("ED", "ES")


def read_acdc(folder: Path) -> list[Patient]:
    """Find the patients in a folder, sorted by id; volumes are not read yet.

    Raises:
        BadInputError: an Info.cfg cannot be used, a file is missing, or a folder looks like a patient and has no
            Info.cfg.
    """
    patients = [path.parent for path in sorted(folder.glob(MARKER))]
    refuse_left_out(folder, {path.name for path in patients}, "it has no Info.cfg")
    return [_read_patient(path) for path in patients]


def _read_patient(folder: Path) -> Patient:
    info_path = folder / "Info.cfg"
    info = _read_info(info_path)
    frames = tuple(_find_frame(folder, phase, _frame_number(info, phase, info_path)) for phase in _PHASES)
    cine = find_nifti(folder / f"{folder.name}_4d")
    return Patient(id=folder.name, group=info.get("Group", ""), frames=frames, cine_path=cine)


def _read_info(path: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in read_text(path).splitlines() if ":" in line)
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
    hint = f"{folder / 'Info.cfg'} says {phase}: {index}."
    return Frame(
        patient_id=folder.name,
        index=index,
        phase=phase,
        image_path=require_nifti(stem, f"the image of {phase}", hint),
        label_path=require_nifti(stem.with_name(f"{stem.name}_gt"), f"the label map of {phase}", hint),
    )
