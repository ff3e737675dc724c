"""DICOM images put in order: slices along the normal, phases in time, and where their voxels lie."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinert.data.dicom_header import Header
from cinert.errors import BadInputError

SAME_SLICE_MM = 0.1
"""Positions closer than this are one slice: scanners round what they write."""
MAX_SHIFT_MM = 1.0
"""In-plane shift between slices that one affine may leave out."""

# In the order of trust: the time itself, then the scanner's count of it, then the order of storing.
_CLOCKS: dict[str, Callable[[Header], float | None]] = {
    "TriggerTime": lambda header: header.trigger_ms,
    "TemporalPositionIdentifier": lambda header: header.temporal_position,
    "InstanceNumber": lambda header: header.instance,
}


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
        BadInputError: images differ in size, spacing or direction; a slice is there twice or lacks phases; slices are
            not evenly spaced or shifted against each other; or there is one phase only.
    """
    _refuse_mixed(headers, folder)
    along = np.array(headers[0].orientation).reshape(2, 3)
    normal = np.cross(along[0], along[1])
    slices = _slices(headers, normal)
    clock = _clock(slices)
    for images in slices:
        images.sort(key=lambda header: _CLOCKS[clock](header) or 0.0)
    _refuse_duplicates(slices, clock, folder)
    _refuse_missing_phases(slices, folder)
    step = _slice_step(slices, normal, folder)
    first = np.array(slices[0][0].position_mm)
    row_mm, column_mm = headers[0].spacing_mm
    affine = np.eye(4)
    affine[:3] = np.stack([along[0] * column_mm, along[1] * row_mm, step, first], axis=1)
    # DICOM's world is (Left, Posterior, Superior), NIfTI's (Right, Anterior, Superior).
    return Stack(slices, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, _time_step_ms(slices, clock))


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


def _height(header: Header, normal: NDArray[np.float64]) -> float:
    return float(np.dot(header.position_mm, normal))


def _clock(slices: Sequence[Sequence[Header]]) -> str:
    """The first of `_CLOCKS` that every image has and that moves in every slice."""
    for name, time_of in _CLOCKS.items():
        times = [[time_of(image) for image in images] for images in slices]
        if all(None not in row and (len(row) == 1 or len(set(row)) > 1) for row in times):
            return name
    first = slices[0][0].path
    raise BadInputError(
        f"the images in {first.parent} do not say which phase they are, e.g. {first.name}.",
        hint="they need TriggerTime, TemporalPositionIdentifier or InstanceNumber.",
    )


def _refuse_duplicates(slices: Sequence[Sequence[Header]], clock: str, folder: Path) -> None:
    for number, images in enumerate(slices, start=1):
        for one, other in itertools.pairwise(images):
            time = _CLOCKS[clock](one)
            if time == _CLOCKS[clock](other):
                raise BadInputError(
                    f"slice {number} of {len(slices)} in {folder} holds the phase of {clock} {time:g} twice:"
                    f" {one.path.name} and {other.path.name}.",
                    hint="remove the copy; magnitude and phase images must not be mixed.",
                )


def _refuse_missing_phases(slices: Sequence[Sequence[Header]], folder: Path) -> None:
    counts = [len(images) for images in slices]
    usual = Counter(counts).most_common(1)[0][0]
    odd = [f"slice {number} has {count}" for number, count in enumerate(counts, start=1) if count != usual]
    if odd:
        raise BadInputError(
            f"the slices in {folder} differ in their phases: {len(counts) - len(odd)} of {len(counts)} have {usual},"
            f" but {', '.join(odd)}.",
            hint="export the series again, with all of its images; slices count from 1 along the normal.",
        )
    if usual == 1:
        raise BadInputError(f"the series in {folder} has one phase only.", hint="a cine has several images per slice.")


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


def _time_step_ms(slices: Sequence[Sequence[Header]], clock: str) -> float | None:
    phases = len(slices[0])
    if clock == "TriggerTime":
        return statistics.median(
            ((images[-1].trigger_ms or 0.0) - (images[0].trigger_ms or 0.0)) / (phases - 1) for images in slices
        )
    beat = slices[0][0].beat_ms
    return beat / phases if beat and beat > 0 else None
