"""What the pictures show: which slices, cut out how, the right way up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinert.data.nifti import Geometry
from cinert.data.orientation import Orientation, orientation_of

MAX_SLICES = 6
MARGIN_MM = 14.0
MIN_SIDE_MM = 90.0
STRAY_SHARE = 0.1
"""Of the largest slice's area: fewer voxels than this do not make a slice worth showing."""
WINDOW_PERCENT = (1, 99.5)
"""Of the grey values: black and white."""
GAMMA = 0.8
"""Blood is so bright in cine MRI that the muscle would drown in black without one below 1."""
LEVELS = ("basal", "mid-ventricular", "apical")
_MYO = 2
"""Labels from here on, MYO and LV, make up the left ventricle."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class View:
    """Slices of a cine, cropped around the heart, as the network sees them: x towards Left, y towards Posterior."""

    image_SYXT: NDArray[np.float32]
    """Grey values, windowed to 0..1."""
    mask_SYXT: NDArray[np.uint8]
    slices: tuple[int, ...]
    """Stored index of each slice, in the order shown."""
    names: tuple[str, ...]
    """What is written on each slice."""
    side_mm: tuple[float, float]
    """Height and width of the crop."""


def heart_view(image: NDArray[np.float32], mask: NDArray[np.uint8], geometry: Geometry) -> View:
    """Choose up to six slices evenly over the heart and a square around it that holds it in every phase.

    Slices ascend by their stored index: few files say which end is the base.

    Args:
        image: (x, y, z, t), stored axes.
        mask: the same shape, 0..3. Where it is empty, the middle slices are shown whole.
        geometry: of one phase.
    """
    orientation = orientation_of(geometry)
    chosen = _choose_slices(turned(mask, orientation))
    return _cut(image, mask, geometry, chosen[::-1] if orientation.flipped[0] else chosen, ())


def level_view(image: NDArray[np.float32], mask: NDArray[np.uint8], geometry: Geometry, *, ed_phase: int) -> View:
    """Choose a basal, a mid-ventricular and an apical slice, cut out as `heart_view` does.

    They are the middles of the thirds of the left ventricle at end diastole; the base is the end where more of the
    heart is found. Where the mask holds the ventricle in fewer than three slices, up to three slices are shown by
    number alone.

    Args:
        image: as `heart_view`.
        mask: as `heart_view`.
        geometry: as `heart_view`.
        ed_phase: end diastole, counted from 0.
    """
    ed_ZYX = turned(mask, orientation_of(geometry))[..., ed_phase]
    ventricle = np.count_nonzero(ed_ZYX >= _MYO, axis=(1, 2))
    present = np.flatnonzero(ventricle > STRAY_SHARE * ventricle.max()) if ventricle.max() else np.arange(len(ed_ZYX))
    if len(present) < len(LEVELS) or not ventricle.max():
        return _cut(image, mask, geometry, evenly(present, min(len(LEVELS), len(present))), ())
    heart = np.count_nonzero(ed_ZYX, axis=(1, 2))[present]
    third = len(present) // len(LEVELS)
    chosen = evenly(present, len(LEVELS))
    upwards = heart[-third:].sum() > heart[:third].sum()
    return _cut(image, mask, geometry, chosen[::-1] if upwards else chosen, LEVELS)


def turned(volume: NDArray[Any], orientation: Orientation) -> NDArray[Any]:
    """View of (x, y, z, t) as stored as (z, y, x, t) as the network sees it."""
    flips = tuple(slice(None, None, -1 if flipped else 1) for flipped in orientation.flipped)
    return volume.transpose((*orientation.stored_axis, 3))[flips]


def _cut(
    image: NDArray[np.float32], mask: NDArray[np.uint8], geometry: Geometry, chosen: list[int], names: tuple[str, ...]
) -> View:
    orientation = orientation_of(geometry)
    image_ZYXT, mask_ZYXT = turned(image, orientation), turned(mask, orientation)
    spacing = [geometry.spacing_mm[axis] for axis in orientation.stored_axis]
    hit_YX = np.asarray(mask_ZYXT.any(axis=(0, 3)))
    lines = np.asarray(hit_YX.any(axis=1)), np.asarray(hit_YX.any(axis=0))
    rows, columns = square_around(*lines, spacing[1], spacing[2])
    cut_image = np.asarray(image_ZYXT[chosen][:, rows, columns], dtype=np.float32)
    stored = tuple(len(image_ZYXT) - 1 - z if orientation.flipped[0] else z for z in chosen)
    numbers = [f"slice {index + 1}" for index in stored]
    return View(
        image_SYXT=_window(cut_image),
        mask_SYXT=np.ascontiguousarray(mask_ZYXT[chosen][:, rows, columns]),
        slices=stored,
        names=tuple(map(", ".join, zip(names, numbers, strict=True))) if names else tuple(numbers),
        side_mm=(cut_image.shape[1] * spacing[1], cut_image.shape[2] * spacing[2]),
    )


def _choose_slices(mask_ZYXT: NDArray[np.uint8]) -> list[int]:
    area = np.count_nonzero(mask_ZYXT, axis=(1, 2)).max(axis=1)
    present = np.flatnonzero(area > STRAY_SHARE * area.max()) if area.max() else np.arange(len(area))
    return evenly(present, min(MAX_SLICES, len(present)))


def evenly(present: NDArray[np.intp], count: int) -> list[int]:
    """Choose `count` of the slices, inner ones where there is a choice: the outermost show little of the heart."""
    centres = (np.arange(count) + 0.5) / count * len(present) - 0.5
    return [int(present[round(position)]) for position in centres]


def square_around(
    rows: NDArray[np.bool_], columns: NDArray[np.bool_], height_mm: float, width_mm: float
) -> tuple[slice, slice]:
    """Rows and columns of a square around the heart, moved inwards where it would leave the image.

    Args:
        rows: (y,), where the heart is; with `columns` nowhere, the whole image is taken.
        columns: (x,), the same.
        height_mm: of a voxel.
        width_mm: of a voxel.
    """
    if not rows.any():
        return slice(0, len(rows)), slice(0, len(columns))
    ends = [np.flatnonzero(line)[[0, -1]].tolist() for line in (rows, columns)]
    spans = [(last - first + 1) * mm for (first, last), mm in zip(ends, (height_mm, width_mm), strict=True)]
    side = max(MIN_SIDE_MM, max(spans) + 2 * MARGIN_MM)
    runs = []
    for (first, last), size, mm in zip(ends, (len(rows), len(columns)), (height_mm, width_mm), strict=True):
        length = min(size, math.ceil(side / mm))
        start = min(max(0, round((first + last + 1 - length) / 2)), size - length)
        runs.append(slice(start, start + length))
    return runs[0], runs[1]


def _window(image: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = np.percentile(image, WINDOW_PERCENT)
    # Not by a smallest width: grey values may be in any unit.
    scaled: NDArray[np.float32] = np.clip((image - low) / (high - low or 1), 0, 1) ** np.float32(GAMMA)
    return scaled
