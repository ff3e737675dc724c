"""Grey values of DICOM images, as their headers say that they are to be understood."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array

from cinert.data.dicom_files import read_whole
from cinert.data.dicom_stack import Stack
from cinert.data.dicom_values import READ_ERRORS, quiet_pydicom, reason_of
from cinert.errors import BadInputError
from cinert.files import sha256_of

# Padding that is darker than every measured value by less than this share of their range is background like another:
# GE writes the value 0 as padding into every header.
_DARK_PADDING = 0.05


def read_pixels(stack: Stack, folder: Path) -> NDArray[np.float32]:
    """Read the grey values of a stack, bright where the image is meant to be bright.

    Each image is rescaled, or mapped by its modality LUT, as it says. Where low values are meant to be bright, all are
    mirrored within their range. Padding beyond the scanner's field of view takes the darkest measured value.

    Returns:
        (column, row, slice, phase).

    Raises:
        BadInputError: a file cannot be read, or slices hold every image several times.
    """
    rows, columns = stack.images[0][0].size
    shape = (columns, rows, len(stack.images), len(stack.images[0]))
    image = np.empty(shape, dtype=np.float32, order="F")
    padding = np.full(shape[2:], np.nan)
    with quiet_pydicom():
        for k, phases in enumerate(stack.images):
            for t, header in enumerate(phases):
                image[:, :, k, t], padding[k, t] = _grey(header.path, header.size)
    if np.isnan(image).all():
        raise BadInputError(f"the series in {folder} holds nothing but its PixelPaddingValue.")
    _refuse_copies(image, folder)
    if stack.images[0][0].inverted:
        low, high = np.nanmin(image), np.nanmax(image)
        image, padding = low + high - image, low + high - padding
    _fill_padding(image, padding)
    return image


def _grey(path: Path, size: tuple[int, int]) -> tuple[NDArray[np.float32], float]:
    """Grey values of one image, (column, row), NaN where it is padded; and the value that its padding stands for."""
    try:
        dataset = read_whole(path)
        values, padded = _stored(dataset, path)
        if values.shape != size:
            raise BadInputError(f"{path} holds an image of shape {values.shape}, not {size}.", hint="copy it again.")
        with np.errstate(over="ignore"):  # becomes infinite, which is refused below
            grey = _rescaled(values, dataset, path).astype(np.float32)
    except READ_ERRORS as error:
        raise BadInputError(f"cannot read the pixels of {path}: {reason_of(error)}.", hint="copy it again.") from error
    if not np.isfinite(grey).all():
        raise BadInputError(f"{path} holds pixels that are NaN or infinite.", hint="export the series again.")
    if not padded.any():
        return grey.T, np.nan
    level = float(grey[padded].max())
    grey[padded] = np.nan
    return grey.T, level


def _stored(dataset: Dataset, path: Path) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Pixels as they are stored, without the bits above BitsStored; and which of them are padding."""
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise BadInputError(
            f"{path} holds no pixel data.", hint="was the header exported alone, or the copy interrupted?"
        )
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not get_decoder(syntax).is_available:
        raise BadInputError(
            f"{path} is compressed as {syntax.name}, which cannot be decoded here.",
            hint="install pylibjpeg with its plug-ins, or decompress the series, e.g. with gdcmconv --raw.",
        )
    values = pixel_array(dataset)
    padded = _is_padding(values, dataset)
    if not syntax.is_compressed and values.dtype.kind in "iu":
        _refuse_more_pixels(values, dataset, path)
        if dataset.BitsAllocated > dataset.BitsStored:
            whole = pixel_array(dataset, correct_unused_bits=False)
            padded |= _is_padding(whole, dataset)
            _refuse_used_bits(whole[~padded], values[~padded], dataset, path)
    return values, padded


def _refuse_more_pixels(values: NDArray[Any], dataset: Dataset, path: Path) -> None:
    """A row more than Rows and Columns say means that they, and what lies where, are wrong."""
    spare = len(dataset.PixelData) - values.nbytes
    if spare >= values.nbytes // values.shape[0]:
        raise BadInputError(
            f"{path} holds {spare} bytes more of pixels than {dataset.Rows} Rows and {dataset.Columns} Columns take.",
            hint="export the series again.",
        )


