"""How a phantom's files are told from a patient's: by a word in their header, or by the file beside their folders."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import nibabel as nib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from cinert.data.patients import Patient

MARKER = "phantom.json"
"""In the folder that `make-phantom` wrote."""
DESCRIPTION = b"CineRT phantom"
"""`descrip` in the NIfTI header, so that a file is known wherever it is copied to."""
_UNREADABLE = (OSError, EOFError, ValueError, LookupError, zlib.error, ImageFileError, HeaderDataError)


def is_phantom(patient: Patient) -> bool:
    """Whether `make-phantom` drew this patient; what is wrong with a file is left to whoever reads its voxels."""
    path = patient.frames[0].image_path
    if (path.parent.parent / MARKER).is_file():
        return True
    try:
        file: Any = nib.load(path)
        return bool(file.header["descrip"].item() == DESCRIPTION)
    except _UNREADABLE:
        return False


def tally(patients: Sequence[Patient]) -> tuple[int, int]:
    """How many patients there are, and how many phantoms."""
    phantoms = sum(map(is_phantom, patients))
    return len(patients) - phantoms, phantoms
