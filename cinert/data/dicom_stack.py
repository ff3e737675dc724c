"""DICOM images put in order: slices along the normal, phases in time, and where their voxels lie."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinert.data.dicom_header import Header
from cinert.data.dicom_phases import sort_phases
from cinert.errors import BadInputError

SAME_SLICE_MM = 0.1
"""Positions closer than this are one slice: scanners round what they write."""
MAX_SHIFT_MM = 1.0
"""In-plane shift between slices that one affine may leave out."""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """A cine series in order.

    Attributes:
        images: images[slice][phase]; slices along the normal (row direction x column direction), phases in time.
        affine: 4 x 4, float64: (column, row, slice) to world coordinates in mm (Right, Anterior, Superior).
        time_step_ms: from one phase to the next; None where the files do not say.
    """

    images: list[list[Header]]
    affine: NDArray[np.float64]
    time_step_ms: float | None


def sort_stack(headers: Sequence[Header], folder: Path) -> Stack:
    """Put the images of a series in order.

    Args:
        headers: at least one.
        folder: named in errors.

    Raises:
        BadInputError: images differ in size, spacing, direction, grey scale or patient; slices are not evenly spaced or
            shifted against each other; or the phases of a slice are not those of one acquisition, as `sort_phases`.
    """
    _refuse_mixed(headers, folder)
    _refuse_mixed_meaning(headers, folder)
    along = np.array(headers[0].orientation).reshape(2, 3)
    normal = np.cross(along[0], along[1])
    slices = _slices(headers, normal)
    _refuse_other_locations(slices, folder)
    time_step_ms = sort_phases(slices, folder)
    step = _slice_step(slices, normal, folder)
    first = np.array(slices[0][0].position_mm)
    row_mm, column_mm = headers[0].spacing_mm
    affine = np.eye(4)
    affine[:3] = np.stack([along[0] * column_mm, along[1] * row_mm, step, first], axis=1)
    # DICOM's world is (Left, Posterior, Superior), NIfTI's (Right, Anterior, Superior).
    return Stack(slices, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, time_step_ms)


def _refuse_mixed(headers: Sequence[Header], folder: Path) -> None:
    first = headers[0]
    for header in headers[1:]:
        for what, ours, theirs in (
            ("sizes", first.size, header.size),
            ("pixel spacings", first.spacing_mm, header.spacing_mm),
            ("orientations", first.orientation, header.orientation),
        ):
            if not np.allclose(ours, theirs, rtol=1e-3, atol=1e-3):
                raise BadInputError(
                    f"the series in {folder} mixes {what}: {_values(ours)} in {first.path.name},"
                    f" {_values(theirs)} in {header.path.name}.",
                    hint="leave the images out that do not belong to the stack.",
                )


def _refuse_mixed_meaning(headers: Sequence[Header], folder: Path) -> None:
    first = headers[0]
    for header in headers[1:]:
        if header.inverted != first.inverted:
            raise BadInputError(
                f"the series in {folder} mixes MONOCHROME1 and MONOCHROME2: {first.path.name} and {header.path.name}.",
                hint="export the series again without presentation settings.",
            )
        if header.patient != first.patient:
            raise BadInputError(
                f"the series in {folder} mixes patients: {first.path.name} and {header.path.name} differ in PatientID.",
                hint="choose the series of one patient.",
            )


def _values(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _slices(headers: Sequence[Header], normal: NDArray[np.float64]) -> list[list[Header]]:
    ordered = sorted(headers, key=lambda header: _height(header, normal))
    slices = [[ordered[0]]]
    for header in ordered[1:]:
        if _height(header, normal) - _height(slices[-1][0], normal) < SAME_SLICE_MM:
            slices[-1].append(header)
        else:
            slices.append([header])
    return slices


def _refuse_other_locations(slices: Sequence[Sequence[Header]], folder: Path) -> None:
    """Images at one position are one slice; a SliceLocation that says otherwise means that positions were blanked."""
    for number, images in enumerate(slices, start=1):
        known = [image for image in images if image.location_mm is not None]
        ordered = sorted(known, key=lambda image: image.location_mm or 0.0)
        if ordered and (ordered[-1].location_mm or 0.0) - (ordered[0].location_mm or 0.0) > MAX_SHIFT_MM:
            raise BadInputError(
                f"slice {number} of {len(slices)} in {folder} has one ImagePositionPatient, but the SliceLocation"
                f" {ordered[0].location_mm:.4g} mm in {ordered[0].path.name} and {ordered[-1].location_mm:.4g} mm in"
                f" {ordered[-1].path.name}.",
                hint="were the positions removed with the patient's name? Export the series again.",
            )


def _height(header: Header, normal: NDArray[np.float64]) -> float:
    return float(np.dot(header.position_mm, normal))


def _slice_step(slices: Sequence[Sequence[Header]], normal: NDArray[np.float64], folder: Path) -> NDArray[np.float64]:
    """Vector from one slice to the next, in mm, DICOM's world."""
    heights = np.array([_height(images[0], normal) for images in slices])
    if len(slices) == 1:
        step_mm = slices[0][0].slice_step_mm
        if not step_mm or step_mm < 0:
            raise BadInputError(f"the only slice in {folder} does not say how thick it is.")
        return normal * step_mm
    steps = np.diff(heights)
    # A missing slice makes a step longer, so of two middle ones the shorter is the usual one.
    usual = statistics.median_low(steps.tolist())
    wrong = int(np.argmax(np.abs(steps - usual)))
    if abs(steps[wrong] - usual) > max(SAME_SLICE_MM, 0.02 * usual):
        raise BadInputError(
            f"the slices in {folder} are not evenly spaced: slices {wrong + 1} and {wrong + 2} are"
            f" {steps[wrong]:.4g} mm apart, others {usual:.4g} mm.",
            hint="is a slice missing? Slices count from 1 along the normal.",
        )
    origin = np.array(slices[0][0].position_mm)
    for images in slices:
        for image in images:
            offset = np.array(image.position_mm) - origin
            shift = float(np.linalg.norm(offset - normal * (offset @ normal)))
            if shift > MAX_SHIFT_MM:
                raise BadInputError(
                    f"the slices in {folder} are shifted against each other: {image.path.name} lies {shift:.1f} mm"
                    " beside the normal of the first slice.",
                    hint="only stacks of slices one behind the other can be read.",
                )
    # The whole vector, not the normal alone, so that the last slice lies where the scanner says to the last digit.
    last = np.array(slices[-1][0].position_mm)
    return np.asarray((last - origin) / (len(slices) - 1), dtype=np.float64)
