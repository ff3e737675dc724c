"""Finds the heart in a whole stack, so that the network's crop can be centred on it. Free of torch.

A small network reads the stack on a coarse grid that holds any field of view, and marks the heart there. It runs on
every frame, within the frame budget; over a cine its maps are averaged, so that the crop follows the patient and not
the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinert.backends.base import Runner
from cinert.data.grid import GridMap, PreprocessingSpec
from cinert.data.nifti import Geometry
from cinert.errors import BadInputError

VIEW = PreprocessingSpec(spacing_mm=(10.0, 7.5, 7.5), shape_DHW=(16, 64, 64))
"""160 x 480 x 480 mm, centred on the image."""

_MEMORY = 0.8
_EDGE_SHARE = 0.02
_STILL_MM = 5.0
_label: Any = ndimage.label  # untyped


@dataclass(frozen=True, slots=True, eq=False)
class Location:
    """Where the heart is.

    Attributes:
        centre_mm: world point to centre the crop on; None where no heart was found.
        moved: whether it is another point than for the frame before.
    """

    centre_mm: NDArray[np.float64] | None
    moved: bool


class Localiser:
    """Locates the heart in frames of one geometry; used from one thread. A context manager that closes the runner.

    Args:
        runner: takes the view as (1, 1, D, H, W), gives logits of "heart" in the same shape.

    Raises:
        BadInputError: the runner does not take the view.
    """

    def __init__(self, runner: Runner) -> None:
        expected = (1, 1, *VIEW.shape_DHW)
        if tuple(runner.input_shapes) != (expected,) or tuple(runner.output_shape) != expected:
            raise BadInputError(
                f"the localiser's engine maps {tuple(runner.input_shapes)} to {runner.output_shape}, expected"
                f" {expected} to {expected}.",
                hint="export the bundle again.",
            )
        self.runner = runner
        self._x_BCDHW = np.zeros(expected, np.float32)
        self._view: GridMap | None = None
        self._heart: NDArray[np.float32] | None = None
        self._centre: NDArray[np.float64] | None = None

    def bind(self, geometry: Geometry) -> Self:
        """Take frames of this geometry from now on, and forget what earlier frames showed."""
        self._view = GridMap(geometry, VIEW)
        self._heart, self._centre = None, None
        return self

    def locate(self, image_stored: NDArray[np.generic]) -> Location:
        """Locate the heart in a frame, in the light of the frames before it.

        The map of the heart is averaged over frames (each weighs 0.8 of the next), and the centre stays where it is
        until that average has moved by more than 5 mm: a crop that jitters would make the masks jitter.

        Args:
            image_stored: stored axes, of the bound geometry's shape.

        Raises:
            RuntimeError: `bind` was not called.
        """
        if self._view is None:
            raise RuntimeError("bind the localiser to a geometry before locating")
        self._view.to_network(image_stored, out=self._x_BCDHW[0, 0])
        logits = self.runner.run(self._x_BCDHW)[0, 0]
        heart = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
        self._heart = heart if self._heart is None else _MEMORY * self._heart + (1 - _MEMORY) * heart
        middle = heart_middle(self._heart)
        if middle is None:
            return Location(self._centre, moved=False)
        affine = self._view.network_affine()
        point = affine[:3, :3] @ middle + affine[:3, 3]
        if self._centre is not None and np.linalg.norm(point - self._centre) <= _STILL_MM:
            return Location(self._centre, moved=False)
        self._centre = point
        return Location(point, moved=True)

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
