"""A DICOM cine series as a hospital hands it over: a folder with one file per slice and phase."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from cinert.data.dicom_pixels import read_pixels
from cinert.data.dicom_series import read_stack
from cinert.data.dicom_stack import Stack
from cinert.data.nifti import Cine, Geometry

_Nifti1Header: Any = nib.Nifti1Header  # untyped in nibabel


def read_dicom_cine(folder: Path, series: Sequence[str] = ()) -> Cine:
    """Read the cine series in a folder and below.

    Voxel (i, j, k, t) is column i, row j of slice k along the normal, in phase t: the order and the affine that
    DICOM-to-NIfTI converters give. Grey values are rescaled as each image says.

    Args:
        folder: of the files; their names and order do not matter.
        series: UIDs or numbers of the series to read, where there are several; they are joined to one stack.

    Raises:
        BadInputError: there is no cine, the series is not named or not one regular stack of one acquisition, or a file
            cannot be read.
    """
    stack, notes = read_stack(folder, series)
    image = read_pixels(stack, folder)
    header = _nifti_header(stack, image.shape)
    columns, rows, slices, _ = image.shape
    geometry = Geometry((columns, rows, slices), header.get_best_affine())
    return Cine(image, geometry, header, stack.time_step_ms, tuple(notes))


def _nifti_header(stack: Stack, shape: tuple[int, ...]) -> Any:
    """The header that a NIfTI of this series has; masks are written with it."""
    header = _Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape(shape)
    header.set_qform(stack.affine, code="scanner")
    header.set_sform(stack.affine, code="scanner")
    header.set_xyzt_units("mm", "sec" if stack.time_step_ms is not None else None)
    if stack.time_step_ms is not None:
        header["pixdim"][4] = stack.time_step_ms / 1e3
    return header
