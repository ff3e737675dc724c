"""The crop follows the heart: the last mask says where it is, and the localiser where no mask can. Free of torch.

The localiser runs before a frame at first, and after a mask that is empty, implausible, or reaches the border of the
crop in plane: its time is then the frame's. Otherwise masks move the crop, and the localiser looks again in spare time,
to find a heart that the crop has left without any mask that says so.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bedside.outline import Outline, outline_of
from bedside.plausibility import PREFIX
from bedside.quality_features import Box
from cinert.data.grid import GridMap, PreprocessingSpec
from cinert.data.localiser import Localiser
from cinert.data.nifti import Geometry

LOOK_FRAMES = 22
"""Frames from one look to the next: one second at the slowest rate that a procedure needs."""
HIDDEN_SHARE = 0.005
"""Of the heart: what is estimated to lie beyond the crop before a mask is no longer relied on."""

_STILL_MM = 5.0
"""The crop holds still until the heart has moved so far: a crop that jitters would make the masks jitter."""
_MEMORY = 0.8
"""Weight of what was known against what a frame says, so that a beat does not move the crop."""
_ELSEWHERE_MM = 25.0
"""What the localiser says is another place if it is so far away; it errs by less."""
_MOST_PATIENCE = 16
"""Looks are that much rarer, at most, where the localiser was wrong before."""


class CropFollower:
    """Where the crop lies in the frames of one geometry; used from one thread.

    Before a frame `find`, after its mask `judge`, and `look` in spare time.

    Args:
        spec: the network's grid.
        localiser: finds the heart; None leaves the crop on the image's centre.
        look_frames: frames from one look to the next; 0 never looks.
    """

    def __init__(self, spec: PreprocessingSpec, localiser: Localiser | None, look_frames: int = LOOK_FRAMES) -> None:
        self.spec = spec
        self.localiser = localiser
        self.look_frames = look_frames
        self._grid: GridMap | None = None

    def bind(self, geometry: Geometry) -> None:
        """Forget what earlier frames showed; every later frame lies on `geometry`."""
        self._grid = GridMap(geometry, self.spec)
        if self.localiser is not None:
            self.localiser.bind(geometry)
        self._lost = True
        self._centre: NDArray[np.float64] | None = None
        """Of the crop, in world mm; None is the image's centre."""
        self._cropped_about: NDArray[np.float64] | None = None
        """The same, of the latest frame."""
        self._mean: NDArray[np.float64] | None = None
        """Of the heart, over frames."""
        self._seen: Outline | None = None
        """In the latest mask, where a heart may look like that."""
        self._back_to: NDArray[np.float64] | None = None
        """Where a plausible heart was before the localiser spoke of another place."""
        self._since_look, self._patience = 0, 1

    @property
    def grid(self) -> GridMap:
        """Of the latest frame.

        Raises:
            RuntimeError: `bind` was not called.
        """
        if self._grid is None:
            raise RuntimeError("bind the pipeline to a geometry before segmenting frames")
        return self._grid

    def find(self, image_stored: NDArray[np.generic]) -> GridMap:
        """The crop for a frame; the localiser runs if the last mask did not say where the heart is."""
        grid = self.grid
        if self.localiser is None:
            return grid
        if self._lost:
            self._take(self.localiser.locate(image_stored))
            self._since_look = 0
        if self._centre is not self._cropped_about:
            self._grid, self._cropped_about = grid.moved_to(self._centre), self._centre
        return self.grid

    def judge(self, mask_stored: NDArray[np.uint8], implausible: str, box: Box | None) -> str:
        """Learn from a mask where the heart is.

        Args:
            mask_stored: of the latest frame.
            implausible: why no heart looks like that; empty where one may.
            box: around its foreground; None where there is none.

        Returns:
            Why the crop may have cut off part of the heart, in words; empty where it has not.
        """
        outline = None if box is None else outline_of(mask_stored, self.grid, box)
        cut = outline is not None and outline.hidden_share > HIDDEN_SHARE
        if self.localiser is None:
            return _words(outline) if cut else ""
        self._since_look += 1
        self._seen = None if implausible else outline
        if self._seen is None:
            self._lost = True
            if self._back_to is not None:
                # The localiser spoke of another place, and there is no heart: it was wrong.
                self._centre, self._mean, self._lost = self._back_to, self._back_to, False
                self._patience = min(2 * self._patience, _MOST_PATIENCE)
        elif self._seen.touches:
            self._lost = True
        else:
            if self._lost:
                # So far it is known from the localiser, and the mask has it more exactly.
                self._mean, self._lost = None, False
            self._follow(self._seen.middle_mm)
            self._patience = 1 if self._back_to is not None else self._patience
        self._back_to = None
        return _words(outline) if cut else ""

    @property
    def look_is_due(self) -> bool:
        """Whether the localiser should look in spare time; where it runs before the next frame anyway, it need not."""
        every = self.look_frames * self._patience
        return bool(self.localiser is not None and every and not self._lost and self._since_look >= every)

    def look(self, image_stored: NDArray[np.generic], unchanged: Callable[[], bool] = lambda: True) -> None:
        """Locate the heart in the latest frame, whose mask is out; the next frame's crop will be where it is.

        A heart that is where the mask has it moves nothing: masks say it more exactly.

        Args:
            image_stored: the latest frame.
            unchanged: asked afterwards; what was seen in a frame that was written over meanwhile counts for nothing.
        """
        if self.localiser is None or self._seen is None:
            return
        self._since_look = 0
        point = self.localiser.locate(image_stored)
        if not unchanged():
            return
        if point is None or self._in_plane_mm(point, self._seen.middle_mm) <= _ELSEWHERE_MM:
            self._patience = 1
            return
        self._back_to, self._centre, self._mean = self._centre, point, point
        self._seen = None

    def _take(self, point: NDArray[np.float64] | None) -> None:
        """Centre the crop by what the localiser says, in the light of the mask before."""
        middle = None if self._seen is None else self._seen.middle_mm
        if middle is not None and (point is None or self._in_plane_mm(point, middle) <= _ELSEWHERE_MM):
            # Both speak of the same heart, and the mask has it more exactly.
            self._mean = None
            self._follow(middle)
        elif point is not None and (self._mean is None or self._in_plane_mm(point, self._mean) > _ELSEWHERE_MM):
            self._centre = self._mean = point
        elif point is not None:
            self._follow(point)

    def _follow(self, point: NDArray[np.float64]) -> None:
        """Move the crop once the heart's mean place has moved."""
        mean = point if self._mean is None else _MEMORY * self._mean + (1 - _MEMORY) * point
        self._mean = np.asarray(mean, dtype=np.float64)
        if self._centre is None or self._moved_mm(self._mean, self._centre) > _STILL_MM:
            self._centre = self._mean

    def _in_plane_mm(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
        """Between two places, along the slices not counted: the localiser knows less of it than any mask."""
        return float(np.linalg.norm(self._apart_mm(one, other)[1:]))

    def _moved_mm(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
        """Between two places, along the slices counted where the crop can follow."""
        return float(np.linalg.norm(self._apart_mm(one, other)[0 if self.grid.crops_depth else 1 :]))

    def _apart_mm(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        geometry = self.grid.geometry
        voxels = np.linalg.solve(geometry.affine[:3, :3], one - other)
        return np.asarray(voxels * geometry.spacing_mm, dtype=np.float64)[list(self.grid.stored_axes)]


def _words(outline: Outline | None) -> str:
    assert outline is not None
    return f"{PREFIX}the heart reaches beyond the crop ({outline.hidden_share:.1%} of it by estimate)"
