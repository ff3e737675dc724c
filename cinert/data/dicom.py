"""A DICOM cine series as a hospital hands it over: a folder with one file per slice and phase."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_rescale

from cinert.data.dicom_header import READ_ERRORS, choose_series, read_headers
from cinert.data.dicom_stack import Stack, sort_stack
from cinert.data.nifti import Cine, Geometry
from cinert.errors import BadInputError

_Nifti1Header: Any = nib.Nifti1Header  # untyped in nibabel


def read_dicom_cine(folder: Path, series: Sequence[str] = ()) -> Cine:
    """Read the cine series in a folder and below.

    Voxel (i, j, k, t) is column i, row j of slice k along the normal, in phase t: the order and the affine that
    DICOM-to-NIfTI converters give. Grey values are rescaled as each image says.

    Args:
        folder: of the files; their names and order do not matter.
        series: UIDs or numbers of the series to read, where there are several; they are joined to one stack.

    Raises:
        BadInputError: there is no cine, the series is not named or not one regular stack, or a file cannot be read.
    """
    stack = sort_stack(choose_series(read_headers(folder), series, folder), folder)
    first = stack.images[0][0]
    rows, columns = first.size
    image = np.empty((columns, rows, len(stack.images), len(stack.images[0])), dtype=np.float32, order="F")
    for k, phases in enumerate(stack.images):
        for t, header in enumerate(phases):
            image[:, :, k, t] = _pixels(header.path, header.size).T
    header = _nifti_header(stack, image.shape)
    geometry = Geometry((columns, rows, len(stack.images)), header.get_best_affine())
    return Cine(image, geometry, header, stack.time_step_ms)


def _pixels(path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    """Grey values, (rows, columns)."""
    try:
        dataset = dcmread(path)
        if "PixelData" not in dataset:
            raise BadInputError(f"{path} holds no pixel data.", hint="was the header exported alone?")
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_compressed and not get_decoder(syntax).is_available:
            raise BadInputError(
                f"{path} is compressed as {syntax.name}, which cannot be decoded here.",
                hint="install pylibjpeg with its plug-ins, or decompress the series, e.g. with gdcmconv --raw.",
            )
        with np.errstate(over="ignore"):  # becomes infinite, which is refused below
            values = np.asarray(apply_rescale(dataset.pixel_array, dataset), dtype=np.float32)
    except READ_ERRORS as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise BadInputError(f"cannot read the pixels of {path}: {reason}.", hint="copy it again.") from error
    if values.shape != size:
        raise BadInputError(f"{path} holds an image of shape {values.shape}, not {size}.", hint="colour has no place.")
    if not np.isfinite(values).all():
        raise BadInputError(f"{path} holds pixels that are NaN or infinite.", hint="export the series again.")
    return values


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
