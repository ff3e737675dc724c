"""Slices gathered into frames by phase and repetition, in whatever order they come.

Real-time series send slice after slice of one moment; gated cines send all phases of a slice before the next slice.
Both are gathered: a frame is complete when all of its slices are there. What cannot become a frame is declared once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ismrmrd
import numpy as np
from numpy.typing import NDArray

from bedside.frames import Frame
from bedside.mrd.geometry import GeometryError, sorted_stack

_USED_TYPES = (0, ismrmrd.IMTYPE_MAGNITUDE)
"""0: the client does not say."""
_COUNTER = 2**16
_MAX_OPEN = 1024
"""Frames that wait; refused ones hold no pixels and count all the same."""


class FrameKey(NamedTuple):
    """What the slices of a frame have in common (MRD image header)."""

    series: int
    image_type: int
    average: int
    contrast: int
    set: int
    phase: int
    repetition: int

    @classmethod
    def of(cls, image: Any) -> FrameKey:
        """The key of an `ismrmrd.Image`."""
        return cls(
            image.image_series_index,
            image.image_type,
            image.average,
            image.contrast,
            image.set,
            image.phase,
            image.repetition,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """A complete frame: `images` are its slices in the frame's order, for the headers of the answer."""

    key: FrameKey
    images: list[Any]
    frame: Frame
    fresh: tuple[int, ...] | None = None
    """Places of `images` along the frame's third axis, where the other slices are older; None: they are all of it."""

    @property
    def slices(self) -> tuple[int, ...]:
        """Numbers of the fresh slices; empty for a frame that was acquired as a whole."""
        return () if self.fresh is None else tuple(image.slice for image in self.images)


@dataclass(frozen=True, slots=True)
class Drop:
    """A frame that gets no mask, and why."""

    key: FrameKey
    reason: str
    slices: tuple[int, ...] = ()
    """Numbers of the slices, where they were sent one by one to be answered one by one."""


@dataclass(slots=True)
class _Open:
    """A frame that waits for slices. Once it is refused, the slices that still come belong to the same answer."""

    images: dict[int, Any] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    refused: bool = False

    @property
    def held_bytes(self) -> int:
        return sum(image.data.nbytes for image in self.images.values())


class Gatherer:
    """Collects the images of one client.

    Args:
        slices: 2D images in a frame; a 3D image is a frame of its own.
        max_held_bytes: pixels that may wait; the frame that waits longest goes first.
    """

    def __init__(self, slices: int, max_held_bytes: int) -> None:
        self._slices = slices
        self._max_held_bytes = max_held_bytes
        self._open: dict[FrameKey, _Open] = {}

    def add(self, image: Any, arrived_ns: int) -> list[Gathered | Drop]:
        """Take an `ismrmrd.Image`; give the frames that it completes, refuses or overtakes, oldest first."""
        key = FrameKey.of(image)
        if image.matrix_size[2] > 1:
            refusal = unusable(image)
            return [Drop(key, refusal) if refusal else _frame(key, [image], arrived_ns)]
        events: list[Gathered | Drop] = []
        waiting = self._open.get(key)
        if waiting is not None and image.slice in waiting.seen:
            events += self._give_up(key, f"slice {image.slice} came again before the frame was complete")
            waiting = None
        if waiting is None:
            waiting = self._open[key] = _Open()
        waiting.seen.add(image.slice)
        if not waiting.refused:
            refusal = self._refusal(image, waiting)
            if refusal:
                waiting.images.clear()
                waiting.refused = True
                events.append(Drop(key, refusal))
            else:
                waiting.images[image.slice] = image
        if len(waiting.seen) == self._slices:
            del self._open[key]
            if not waiting.refused:
                events += self._overtaken_by(key)
                events.append(_frame(key, list(waiting.images.values()), arrived_ns))
        return [*self._make_room(), *events]

    def finish(self) -> list[Drop]:
        """Give up whatever still waits: the client sends no more."""
        return [drop for key in list(self._open) for drop in self._give_up(key, "the client sent no more")]

    def _refusal(self, image: Any, waiting: _Open) -> str:
        if image.slice >= self._slices:
            return f"slice {image.slice}, counted from 0, of {self._slices}"
        for other in waiting.images.values():
            if other.matrix_size != image.matrix_size:
                ours, theirs = (" x ".join(map(str, each.matrix_size)) for each in (other, image))
                return f"slices of {ours} and of {theirs} pixels"
        return unusable(image)

    def _give_up(self, key: FrameKey, why: str) -> Iterator[Drop]:
        waiting = self._open.pop(key)
        if not waiting.refused:
            yield Drop(key, f"{len(waiting.images)} of {self._slices} slices came: {why}")

    def _overtaken_by(self, key: FrameKey) -> list[Drop]:
        """A complete frame ends the wait for earlier repetitions; the counter has 16 bits and wraps."""
        earlier = [
            other
            for other in self._open
            if other[:5] == key[:5] and 0 < (key.repetition - other.repetition) % _COUNTER < _COUNTER // 2
        ]
        return [drop for other in earlier for drop in self._give_up(other, "a later repetition was complete")]

    def _make_room(self) -> list[Drop]:
        drops: list[Drop] = []
        held = sum(waiting.held_bytes for waiting in self._open.values())
        while held > self._max_held_bytes or len(self._open) > _MAX_OPEN:
            oldest = next(iter(self._open))
            held -= self._open[oldest].held_bytes
            drops += self._give_up(oldest, "too many frames wait")
        return drops


NOT_FINITE = "pixels that are NaN or infinite"


def unusable(image: Any) -> str:
    """Why an image cannot be segmented; empty if it can."""
    if image.channels != 1:
        return f"an image of {image.channels} channels"
    if image.image_type not in _USED_TYPES or image.data.dtype.kind == "c":
        return f"image type {image.image_type} of {image.data.dtype} values; magnitude images are segmented"
    return ""


def _frame(key: FrameKey, images: list[Any], arrived_ns: int) -> Gathered | Drop:
    try:
        ordered, geometry = sorted_stack(images)
    except GeometryError as error:
        return Drop(key, f"not one regular stack: {error}")
    # (slice, row, column) as stored; the frame's axes are (column, row, slice).
    stack = finite_pixels(ordered)
    if stack is None:
        return Drop(key, NOT_FINITE)
    return Gathered(key, ordered, Frame(stack.T, geometry, arrived_ns))


def finite_pixels(images: list[Any]) -> NDArray[Any] | None:
    """Pixels of the images as (slice, row, column), real numbers as float32; None where one is NaN or infinite."""
    stack = np.concatenate([image.data[0] for image in images])
    if stack.dtype.kind == "f":
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            stack = stack.astype(np.float32, copy=False)
        if not np.isfinite(stack).all():
            return None
    return stack
