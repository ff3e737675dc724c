"""The phases of each slice put in time, and refused where they are not those of one acquisition."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cinert.data.dicom_header import Header
from cinert.errors import BadInputError

# In the order of trust: the time itself, then the scanner's count of it, then the order of storing.
_CLOCKS: dict[str, Callable[[Header], float | None]] = {
    "TriggerTime": lambda header: header.trigger_ms,
    "TemporalPositionIdentifier": lambda header: header.temporal_position,
    "InstanceNumber": lambda header: header.instance,
}
# Phases of a gated cine are evenly spaced to a rounded millisecond; those of two acquisitions fall between each other.
_SMALLEST_STEP = 0.25
# A slice is acquired within a breath-hold; the next acquisition of it comes after those of the other slices.
_PAUSE_S = 5.0
_ONE_ACQUISITION = "a cine has one image per slice and phase: leave the other acquisition out."

Slices = Sequence[list[Header]]


def sort_phases(slices: Slices, folder: Path) -> float | None:
    """Sort the images of each slice by time, in place.

    Args:
        slices: the images of each.
        folder: named in errors.

    Returns:
        Milliseconds from one phase to the next; None where the files do not say.

    Raises:
        BadInputError: the images do not say which phase they are, or contradict each other; a phase is there twice or
            missing; a slice was acquired twice, or with different contrasts; or there is one phase only.
    """
    _refuse_mixed_contrast(slices, folder)
    _refuse_two_acquisitions(slices, folder)
    clock = _clock(slices)
    for images in slices:
        images.sort(key=lambda header: _CLOCKS[clock](header) or 0.0)
    _refuse_duplicates(slices, clock, folder)
    _refuse_two_runs(slices, clock, folder)
    _refuse_uneven(slices, clock, folder)
    _refuse_contradiction(slices, clock, folder)
    _refuse_missing_phases(slices, folder)
    return _time_step_ms(slices, clock)


def _refuse_mixed_contrast(slices: Slices, folder: Path) -> None:
    for number, images in enumerate(slices, start=1):
        for name in images[0].contrast:
            first = images[0].contrast[name]
            for image in images[1:]:
                other = image.contrast[name]
                if not _same(first, other):
                    raise BadInputError(
                        f"slice {number} of {len(slices)} in {folder} mixes images of the {name} {_said(first)} and"
                        f" {_said(other)}: {images[0].path.name} and {image.path.name}.",
                        hint="a cine has one image per slice and phase: leave the others out.",
                    )


def _same(one: float | str | None, other: float | str | None) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=1e-2, atol=1e-3))
    return one == other


def _said(value: float | str | None) -> str:
    return "(none)" if value in (None, "") else f"{value:g}" if isinstance(value, float) else str(value)


def _refuse_two_acquisitions(slices: Slices, folder: Path) -> None:
    """Refuse a slice that says of itself that it was acquired more than once: a stack repeated under one UID."""
    for number, images in enumerate(slices, start=1):
        where = f"slice {number} of {len(slices)} in {folder}"
        counts = Counter(image.acquisition for image in images)
        # A number of its own for each image is a count of phases.
        if len(counts) > 1 and max(counts.values()) > 1:
            numbers = " and ".join(_said(value) for value in sorted(counts, key=str))
            raise BadInputError(
                f"{where} holds images of several acquisitions, AcquisitionNumber {numbers}.", hint=_ONE_ACQUISITION
            )
        for name, phases in images[0].stated_phases.items():
            if phases > 1 and len(images) > phases and len(images) % phases == 0:
                raise BadInputError(
                    f"{where} holds {len(images)} images, {len(images) / phases:g} times the {name} {phases:g}.",
                    hint=_ONE_ACQUISITION,
                )
        times = [image.acquired_s for image in images if image.acquired_s is not None]
        if len(times) == len(images) and (pause := _pause(times)) >= _PAUSE_S:
            raise BadInputError(
                f"{where} was acquired twice by its AcquisitionTime, with a pause of {pause:.0f} s.",
                hint=_ONE_ACQUISITION,
            )


def _refuse_two_runs(slices: Slices, clock: str, folder: Path) -> None:
    """Without trigger times a second acquisition follows the first in number; one run of phases counts evenly."""
    if clock == "TriggerTime":
        return
    for number, images in enumerate(slices, start=1):
        stored = sorted(image.instance for image in images if image.instance is not None)
        if len(set(stored)) == len(images) and _pause(stored) > 0:
            raise BadInputError(
                f"slice {number} of {len(slices)} in {folder} holds several runs of phases: its InstanceNumbers leap"
                f" between {stored[0]:g} and {stored[-1]:g}.",
                hint=_ONE_ACQUISITION,
            )


def _pause(values: Sequence[float]) -> float:
    """The shortest pause between runs of equal length, of two values or more each; 0 where there is one run only."""
    steps = np.diff(np.sort(values))
    if len(steps) < 3 or steps.max() <= 2 * max(float(np.median(steps)), 0.0):
        return 0.0
    pauses = np.flatnonzero(steps > steps.max() / 2)
    lengths = np.diff([-1, *pauses, len(steps)])
    return float(steps[pauses].min()) if len(set(lengths)) == 1 and lengths[0] > 1 else 0.0


def _clock(slices: Slices) -> str:
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


def _refuse_duplicates(slices: Slices, clock: str, folder: Path) -> None:
    for number, images in enumerate(slices, start=1):
        for one, other in itertools.pairwise(images):
            time = _CLOCKS[clock](one)
            if time == _CLOCKS[clock](other):
                raise BadInputError(
                    f"slice {number} of {len(slices)} in {folder} holds the phase of {clock} {time:g} twice:"
                    f" {one.path.name} and {other.path.name}.",
                    hint="remove the copy; magnitude and phase images must not be mixed.",
                )


def _refuse_uneven(slices: Slices, clock: str, folder: Path) -> None:
    """Trigger times of two acquisitions, whose beats differ, lie in pairs."""
    if clock != "TriggerTime":
        return
    for number, images in enumerate(slices, start=1):
        times = [image.trigger_ms or 0.0 for image in images]
        steps = np.diff(times)
        if len(steps) > 1 and steps.min() < _SMALLEST_STEP * steps.mean():
            pair = int(np.argmin(steps))
            raise BadInputError(
                f"slice {number} of {len(slices)} in {folder} has uneven TriggerTimes: {times[pair]:g} and"
                f" {times[pair + 1]:g} ms in {images[pair].path.name} and {images[pair + 1].path.name}, with phases"
                f" {steps.mean():.3g} ms apart.",
                hint="are two acquisitions mixed?",
            )


def _refuse_contradiction(slices: Slices, clock: str, folder: Path) -> None:
    """Two times that order the phases differently; where the beat begins may differ."""
    if clock != "TriggerTime":
        return
    for number, images in enumerate(slices, start=1):
        positions = [image.temporal_position for image in images]
        if None in positions or len(set(positions)) < len(positions):
            continue
        ranks = np.argsort(np.argsort(np.array(positions, dtype=np.float64)))
        if not np.all(np.diff(ranks) % len(ranks) == 1):
            raise BadInputError(
                f"slice {number} of {len(slices)} in {folder} has its phases in another order by TriggerTime than by"
                " TemporalPositionIdentifier.",
                hint="remove the attribute that is wrong from all of its images.",
            )


def _refuse_missing_phases(slices: Slices, folder: Path) -> None:
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


def _time_step_ms(slices: Slices, clock: str) -> float | None:
    phases = len(slices[0])
    if clock == "TriggerTime":
        return statistics.median(
            ((images[-1].trigger_ms or 0.0) - (images[0].trigger_ms or 0.0)) / (phases - 1) for images in slices
        )
    beat = slices[0][0].beat_ms
    return beat / phases if beat and beat > 0 else None
