"""What waits of one scan: 2D images of one series and repetition, which differ in slice and phase.

Slices share a frame by their phase number. In a gated scan each slice is a breath-hold with its own R-R interval, and
converters number phases by trigger time over the whole series: then the numbers of two slices need not agree, and the
k-th image of each slice, in the order of phase, makes the k-th frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple


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

    @property
    def scan(self) -> FrameKey:
        """What the images of a scan have in common: all but the phase."""
        return self._replace(phase=0)


Place = tuple[int, int]
"""A frame of a scan: phase number, and which image with this number it is where a slice has several in a row."""


class Came(NamedTuple):
    """An `ismrmrd.Image`, and when it came (`time.perf_counter_ns()`)."""

    image: Any
    arrived_ns: int


def bytes_of(image: Any) -> int:
    """What an image takes while it waits: pixels, and the letters of its attributes."""
    values = (letters for value in image.meta.values() for letters in (value if isinstance(value, list) else [value]))
    return int(image.data.nbytes) + sum(map(len, image.meta)) + sum(len(letters or "") for letters in values)


@dataclass(slots=True)
class OpenFrame:
    """A frame that waits for slices. Once it is refused, the slices that still come belong to the same answer."""

    key: FrameKey
    place: Place
    images: dict[int, Came] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    refused: bool = False

    @property
    def held_bytes(self) -> int:
        """Pixels and attributes that wait."""
        return sum(bytes_of(came.image) for came in self.images.values())


class Scan:
    """The frames of one scan that wait, by phase number.

    Args:
        slices: in a frame.
    """

    def __init__(self, slices: int) -> None:
        self._slices = slices
        self.frames: dict[Place, OpenFrame] = {}
        self._held: Counter[int] = Counter()
        """Images that wait, by slice."""
        self._full: set[Place] = set()
        """Frames of which every slice waits."""
        self._answered = 0
        """Frames whose slices agreed in their number."""
        self._streams = False
        """Whether one of them came slice after slice of one moment."""
        self._torn = False
        """Whether images were given up, so that the others cannot be counted any more."""
        self._begin_order()

    def _begin_order(self) -> None:
        self._came: Counter[int] = Counter()
        self._last_slice: int | None = None
        self._last_place: Place = (0, 0)
        self._run: Counter[int] = Counter()
        """Images that came of the last slice in a row, by phase."""
        self._alternates = False
        self._rises = True

    def place_of(self, key: FrameKey, number: int) -> Place:
        """The frame of an image of slice `number` that comes now.

        A scan that has no phases to number, such as one that was not gated, gives its images one number: those of a
        slice that come in a row are counted.
        """
        return (key.phase, self._run[key.phase] if number == self._last_slice and not self._streams else 0)

    def put(self, key: FrameKey, place: Place, came: Came) -> None:
        """Let an image wait in its frame."""
        number = came.image.slice
        frame = self._seen(key, place, number)
        frame.images[number] = came
        self._held[number] += 1
        if len(frame.images) == self._slices:
            self._full.add(place)

    def refuse(self, key: FrameKey, place: Place, number: int) -> None:
        """Refuse an image of slice `number`, and its frame with it."""
        frame = self._seen(key, place, number)
        self._torn |= bool(frame.images)
        self._release(frame)
        frame.images.clear()
        frame.refused = True

    def _seen(self, key: FrameKey, place: Place, number: int) -> OpenFrame:
        if number != self._last_slice:
            self._alternates |= number in self._came
            self._run.clear()
        else:
            self._rises &= place > self._last_place
        self._last_slice, self._last_place = number, place
        self._came[number] += 1
        self._run[key.phase] += 1
        frame = self.frames.setdefault(place, OpenFrame(key, place))
        frame.seen.add(number)
        return frame

    def give_up(self, place: Place, *, repeated: int | None = None) -> OpenFrame:
        """Take a frame out that gets no mask; slice `repeated` of it came again, so that nothing is missing there."""
        self._torn |= bool(self.frames[place].images.keys() - {repeated})
        return self._take(place)

    def answer(self, place: Place) -> OpenFrame:
        """Take a frame out whose slices all came, under one number."""
        self._streams |= not self.slice_by_slice
        frame = self._take(place)
        self._answered += 1
        return frame

    def _take(self, place: Place) -> OpenFrame:
        frame = self.frames.pop(place)
        self._release(frame)
        if not self.frames:
            self._begin_order()
            self._torn = False
        return frame

    def _release(self, frame: OpenFrame) -> None:
        self._held.subtract(frame.images.keys())
        self._full.discard(frame.place)

    @property
    def slice_by_slice(self) -> bool:
        """Whether slices come one after the other, each with several phases: the order of a gated scan."""
        return not self._streams and not self._alternates and max(self._came.values(), default=0) > 1

    def full(self) -> list[Place]:
        """Frames of which every slice waits, in the order in which they began."""
        return [place for place in self.frames if place in self._full] if self._full else []

    def ready(self) -> list[Place]:
        """Frames whose slices all came and can be answered now, by their number."""
        if not self._full:
            return []
        if self.slice_by_slice and self._earlier_slices_equal():
            waiting = sorted(place for place, frame in self.frames.items() if frame.images)
            if not self._rises:
                # Which place an image has in its slice is known when all of them are there.
                return waiting if self._full.issuperset(waiting) else []
            # The lowest that waits is the first of its slice. One above it may be another slice's in the order.
            lowest = next((index for index, place in enumerate(waiting) if place not in self._full), len(waiting))
            return waiting[:lowest]
        if self._numbers_disagree():
            return []
        return self.full()

    def _earlier_slices_equal(self) -> bool:
        return len({count for number, count in self._came.items() if number != self._last_slice}) == 1

    def _numbers_disagree(self) -> bool:
        """Whether so many images wait under numbers that not every slice has that the numbers mean little.

        A stream whose numbers agree has few of them: of frames of which a slice was lost.
        """
        unmatched = min(self._held[number] for number in range(self._slices)) - len(self._full)
        return unmatched > 0 and self._answered + len(self._full) <= 2 * unmatched

    def in_order(self) -> list[list[Came]]:
        """Frames by the order of phases in each slice, of all that waits; none where that cannot be relied on."""
        counts = {self._held[number] for number in range(self._slices)}
        # Of a stream, what waits are the frames of which a slice was lost, and they are few.
        if len(counts) > 1 or self._torn or (self._streams and min(counts) < self._answered):
            return []
        by_slice: dict[int, list[Came]] = {}
        for _, frame in sorted(self.frames.items()):
            for number, came in frame.images.items():
                by_slice.setdefault(number, []).append(came)
        return [list(frame) for frame in zip(*(by_slice[number] for number in sorted(by_slice)), strict=True)]

    def counted(self) -> str:
        """What keeps the images that wait from being counted in order, in words."""
        counts: dict[int, list[int]] = {}
        for number in range(self._slices):
            counts.setdefault(self._held[number], []).append(number)
        if len(counts) == 1:
            return "the slices of this scan do not agree in their phase numbers"
        told = ", ".join(
            f"{count or 'none'} of {'slice' if len(numbers) == 1 else 'slices'} {_ranges(numbers)}"
            for count, numbers in sorted(counts.items(), reverse=True)
        )
        return f"the slices of this scan differ in their number of images: {told}"


def _ranges(numbers: Iterable[int]) -> str:
    """Rising numbers, runs of them joined: 0 to 4 and 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    told = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return " and ".join(filter(None, (", ".join(told[:-1]), told[-1])))
