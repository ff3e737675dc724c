"""Slices gathered into frames by phase and repetition, in whatever order they come.

Real-time series send slice after slice of one moment; gated cines send all phases of a slice before the next slice.
Both are gathered: a frame is complete when all of its slices are there. What cannot become a frame is declared once.
Where the slices of a scan do not agree in the numbers of their phases, they are counted in the order of their phases
(`bedside.mrd.scan`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import ismrmrd
import numpy as np
from numpy.typing import NDArray

from bedside.frames import Frame
from bedside.mrd.geometry import GeometryError, sorted_stack
from bedside.mrd.scan import Came, FrameKey, OpenFrame, Place, Scan, bytes_of

_USED_TYPES = (0, ismrmrd.IMTYPE_MAGNITUDE)
"""0: the client does not say."""
_COUNTER = 2**16
_MAX_OPEN = 4096
"""Frames that wait; refused ones hold no pixels and count all the same. In a gated scan whose slices do not agree in
their phase numbers, each image waits for itself."""
_MAX_SCANS = 64
"""That are remembered when nothing of them waits any more."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A frame that gets no mask, and why."""

    key: FrameKey
    reason: str
    slices: tuple[int, ...] = ()
    """Numbers of the slices, where they were sent one by one to be answered one by one, or differ in their phases."""
    phases: tuple[int, ...] = ()
    """Phase numbers of `slices`, where they differ."""


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """A complete frame: `images` are its slices in the frame's order, for the headers of the answer."""

    key: FrameKey
    images: list[Any]
    frame: Frame
    fresh: tuple[int, ...] | None = None
    """Places of `images` along the frame's third axis, where the other slices are older; None: they are all of it."""
    gated: bool = False
    """Whether it is one of many that a gated scan completes at its end: none of them is fresher than another."""

    @property
    def slices(self) -> tuple[int, ...]:
        """Numbers of the fresh slices; empty for a frame that was acquired as a whole."""
        return () if self.fresh is None else tuple(image.slice for image in self.images)

    def dropped(self, reason: str) -> Drop:
        """The frame without a mask."""
        return _dropped(self.key, self.images, reason) if self.fresh is None else Drop(self.key, reason, self.slices)


class Gatherer:
    """Collects the images of one client.

    Args:
        slices: 2D images in a frame; a 3D image is a frame of its own.
        max_held_bytes: pixels that may wait; the frame that waits longest goes first.
        by_order: count the images of each slice in the order of their phases where the slices' numbers do not agree;
            False goes by the numbers alone.
    """

    def __init__(self, slices: int, max_held_bytes: int, *, by_order: bool = False) -> None:
        self._slices = slices
        self._max_held_bytes = max_held_bytes
        self._by_order = by_order
        self._scans: dict[FrameKey, Scan] = {}
        self._held_bytes = 0
        self._waiting = 0

    def add(self, image: Any, arrived_ns: int) -> list[Gathered | Drop]:
        """Take an `ismrmrd.Image`; give the frames that it completes, refuses or overtakes, oldest first."""
        key = FrameKey.of(image)
        if image.matrix_size[2] > 1:
            refusal = unusable(image)
            return [Drop(key, refusal) if refusal else _frame(key, [Came(image, arrived_ns)])]
        scan = self._scans.get(key.scan) or self._begin(key.scan)
        events: list[Gathered | Drop] = []
        place = scan.place_of(key, image.slice) if self._by_order else (key.phase, 0)
        waiting = scan.frames.get(place)
        if waiting is not None and image.slice in waiting.seen:
            events += self._repeated(scan, waiting, image.slice)
            waiting = scan.frames.get(place)
        self._waiting += waiting is None
        if waiting is not None and waiting.refused:
            scan.refuse(key, place, image.slice)
        elif refusal := self._refusal(image, waiting):
            self._held_bytes -= 0 if waiting is None else waiting.held_bytes
            scan.refuse(key, place, image.slice)
            events.append(Drop(key, refusal))
        else:
            scan.put(key, place, Came(image, arrived_ns))
            self._held_bytes += bytes_of(image)
        if scan.frames[place].refused and len(scan.frames[place].seen) == self._slices:
            self._freed(scan.give_up(place))
        events += self._answer_ready(scan)
        return [*self._make_room(), *events]

    def _begin(self, key: FrameKey) -> Scan:
        for other in [other for other, scan in self._scans.items() if not scan.frames][:-_MAX_SCANS]:
            del self._scans[other]
        self._scans[key] = Scan(self._slices)
        return self._scans[key]

    def finish(self) -> list[Gathered | Drop]:
        """Answer what waits in the order of its phases, and give up the rest: the client sends no more."""
        return [event for scan in self._scans.values() for event in self._settle(scan, "the client sent no more")]

    def _refusal(self, image: Any, waiting: OpenFrame | None) -> str:
        if image.slice >= self._slices:
            return f"slice {image.slice}, counted from 0, of {self._slices}"
        others = [] if waiting is None else [came.image for came in waiting.images.values()]
        return _sizes_differ([*others, image]) or unusable(image)

    def _answer_ready(self, scan: Scan) -> list[Gathered | Drop]:
        events: list[Gathered | Drop] = []
        gated = scan.slice_by_slice
        for place in scan.ready() if self._by_order else scan.full():
            frame = self._freed(scan.answer(place))
            events += self._overtaken_by(frame.key)
            events.append(_frame(frame.key, frame.images.values(), gated=gated))
        return events

    def _repeated(self, scan: Scan, waiting: OpenFrame, number: int) -> Iterator[Gathered | Drop]:
        """Slice `number` came again: the frame begins anew, or the scan if the frame was whole."""
        why = f"slice {number} came again before the frame was complete"
        if len(waiting.images) == self._slices:
            yield from self._settle(scan, why)
        else:
            yield from self._give_up(scan, waiting.place, why, repeated=number)

    def _settle(self, scan: Scan, why: str) -> Iterator[Gathered | Drop]:
        """Answer what waits of a scan that gets no more images: in order, else by number; the rest is given up."""
        ordered = scan.in_order() if self._by_order else []
        counted = scan.counted() if self._by_order and not ordered and len(scan.frames) > 1 else ""
        for images in ordered:
            yield _frame(FrameKey.of(images[0].image), images, gated=True)
        full = set(scan.full())
        for place in list(scan.frames):
            if ordered:
                self._freed(scan.give_up(place))
            elif place in full:
                frame = self._freed(scan.answer(place))
                yield _frame(frame.key, frame.images.values(), gated=True)
            else:
                yield from self._give_up(scan, place, why, counted=counted)

    def _give_up(
        self, scan: Scan, place: Place, why: str, *, repeated: int | None = None, counted: str = ""
    ) -> Iterator[Drop]:
        frame = self._freed(scan.give_up(place, repeated=repeated))
        if not frame.refused:
            reason = f"{len(frame.images)} of {self._slices} slices came: {why}"
            yield Drop(frame.key, f"{reason}; {counted}" if counted else reason)

    def _freed(self, frame: OpenFrame) -> OpenFrame:
        self._held_bytes -= frame.held_bytes
        self._waiting -= 1
        return frame

    def _overtaken_by(self, key: FrameKey) -> list[Gathered | Drop]:
        """A complete frame ends the wait for earlier repetitions; the counter has 16 bits and wraps."""
        earlier = [
            scan
            for other, scan in self._scans.items()
            if other[:5] == key[:5] and 0 < (key.repetition - other.repetition) % _COUNTER < _COUNTER // 2
        ]
        return [event for scan in earlier for event in self._settle(scan, "a later repetition was complete")]

    def _make_room(self) -> list[Drop]:
        drops: list[Drop] = []
        while self._held_bytes > self._max_held_bytes or self._waiting > _MAX_OPEN:
            scan = next(scan for scan in self._scans.values() if scan.frames)
            drops += self._give_up(scan, next(iter(scan.frames)), "too many frames wait")
        return drops