def _refuse_used_bits(whole: NDArray[Any], values: NDArray[Any], dataset: Dataset, path: Path) -> None:
    """Bits above BitsStored may hold overlays, which the header names; anything else there may belong to the value."""
    stored = int(dataset.BitsStored)
    overlays = [dataset.get_item((group, 0x0102)) for group in range(0x6000, 0x6020, 2)]
    if any(overlay is not None and dataset[overlay.tag].value >= stored for overlay in overlays):
        return
    # Bits that only repeat the sign, or are missing from a negative value, are no more than another way to store it.
    differs = whole != values
    if np.any(whole[differs] & ~np.array((1 << stored) - 1).astype(whole.dtype)):
        raise BadInputError(
            f"{path} uses bits above its {stored} BitsStored, and names no overlay there.",
            hint="export the series again, or correct BitsStored.",
        )


def _is_padding(values: NDArray[Any], dataset: Dataset) -> NDArray[np.bool_]:
    """Which pixels are filled, and not measured (PS3.3, C.7.5.1.1.2)."""
    if dataset.get("PixelPaddingValue") is None or values.dtype.kind not in "iu":
        return np.zeros(values.shape, dtype=np.bool_)
    first = dataset.PixelPaddingValue
    last = first if dataset.get("PixelPaddingRangeLimit") is None else dataset.PixelPaddingRangeLimit
    # The header may hold 63536 for a signed -2000: the same bits.
    ends = np.array([int(first), int(last)]).astype(values.dtype)
    return np.asarray((values >= ends.min()) & (values <= ends.max()), dtype=np.bool_)


def _rescaled(values: NDArray[Any], dataset: Dataset, path: Path) -> NDArray[np.float64]:
    """Values in the scanner's unit: through the modality LUT, or by slope and intercept (PS3.3, C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        item = dataset.ModalityLUTSequence[0]
        entries, first, bits = (int(value) for value in item.LUTDescriptor)
        signed_first = first - 2**16 if dataset.PixelRepresentation == 1 and first >= 2**15 else first
        # pydicom takes entries of 8 or 16 bits only, and counts from the first entry in the type of the pixels.
        item.LUTDescriptor = [entries, signed_first, 8 if bits <= 8 else 16]
        return np.asarray(apply_modality_lut(values.astype(np.int32), dataset), dtype=np.float64)
    slope, intercept = (dataset.get(name) for name in ("RescaleSlope", "RescaleIntercept"))
    # An intercept alone, or a slope alone, is what it says; without either the values are in units of their own.
    factor, offset = 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)
    if factor == 0:
        raise BadInputError(f"{path} has the RescaleSlope 0, which leaves nothing of the image.")
    return np.asarray(values * factor + offset, dtype=np.float64)


def _refuse_copies(image: NDArray[np.float32], folder: Path) -> None:
    """Noise makes any two images differ; a slice whose images are all there several times was stored several times."""
    counts = [
        Counter(sha256_of(image[:, :, k, t].tobytes()) for t in range(image.shape[3])) for k in range(image.shape[2])
    ]
    times = {count for slice_counts in counts for count in slice_counts.values()}
    if len(times) == 1 and min(times) > 1 and all(len(slice_counts) > 1 for slice_counts in counts):
        raise BadInputError(
            f"every image of the series in {folder} is there {times.pop()} times, with the same pixels.",
            hint="was it sent or anonymised twice? Leave the copies out.",
        )


def _fill_padding(image: NDArray[np.float32], padding: NDArray[np.float64]) -> None:
    """Give padding the darkest measured value, in place; padding that is about as dark keeps its own."""
    if np.isnan(padding).all():
        return
    darkest = np.nanmin(image)
    reach = _DARK_PADDING * (np.nanmax(image) - darkest)
    for k, t in np.argwhere(~np.isnan(padding)):
        level = padding[k, t]
        own = darkest - reach <= level <= darkest
        plane = image[:, :, k, t]
        plane[np.isnan(plane)] = level if own else darkest
