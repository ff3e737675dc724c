"""Where MRD images lie: image headers to one voxel grid, and a grid to image headers.

MRD gives the centre of an image and its directions in (Left, Posterior, Superior), mm; our world is (Right, Anterior,
Superior). The centre is taken half-way between the first and the last pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.mrd.messages import quoted
from cinert.data.bounds import Lengths, geometry_fault
from cinert.data.nifti import Geometry

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_DIRECTION_TOLERANCE = 1e-2
"""Of unit length and right angles: headers hold 32-bit floats that went through rounding."""
_SAME_SLICE_MM = 0.1
_EVEN = 0.02
"""Share of the slice step that steps may differ by."""
_MAX_SHIFT_MM = 1.0


class GeometryError(Exception):
    """Images that are not one regular stack."""


def sorted_stack(images: Sequence[Any]) -> tuple[list[Any], Geometry]:
    """Put the slices of a frame in order along their normal, whatever order they were acquired in.

    Args:
        images: `ismrmrd.Image`, of one matrix; one 3D image, or 2D slices.

    Returns:
        The images in order, and the grid with the axes (column, row, slice).

    Raises:
        GeometryError: a header says nothing usable, or the slices differ in direction or spacing, are shifted against
            each other, doubled or unevenly spaced.
    """
    first = images[0]
    row, column, through = _directions(first)
    field = _numbers(first.field_of_view, "field of view")
    spacing = field / np.array(first.matrix_size, dtype=np.float64)
    _refuse_out_of_bounds(first.matrix_size, spacing)
    if first.matrix_size[2] > 1:
        ordered, step = [first], through * spacing[2]
    else:
        normal = np.cross(row, column)
        centres = np.array([_numbers(image.position, "position") for image in images])
        order = np.argsort(centres @ normal, kind="stable")
        ordered = [images[number] for number in order]
        for image in ordered:
            _refuse_another(image, (row, column), field)
        step = _slice_step(centres[order], normal, spacing[2])
        # Slices may have gaps between them: their thickness does not say how far the stack reaches.
        _refuse_out_of_bounds((*first.matrix_size[:2], len(ordered)), (*spacing[:2], float(np.linalg.norm(step))))
    corner = _numbers(ordered[0].position, "position")
    columns, rows, depth = first.matrix_size
    edges = np.stack([row * spacing[0], column * spacing[1], step], axis=1)
    affine = np.eye(4)
    affine[:3, :3] = edges
    affine[:3, 3] = corner - edges @ (np.array([columns - 1, rows - 1, depth - 1]) / 2)
    return ordered, Geometry((columns, rows, max(depth, len(ordered))), _LPS_TO_RAS @ affine)


def slice_fields(geometry: Geometry, number: int) -> dict[str, Any]:
    """Fields of the image header of slice `number` of a grid with axes (column, row, slice)."""
    affine = _LPS_TO_RAS @ geometry.affine
    spacing = np.array(geometry.spacing_mm)
    row, column = (affine[:3, axis] / spacing[axis] for axis in (0, 1))
    columns, rows, _ = geometry.shape
    centre = affine @ [(columns - 1) / 2, (rows - 1) / 2, number, 1]
    return {
        "field_of_view": (columns * spacing[0], rows * spacing[1], spacing[2]),
        "position": tuple(centre[:3]),
        "read_dir": tuple(row),
        "phase_dir": tuple(column),
        "slice_dir": tuple(np.cross(row, column)),
    }


def _directions(image: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of columns along a row, of rows, and from slice to slice; MetaAttributes win, they describe turned images."""
    found = []
    for name, field in (("ImageRowDir", "read_dir"), ("ImageColumnDir", "phase_dir"), ("ImageSliceDir", "slice_dir")):
        found.append(_numbers(image.meta.get(name, getattr(image, field)), name))
    row, column, through = found
    if image.matrix_size[2] == 1:
        through = np.cross(row, column)
    matrix = np.stack([row, column, through])
    if np.abs(matrix @ matrix.T - np.eye(3)).max() > _DIRECTION_TOLERANCE:
        raise GeometryError("directions that are not perpendicular unit vectors")
    return row, column, through


def _numbers(values: Any, what: str) -> NDArray[np.float64]:
    try:
        numbers = np.array([float(value) for value in values], dtype=np.float64)
    except (TypeError, ValueError):
        said = values if isinstance(values, list) else [values]
        told = ", ".join("nothing" if value is None else str(value) for value in said)
        raise GeometryError(f"the {what} {quoted(told)}; three numbers are needed") from None
    if numbers.shape != (3,) or not np.isfinite(numbers).all():
        told = ", ".join(f"{value:g}" for value in numbers)
        raise GeometryError(f"the {what} {quoted(told)}; three finite numbers are needed")
    return numbers


def _refuse_out_of_bounds(shape: Sequence[int], spacing_mm: Lengths) -> None:
    if fault := geometry_fault(shape, spacing_mm):
        raise GeometryError(fault)


def _refuse_another(image: Any, directions: tuple[NDArray[np.float64], ...], field: NDArray[np.float64]) -> None:
    ours = np.concatenate([*directions, field])
    theirs = np.concatenate([*_directions(image)[:2], _numbers(image.field_of_view, "field of view")])
    if not np.allclose(ours, theirs, rtol=1e-3, atol=1e-3):
        raise GeometryError(f"slice {image.slice} has another direction or field of view than the others")


def _slice_step(centres: NDArray[np.float64], normal: NDArray[np.float64], thickness_mm: float) -> NDArray[np.float64]:
    """Vector from slice to slice; a single slice is as thick as its field of view."""
    if len(centres) == 1:
        return normal * thickness_mm
    heights = centres @ normal
    step_mm = float(heights[-1] - heights[0]) / (len(centres) - 1)
    steps = np.diff(heights)
    if steps.min() < _SAME_SLICE_MM:
        raise GeometryError("two slices in one place")
    if np.abs(steps - step_mm).max() > max(_SAME_SLICE_MM, _EVEN * step_mm):
        raise GeometryError(f"slices that are {steps.min():.4g} to {steps.max():.4g} mm apart")
    offset = centres - centres[0]
    if np.linalg.norm(offset - np.outer(offset @ normal, normal), axis=1).max() > _MAX_SHIFT_MM:
        raise GeometryError("slices that are shifted against each other")
    # The whole vector, so that the last slice lies where the scanner says.
    return np.asarray((centres[-1] - centres[0]) / (len(centres) - 1), dtype=np.float64)
