"""Where the heart lies in a mask, whether it reaches the border of the crop, and how much of it may lie beyond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bedside.quality_features import Box
from cinert.data.grid import GridMap

_STEP_MM = 3.0
"""The outline in plane is looked at on every nth voxel, about so far apart."""
_LARGEST_MM = 120.0
"""Radius of a circle that may complete what the crop shows of a slice."""
_label: Any = ndimage.label  # untyped


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """Of the foreground of a mask.

    Attributes:
        middle_mm: world point in the middle of the largest piece in plane, what may be hidden of it included.
        touches: whether anything reaches a border of the crop in plane beyond which the image goes on.
        hidden_share: of the heart, beyond such a border, estimated.
    """

    middle_mm: NDArray[np.float64]
    touches: bool
    hidden_share: float


@dataclass(frozen=True, slots=True)
class _Hidden:
    """What lies beyond one border: how far at most, and the area, beside the whole; in voxels' sizes of mm."""

    reach_mm: float
    hidden_mm2: float
    whole_mm2: float


def outline_of(mask_stored: NDArray[np.uint8], grid: GridMap, box: Box) -> Outline:
    """Outline of a mask that was made through `grid`, and whose foreground lies in `box`."""
    view, spacing_mm = grid.field_of_view, grid.geometry.spacing_mm
    order = grid.stored_axes
    in_plane = order[1:]
    low, high = np.array([run.start for run in box], float), np.array([run.stop - 1 for run in box], float)
    heart_DHW = mask_stored[box].transpose(order)
    for number, (first, last) in _largest_piece(heart_DHW, [spacing_mm[axis] for axis in order]).items():
        axis = order[number]
        low[axis], high[axis] = box[axis].start + first, box[axis].start + last
    touches, hidden, whole = False, 0.0, 0.0
    for number, axis in enumerate(in_plane, start=1):
        mm, along_mm = spacing_mm[axis], spacing_mm[in_plane[2 - number]]
        # One voxel of the network: nearer to its border than that, nothing is known of what lies beyond.
        near = max(1, math.ceil(grid.spec.spacing_mm[number] / mm))
        lines = heart_DHW.swapaxes(1, number)
        before, behind = box[axis].start - view[axis].start, view[axis].stop - box[axis].stop
        if before < near and view[axis].start > 0:
            beyond = _beyond(lines, near - before, mm, along_mm)
            touches, hidden, whole = True, hidden + beyond.hidden_mm2, max(whole, beyond.whole_mm2)
            low[axis] -= beyond.reach_mm / mm
        if behind < near and view[axis].stop < mask_stored.shape[axis]:
            beyond = _beyond(lines[:, ::-1], near - behind, mm, along_mm)
            touches, hidden, whole = True, hidden + beyond.hidden_mm2, max(whole, beyond.whole_mm2)
            high[axis] += beyond.reach_mm / mm
    affine = grid.geometry.affine
    middle = affine[:3, :3] @ ((low + high) / 2) + affine[:3, 3]
    return Outline(middle, touches, hidden / whole if whole else 0.0)


def _largest_piece(heart_DHW: NDArray[np.uint8], spacing_mm: Sequence[float]) -> dict[int, tuple[int, int]]:
    """First and last voxel along H and W of the largest piece as seen along the slices; stray ones do not count."""
    y, x = (max(1, round(_STEP_MM / mm)) for mm in spacing_mm[1:])
    plane = np.maximum.reduce(heart_DHW, axis=0)[::y, ::x] > 0
    labels, pieces = _label(plane)
    if pieces < 2:
        return {}
    piece = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    runs = {}
    for number, step, line in ((1, y, piece.any(axis=1)), (2, x, piece.any(axis=0))):
        hit = np.flatnonzero(line)
        runs[number] = (int(hit[0]) * step, min(int(hit[-1]) * step + step - 1, heart_DHW.shape[number] - 1))
    return runs


def _beyond(lines: NDArray[np.uint8], near: int, mm: float, along_mm: float) -> _Hidden:
    """Complete every slice to a circle beyond its border.

    A slice that shows a chord of length c at the border, and reaches s away from it, is part of the circle of radius
    (c^2 / 4 + s^2) / 2 s.

    Args:
        lines: (slices, away from the border, along it), the first lines at the border.
        near: lines that count as the border.
        mm: from line to line.
        along_mm: from voxel to voxel of a line.
    """
    chords_mm = _extents(lines[:, :near].max(axis=1)) * along_mm
    reaches_mm = _extents(lines.max(axis=2)) * mm
    farthest, hidden, whole = 0.0, 0.0, 0.0
    for chord, reach in zip(chords_mm.tolist(), reaches_mm.tolist(), strict=True):
        if reach:
            radius = min((chord**2 / 4 + reach**2) / (2 * reach), max(_LARGEST_MM, reach / 2))
            circle = math.pi * radius**2
            depth = min(reach, 2 * radius)
            shown = radius**2 * math.acos((radius - depth) / radius) - (radius - depth) * math.sqrt(
                depth * (2 * radius - depth)
            )
            hidden, whole = hidden + circle - shown, whole + circle
            farthest = max(farthest, 2 * radius - depth if chord else 0.0)
    return _Hidden(farthest, hidden, whole)


def _extents(rows: NDArray[np.uint8]) -> NDArray[np.intp]:
    """From the first to the last voxel that is not background in each row; 0 where all are."""
    hit = rows > 0
    first, last = hit.argmax(axis=1), hit.shape[1] - hit[:, ::-1].argmax(axis=1)
    return np.where(hit.any(axis=1), last - first, 0)
