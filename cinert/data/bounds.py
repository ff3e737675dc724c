"""What a short-axis stack of a human heart can measure: one set of bounds for files and for the MRD stream.

Wide on purpose. A grid outside is a header in another unit (metres, micrometres) or axes in another order
(time first), and every volume in ml that is computed on it is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cinert.errors import BadInputError

Lengths = Sequence[float] | NDArray[np.float64]

VOXEL_MM = (0.05, 100.0)
"""Finer: a field of 300 mm has 6000 pixels. Coarser: fewer than two slices in a heart."""
EXTENT_MM = 700.0
"""No bore is wider, and no cine stack longer."""
IN_PLANE = 0.3
"""Shorter side of a field of view over its longer one: fewer voxels than that in plane are phases, not voxels."""
DISTINCT_RATIO = 1.2
"""A stack is anisotropic only if its slices are thicker than voxels are wide beyond what rounding explains."""
STEP_MS = (5.0, 500.0)
"""From one phase to the next. Seconds that are called milliseconds are shorter, an R-R interval is longer."""


def check_geometry(shape: Sequence[int], spacing_mm: Lengths, *, what: str) -> None:
    """Refuse a grid that no stack of a heart can lie on.

    Args:
        shape: voxels along each axis of space.
        spacing_mm: distance between voxel centres along the same axes; where slices have gaps, from slice to slice.
        what: what lies on the grid, with its file: "image a.nii.gz".

    Raises:
        BadInputError: voxels or the whole of an axis are outside the bounds, or not numbers.
    """
    if fault := geometry_fault(shape, spacing_mm):
        raise BadInputError(
            f"{what} has {fault}.", hint="is the header in another unit than mm, or its axes in another order?"
        )


def geometry_fault(shape: Sequence[int], spacing_mm: Lengths) -> str:
    """What is wrong with a grid, in words; empty if it is within the bounds. Arguments as `check_geometry`."""
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    least, most = VOXEL_MM
    if not ((spacing >= least) & (spacing <= most)).all():
        return f"voxels of {_by(spacing)} mm; {least:g} to {most:g} mm are read"
    extent = spacing * shape
    if (extent > EXTENT_MM).any():
        return f"a grid of {_by(extent)} mm; up to {EXTENT_MM:g} mm are read along each axis"
    return ""


def check_axes(shape: Sequence[int], spacing_mm: Lengths, *, what: str) -> None:
    """Refuse a file in which time lies among the axes of space; where axes have names, as in DICOM and MRD, none does.

    Args:
        shape: as `check_geometry`.
        spacing_mm: as `check_geometry`, within the bounds.
        what: as `check_geometry`.

    Raises:
        BadInputError: a field of view is far narrower than high, or the reverse.
    """
    extent = np.asarray(spacing_mm, dtype=np.float64) * shape
    plane = np.delete(extent, slice_axis(spacing_mm))
    if plane.min() < IN_PLANE * plane.max():
        raise BadInputError(
            f"{what} has a field of view of {_by(plane)} mm in plane; one side is {IN_PLANE:g} of the other at least.",
            hint="are its axes in another order, time first?",
        )


def slice_axis(spacing_mm: Lengths) -> int:
    """The axis with the distinctly largest spacing of three, else the last."""
    spacing = np.asarray(spacing_mm)
    largest = int(np.argmax(spacing))
    others = np.delete(spacing, largest)
    return largest if spacing[largest] >= DISTINCT_RATIO * others.max() else 2


def is_cine_step(step_ms: float) -> bool:
    """Whether a cine's phases can be this far apart in time."""
    least, most = STEP_MS
    return least <= step_ms <= most


def _by(lengths_mm: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.4g}" for value in lengths_mm)