NOT_FINITE = "pixels that are NaN or infinite"


def unusable(image: Any) -> str:
    """Why an image cannot be segmented; empty if it can."""
    if image.channels != 1:
        return f"an image of {image.channels} channels"
    if image.image_type not in _USED_TYPES or image.data.dtype.kind == "c":
        return f"image type {image.image_type} of {image.data.dtype} values; magnitude images are segmented"
    return ""


def _sizes_differ(images: list[Any]) -> str:
    """What is wrong with the sizes of images, in words; empty if they are one."""
    for other in images[:-1]:
        if other.matrix_size != images[-1].matrix_size:
            ours, theirs = (" x ".join(map(str, each.matrix_size)) for each in (other, images[-1]))
            return f"slices of {ours} and of {theirs} pixels"
    return ""


def _dropped(key: FrameKey, images: list[Any], reason: str) -> Drop:
    """A frame without a mask; slices that differ in their phase numbers are named one by one."""
    numbers = sorted((image.slice, image.phase) for image in images)
    slices, phases = zip(*numbers, strict=True)
    return Drop(key, reason, slices, phases) if len(set(phases)) > 1 else Drop(key, reason)


def _frame(key: FrameKey, came: Iterable[Came], *, gated: bool = False) -> Gathered | Drop:
    came = list(came)
    images = [each.image for each in came]
    if differ := _sizes_differ(images):
        return _dropped(key, images, differ)
    try:
        ordered, geometry = sorted_stack(images)
    except GeometryError as error:
        return _dropped(key, images, f"not one regular stack: {error}")
    # (slice, row, column) as stored; the frame's axes are (column, row, slice).
    stack = finite_pixels(ordered)
    if stack is None:
        return _dropped(key, images, NOT_FINITE)
    arrived_ns = max(each.arrived_ns for each in came)
    return Gathered(key, ordered, Frame(stack.T, geometry, arrived_ns), gated=gated)


def finite_pixels(images: list[Any]) -> NDArray[Any] | None:
    """Pixels of the images as (slice, row, column), real numbers as float32; None where one is NaN or infinite."""
    stack = np.concatenate([image.data[0] for image in images])
    if stack.dtype.kind == "f":
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            stack = stack.astype(np.float32, copy=False)
        if not np.isfinite(stack).all():
            return None
    return stack
