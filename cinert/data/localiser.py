"""Finds the heart in a whole stack, so that the network's crop can be centred on it. Free of torch.

A small network reads the stack on a coarse grid that holds any field of view, and marks the heart there. Every frame is
located on its own; what earlier frames showed is for `bedside.follow` to remember.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinert.backends.base import Runner
from cinert.data.grid import GridMap, PreprocessingSpec
from cinert.data.nifti import Geometry
from cinert.data.orientation import Orientation, orientation_of
from cinert.errors import BadInputError

VIEW = PreprocessingSpec(spacing_mm=(10.0, 10.0, 10.0), shape_DHW=(16, 48, 48))
"""160 x 480 x 480 mm, centred on the image."""
FIRST_VIEW = PreprocessingSpec(spacing_mm=(10.0, 7.5, 7.5), shape_DHW=(16, 64, 64))
"""The same field of view, as the localisers of version 1 read it; bundles still carry them."""

_SAMPLES = 2
"""Voxels of the image, along each axis, that a voxel of the view is made of, where the image has so many."""
_EDGE_SHARE = 0.02
_label: Any = ndimage.label  # untyped


class ViewMap:
    """Reads a whole stack on a view.

    A voxel of `VIEW` spans about seven pixels, and every third of them says as much about where a heart is: the others
    are not read, which is most of what reading all of them costs.

    Args:
        geometry: of the stored volumes.
        view: `VIEW`, or `FIRST_VIEW`, whose localisers were shown every pixel.
    """

    def __init__(self, geometry: Geometry, view: PreprocessingSpec = VIEW) -> None:
        self._shape = geometry.shape
        orientation = orientation_of(geometry)
        strides = (1, 1, 1) if view == FIRST_VIEW else _strides(geometry, orientation, view)
        self._thinned = tuple(slice(None, None, stride) for stride in strides)
        i, j, k = (-(-size // stride) for size, stride in zip(geometry.shape, strides, strict=True))
        thinned = Geometry((i, j, k), geometry.affine @ np.diag([*strides, 1.0]))
        self._grid = GridMap(thinned, view, orientation=orientation)

    def to_view(
        self, image_stored: NDArray[np.generic], *, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """The z-scored stack, as `GridMap.to_network` gives it."""
        self._expect(image_stored)
        return self._grid.to_network(image_stored[self._thinned], out=out)

    def label_to_view(self, label_stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels, as `GridMap.label_to_network` gives them."""
        self._expect(label_stored)
        return self._grid.label_to_network(label_stored[self._thinned])

    def affine(self) -> NDArray[np.float64]:
        """4 x 4: index (d, h, w) in the view to world mm."""
        return self._grid.network_affine()

    def _expect(self, stored: NDArray[Any]) -> None:
        if stored.shape != self._shape:
            raise ValueError(f"an array of shape {stored.shape} does not lie on the grid {self._shape}")


def _strides(geometry: Geometry, orientation: Orientation, view: PreprocessingSpec) -> tuple[int, ...]:
    """Every how many voxels, by stored axis, one is read."""
    strides = [1, 1, 1]
    for axis, spacing_mm in zip(orientation.stored_axis, view.spacing_mm, strict=True):
        strides[axis] = max(1, int(spacing_mm / geometry.spacing_mm[axis] / _SAMPLES))
    return tuple(strides)


class Localiser:
    """Locates the heart in frames of one geometry; used from one thread. A context manager that closes the runner.

    Args:
        runner: takes a view as (1, 1, D, H, W), gives logits of "heart" in the same shape.

    Raises:
        BadInputError: the runner takes no view.
    """

    def __init__(self, runner: Runner) -> None:
        views = {(1, 1, *view.shape_DHW): view for view in (VIEW, FIRST_VIEW)}
        shape = tuple(runner.input_shapes[0]) if len(runner.input_shapes) == 1 else ()
        if shape not in views or tuple(runner.output_shape) != shape:
            raise BadInputError(
                f"the localiser's engine maps {tuple(runner.input_shapes)} to {runner.output_shape}, expected"
                f" {next(iter(views))} to the same.",
                hint="export the bundle again.",
            )
        self.runner = runner
        self.view = views[shape]
        self._x_BCDHW = np.zeros(shape, np.float32)
        self._map: ViewMap | None = None

    def bind(self, geometry: Geometry) -> Self:
        """Take frames of this geometry from now on."""
        self._map = ViewMap(geometry, self.view)
        return self

    def locate(self, image_stored: NDArray[np.generic]) -> NDArray[np.float64] | None:
        """Locate the heart in a frame.

        Args:
            image_stored: stored axes, of the bound geometry's shape.

        Returns:
            World point to centre the crop on; None where no heart is found.

        Raises:
            RuntimeError: `bind` was not called.
        """
        if self._map is None:
            raise RuntimeError("bind the localiser to a geometry before locating")
        self._map.to_view(image_stored, out=self._x_BCDHW[0, 0])
        logits = self.runner.run(self._x_BCDHW)[0, 0]
        middle = heart_middle(1 / (1 + np.exp(-np.clip(logits, -30, 30))))
        if middle is None:
            return None
        affine = self._map.affine()
        point: NDArray[np.float64] = affine[:3, :3] @ middle + affine[:3, 3]
        return point

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()


def heart_middle(heart_DHW: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Middle of the box around the largest connected region above one half, in voxels (d, h, w); None if there is none.

    The box leaves out the outermost 2 % on each side, so that a stray voxel cannot move it, and its edges are
    interpolated between voxels.

    Args:
        heart_DHW: probability of "heart".
    """
    regions, count = _label(heart_DHW > 0.5)
    if not count:
        return None
    largest = 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
    inside = np.where(regions == largest, heart_DHW, 0)
    middle = np.zeros(3)
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        share = np.cumsum(inside.sum(axis=others, dtype=np.float64))
        # Voxel i spans i - 0.5..i + 0.5; `share` is the mass before its far border.
        borders = np.arange(len(share) + 1) - 0.5
        low, high = np.interp([_EDGE_SHARE, 1 - _EDGE_SHARE], np.concatenate([[0.0], share / share[-1]]), borders)
        middle[axis] = (low + high) / 2
    return middle
