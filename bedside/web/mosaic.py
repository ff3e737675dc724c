"""The slices that the page shows: cut out around the heart, held still, small enough to be sent with every frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bedside.frames import Frame
from bedside.overlay_view import GAMMA, STRAY_SHARE, WINDOW_PERCENT, evenly, square_around, turned
from cinert.data.nifti import Geometry
from cinert.data.orientation import Orientation, orientation_of

MAX_SLICES = 12
MAX_SIDE = 192
"""Pixels of a slice; every second or third one is sent of a finer image."""
_REMEMBERED = 100
"""Frames after which the cut-out may shrink: it grows at once and holds still over some heart beats otherwise."""
_SHRINK = 0.8
_WINDOW_SAMPLES = 4096
_WINDOW_MEMORY = 0.9
_WITH_GAMMA = ((np.arange(256) / 255) ** GAMMA * 255).round().astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """What is shown of a frame, as the network sees it: x towards Left, y towards Posterior.

    Attributes:
        grey_SYX: uint8, windowed.
        label_SYX: uint8, 0 background, 1 RV, 2 MYO, 3 LV.
        slices: stored index of each slice.
        pixel_mm: height and width of a pixel.
    """

    grey_SYX: NDArray[np.uint8]
    label_SYX: NDArray[np.uint8]
    slices: tuple[int, ...]
    pixel_mm: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Heart:
    """Where frames showed the heart: slices, rows, columns."""

    z: NDArray[np.bool_]
    y: NDArray[np.bool_]
    x: NDArray[np.bool_]

    @classmethod
    def of(cls, mask_ZYX: NDArray[np.uint8]) -> _Heart:
        # A stray voxel must not move the cut-out.
        lines = [np.count_nonzero(mask_ZYX, axis=axes) for axes in ((1, 2), (0, 2), (0, 1))]
        return cls(*((line > STRAY_SHARE * line.max()) if line.any() else line > 0 for line in lines))

    def __or__(self, other: _Heart) -> _Heart:
        return _Heart(self.z | other.z, self.y | other.y, self.x | other.x)


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    chosen: list[int]
    """Slices as the network counts them, in their stored order."""
    rows: slice
    columns: slice
    step: int

    @property
    def part(self) -> tuple[slice, slice, slice]:
        """Of a (z, y, x) volume."""
        rows, columns = (slice(side.start, side.stop, self.step) for side in (self.rows, self.columns))
        return slice(None), rows, columns

    def holds(self, heart: _Heart) -> bool:
        inside = heart.y[self.rows].sum() == heart.y.sum() and heart.x[self.columns].sum() == heart.x.sum()
        return bool(inside and (not heart.z.any() or heart.z[self.chosen].any()))


class Mosaic:
    """Cuts the frames of one source; a frame on another grid begins anew. Used from one thread."""

    def __init__(self) -> None:
        self._geometry: Geometry | None = None

    def cut(self, frame: Frame, mask: NDArray[np.uint8]) -> Tiles:
        """Cut a frame and its mask, both of stored axes and the geometry's shape."""
        if self._geometry is None or not self._geometry.same_grid(frame.geometry):
            self._bind(frame.geometry)
        mask_ZYX = turned(mask[..., None], self._orientation)[..., 0]
        image_ZYX = turned(frame.image[..., None], self._orientation)[..., 0]
        layout = self._place(_Heart.of(mask_ZYX))
        return Tiles(
            grey_SYX=self._grey(image_ZYX[layout.part][layout.chosen]),
            label_SYX=np.ascontiguousarray(mask_ZYX[layout.part][layout.chosen], dtype=np.uint8),
            slices=tuple(len(mask_ZYX) - 1 - z if self._orientation.flipped[0] else z for z in layout.chosen),
            pixel_mm=(self._voxel_mm[1] * layout.step, self._voxel_mm[2] * layout.step),
        )

    def _bind(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._orientation: Orientation = orientation_of(geometry)
        self._voxel_mm = tuple(geometry.spacing_mm[axis] for axis in self._orientation.stored_axis)
        sizes = [geometry.shape[axis] for axis in self._orientation.stored_axis]
        self._nowhere = _Heart(*(np.zeros(size, dtype=bool) for size in sizes))
        self._recent = self._before = self._nowhere
        self._frames = 0
        self._layout = self._laid_out(self._nowhere)
        self._window: NDArray[np.float64] | None = None

    def _place(self, heart: _Heart) -> _Layout:
        known = self._before | self._recent
        self._recent |= heart
        self._frames += 1
        seen = known | heart
        if not known.y.any() or not self._layout.holds(heart):
            self._layout = self._laid_out(seen)
        if self._frames == _REMEMBERED:
            smaller = self._laid_out(self._recent)
            if self._recent.y.any() and _rows(smaller) < _SHRINK * _rows(self._layout):
                self._layout = smaller
            self._before, self._recent, self._frames = self._recent, self._nowhere, 0
        return self._layout

    def _laid_out(self, heart: _Heart) -> _Layout:
        rows, columns = square_around(heart.y, heart.x, self._voxel_mm[1], self._voxel_mm[2])
        slices = np.arange(len(heart.z))
        if len(slices) > MAX_SLICES:
            slices = np.flatnonzero(heart.z) if heart.z.any() else slices
            slices = np.asarray(evenly(slices, min(MAX_SLICES, len(slices))))
        chosen = slices.tolist()
        longest = max(rows.stop - rows.start, columns.stop - columns.start)
        return _Layout(chosen[::-1] if self._orientation.flipped[0] else chosen, rows, columns, -(-longest // MAX_SIDE))

    def _grey(self, image_SYX: NDArray[np.generic]) -> NDArray[np.uint8]:
        values = image_SYX.astype(np.float32)
        seen = np.percentile(values.ravel()[:: max(1, values.size // _WINDOW_SAMPLES)], WINDOW_PERCENT)
        # Followed slowly: a window of each frame's own would flicker.
        old = seen if self._window is None else self._window
        self._window = _WINDOW_MEMORY * old + (1 - _WINDOW_MEMORY) * seen
        low, high = self._window.astype(np.float32)
        values -= low
        values *= 255 / (high - low or np.float32(1))
        grey: NDArray[np.uint8] = _WITH_GAMMA[values.clip(0, 255).astype(np.uint8)]
        return grey


def _rows(layout: _Layout) -> int:
    return int(layout.rows.stop - layout.rows.start)
