"""Fresh slices of a stack that is known: each takes its place in the stack's last state (`bedside.slices`)."""

from __future__ import annotations

from typing import Any

from bedside.mrd.gather import NOT_FINITE, Drop, Gathered, Gatherer, finite_pixels, unusable
from bedside.mrd.geometry import GeometryError, sorted_stack
from bedside.mrd.scan import FrameKey
from bedside.slices import MovedError, SliceUpdater


class SliceGatherer:
    """Collects the images of a client that sends one whole stack, and from then on single slices of it.

    A slice that lies elsewhere ends the stack: the scan was planned anew, so a whole stack has to come again.

    Args:
        slices: 2D images in the stack; a 3D image is a whole stack of its own.
        fresh: so many fresh slices give an answer.
        max_held_bytes: as `Gatherer`.
    """

    def __init__(self, slices: int, fresh: int, max_held_bytes: int) -> None:
        self._whole = Gatherer(slices, max_held_bytes)
        self._fresh = fresh
        self._stack: SliceUpdater | None = None
        self._places: dict[int, int] = {}
        self._arrived_ns: dict[int, int] = {}
        self._waiting: dict[int, Any] = {}

    def add(self, image: Any, arrived_ns: int) -> list[Gathered | Drop]:
        """Take an `ismrmrd.Image`; give the frames that it completes, refuses or overtakes, oldest first."""
        if self._stack is None or image.matrix_size[2] > 1:
            return [*self._give_up("a whole stack came"), *self._begin(image, arrived_ns)]
        key = FrameKey.of(image)
        try:
            place = self._put(self._stack, image, arrived_ns)
        except MovedError:
            self._stack = None
            return [*self._give_up("the scan was planned anew"), *self._begin(image, arrived_ns)]
        except (GeometryError, ValueError) as error:
            return [Drop(key, str(error), (image.slice,))]
        events: list[Gathered | Drop] = []
        if place in self._waiting:
            events.append(_drop(self._waiting.pop(place), "the slice came again before its turn"))
        self._waiting[place] = image
        if len(self._waiting) == self._fresh:
            places = tuple(sorted(self._waiting))
            images = [self._waiting[place] for place in places]
            self._waiting.clear()
            events.append(Gathered(key, images, self._stack.frame(), places))
        return events

    def finish(self) -> list[Gathered | Drop]:
        """Give up whatever still waits: the client sends no more."""
        return [*self._give_up("the client sent no more"), *self._whole.finish()]

    def _begin(self, image: Any, arrived_ns: int) -> list[Gathered | Drop]:
        self._arrived_ns[image.slice] = arrived_ns
        events = self._whole.add(image, arrived_ns)
        for event in events:
            if isinstance(event, Gathered):
                depth = event.frame.geometry.shape[2]
                whole = len(event.images) == 1
                numbers = range(depth) if whole else [each.slice for each in event.images]
                self._places = {number: place for place, number in enumerate(numbers)}
                arrived = [arrived_ns if whole else self._arrived_ns[number] for number in numbers]
                self._stack = SliceUpdater(event.frame, arrived)
                self._arrived_ns.clear()
        return events

    def _put(self, stack: SliceUpdater, image: Any, arrived_ns: int) -> int:
        """Put a slice into the stack; where it lies along the third axis."""
        if refusal := unusable(image):
            raise ValueError(refusal)
        if image.slice not in self._places:
            raise ValueError(f"slice {image.slice}, counted from 0, is not in the stack")
        _, geometry = sorted_stack([image])
        pixels_ZYX = finite_pixels([image])
        if pixels_ZYX is None:
            raise ValueError(NOT_FINITE)
        place = self._places[image.slice]
        stack.replace(place, pixels_ZYX[0], geometry, arrived_ns)
        return place

    def _give_up(self, why: str) -> list[Drop]:
        waiting, self._waiting = self._waiting, {}
        return [_drop(image, f"{len(waiting)} of {self._fresh} fresh slices came: {why}") for image in waiting.values()]


def _drop(image: Any, reason: str) -> Drop:
    return Drop(FrameKey.of(image), reason, (image.slice,))
