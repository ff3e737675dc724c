"""From a stored volume to the network's grid, and back (docs/design.md, "Search, decoding, training").

Spacing, crop, padding and orientation are one linear map per axis, built once per geometry and applied to every frame.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from cinert.data.nifti import CLASSES, Geometry
from cinert.data.orientation import Orientation, orientation_of
from cinert.data.resample import AxisMap
from cinert.data.scratch import Scratch
from cinert.data.separable import AxisMatrices, apply_matrices, contiguous, largest, used_columns
from cinert.data.zscore import in_another_unit, standardise
from cinert.errors import BadInputError


@dataclass(frozen=True, kw_only=True, slots=True)
class PreprocessingSpec:
    """The grid that a network reads.

    Attributes:
        spacing_mm: distance between voxel centres along (z, y, x).
        shape_DHW: voxels along (z, y, x).
        depth_squeeze: a stack taller than the grid by at most this factor is squeezed into it, so that neither base nor
            apex is cut off; 11 slices of 10 mm are taller than 100 mm. 1 never squeezes.
    """

    spacing_mm: tuple[float, float, float] = (5.0, 1.5625, 1.5625)
    shape_DHW: tuple[int, int, int] = (20, 128, 112)
    depth_squeeze: float = 1.2

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON and YAML."""
        return {
            "spacing_mm": list(self.spacing_mm),
            "shape_DHW": list(self.shape_DHW),
            "depth_squeeze": self.depth_squeeze,
        }

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], source: str | Path) -> PreprocessingSpec:
        """Read what `to_dict` wrote; `source` names the file in errors.

        Raises:
            BadInputError: a key is unknown or missing, or a value is not three positive numbers, or not one above 1.
        """
        known = ("spacing_mm", "shape_DHW", "depth_squeeze")
        for key in mapping:
            if key not in known:
                raise BadInputError(
                    f"the preprocessing in {source} has the unknown key {key!r}.",
                    hint=f"known keys: {', '.join(known)}.",
                )
        for key in known:
            if key not in mapping:
                raise BadInputError(f"the preprocessing in {source} lacks the key {key!r}.")
        spacing = _three(mapping["spacing_mm"], "spacing_mm", source)
        shape = _three(mapping["shape_DHW"], "shape_DHW", source)
        if any(value != int(value) for value in shape):
            raise BadInputError(
                f"shape_DHW in {source} is {mapping['shape_DHW']!r}.", hint="voxels are counted in whole numbers."
            )
        squeeze = mapping["depth_squeeze"]
        if not _positive(squeeze) or squeeze < 1:
            raise BadInputError(f"depth_squeeze in {source} is {squeeze!r}.", hint="it is a number of at least 1.")
        return cls(
            spacing_mm=spacing, shape_DHW=(int(shape[0]), int(shape[1]), int(shape[2])), depth_squeeze=float(squeeze)
        )


def _three(value: object, key: str, source: str | Path) -> tuple[float, float, float]:
    if isinstance(value, list | tuple) and len(value) == 3 and all(_positive(item) for item in value):
        return float(value[0]), float(value[1]), float(value[2])
    raise BadInputError(f"{key} in {source} is {value!r}.", hint=f"{key} takes three positive numbers, for z, y and x.")


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


_DEPTH = 0
_MOST_MADE = 64
"""Axes whose matrices are kept; a crop that follows a heart comes back to the same few."""


class GridMap:
    """Maps volumes of one geometry to the network's grid and back; build it once, use it for every frame.

    In plane, the field of view is centred on `centre_mm` to within half a voxel of the network. Along the slices it
    holds the whole stack, squeezed if need be; a stack that is taller still is centred on `centre_mm` too.

    Args:
        geometry: of the stored volumes.
        spec: the network's grid.
        centre_mm: world point (Right, Anterior, Superior); None is the image's centre. A point outside the image counts
            as the nearest one inside.
        orientation: of the stored axes; None finds it by the geometry. That of a whole stack, where `geometry` is of
            every nth voxel: its spacings no longer tell which axis counts slices.
    """

    def __init__(
        self,
        geometry: Geometry,
        spec: PreprocessingSpec,
        centre_mm: NDArray[np.float64] | None = None,
        *,
        orientation: Orientation | None = None,
    ) -> None:
        self.geometry = geometry
        self.spec = spec
        self._orientation = orientation_of(geometry) if orientation is None else orientation
        # Position of each stored axis among (z, y, x), for the way back.
        self._to_stored = tuple(int(axis) for axis in np.argsort(self._orientation.stored_axis))
        self._scratch = Scratch()
        self._made: dict[tuple[int, AxisMap], AxisMatrices] = {}
        self._centre_on(centre_mm)

    def moved_to(self, centre_mm: NDArray[np.float64] | None) -> Self:
        """The map about another centre; this very one where that makes no whole voxel's difference.

        It shares its memory with this one, so both belong to one thread.
        """
        other = copy.copy(self)
        other._centre_on(centre_mm)
        return self if other._maps == self._maps else other

    def _centre_on(self, centre_mm: NDArray[np.float64] | None) -> None:
        centre = None if centre_mm is None else self._image_position(centre_mm)
        self._maps: list[AxisMap] = []
        for number, (axis, spacing, size) in enumerate(
            zip(self._orientation.stored_axis, self.spec.spacing_mm, self.spec.shape_DHW, strict=True)
        ):
            axis_map = AxisMap(self.geometry.shape[axis], size, spacing / self.geometry.spacing_mm[axis])
            if number == _DEPTH:
                axis_map = axis_map.squeezed(self.spec.depth_squeeze)
            if centre is not None and (number != _DEPTH or not axis_map.holds_image):
                axis_map = axis_map.centred_on(float(centre[number]))
            self._maps.append(axis_map)
        if len(self._made) > _MOST_MADE:
            self._made.clear()
        axes = []
        for number, (axis_map, flipped) in enumerate(zip(self._maps, self._orientation.flipped, strict=True)):
            if (number, axis_map) not in self._made:
                self._made[number, axis_map] = AxisMatrices.of(axis_map, flipped=flipped)
            axes.append(self._made[number, axis_map])
        self._axes = z, y, x = axes[0], axes[1], axes[2]
        # As (z, y, x): the part of the network's grid that the image fills, and of the image that the network sees.
        self._filled = (z.filled, y.filled, x.filled)
        self._seen = (z.seen, y.seen, x.seen)

    def to_network(self, image_stored: NDArray[Any], *, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Resample, crop or pad, then z-score over the voxels that the image fills; padding is 0.

        The result does not depend on the unit of the grey values, nor on an offset that their type holds.

        Args:
            image_stored: stored axes, any real type.
            out: x_DHW to write to; None makes one.

        Returns:
            x_DHW, float32. All 0 if the image is constant.
        """
        self._expect(image_stored)
        x_DHW = _cleared(out, self.spec.shape_DHW, np.float32, self._filled)
        with np.errstate(over="ignore", invalid="ignore"):
            values = self._resampled(image_stored)
            if not standardise(values):
                # Their squares leave float32: the same image in another unit.
                values = self._resampled(in_another_unit(image_stored))
                if not standardise(values):
                    values[:] = 0
        x_DHW[self._filled] = values
        return x_DHW

    def label_to_network(self, label_stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resample each class as an image does and take the largest share; padding is background.

        Taking the nearest voxel loses more on the way back through `logits_to_stored`: Dice of RV, MYO, LV on 20
        ACDC volumes at 5 x 1.5625 x 1.5625 mm is 0.979, 0.985, 0.996 with it, and 0.982, 0.994, 0.998 like this.

        Returns:
            y_DHW, uint8.
        """
        self._expect(label_stored)
        y_DHW = np.zeros(self.spec.shape_DHW, dtype=np.uint8)
        # Copied: the next class is resampled in the same memory.
        shares = np.stack([self._resampled(label_stored == label).copy() for label in range(len(CLASSES))])
        largest(shares, self._scratch, out=y_DHW[self._filled])
        return y_DHW

    def logits_to_stored(
        self, logits_CDHW: NDArray[np.floating[Any]], *, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Interpolate logits linearly at every stored voxel in the field of view and take the largest class.

        Args:
            logits_CDHW: on the network's grid.
            out: mask in the stored shape to write to; None makes one.

        Returns:
            Mask in the stored shape, uint8; background outside the field of view.
        """
        if logits_CDHW.shape[1:] != self.spec.shape_DHW:
            raise ValueError(f"logits of shape {logits_CDHW.shape} do not lie on the grid {self.spec.shape_DHW}")
        mask = self._cleared_mask(out)
        scratch, shape = self._scratch, self.spec.shape_DHW
        logits = contiguous(logits_CDHW, scratch)
        # Interpolation averages its neighbours: where background wins in all of them it wins in between. So only the
        # box around the foreground needs work, a third of the field of view or less on a heart; the result is the same.
        best = np.maximum.reduce(logits[1:], out=scratch.take("foreground", shape, np.float32))
        box = _bounding_box(np.greater(best, logits[0], out=scratch.take("wins", shape, np.bool_)))
        backward = [axis.backward for axis in self._axes]
        touched = [np.flatnonzero(matrix[:, run].any(axis=1)) for matrix, run in zip(backward, box, strict=True)]
        if all(rows.size for rows in touched):
            target = tuple(slice(int(rows[0]), int(rows[-1]) + 1) for rows in touched)
            wider = [used_columns(matrix[rows]) for matrix, rows in zip(backward, target, strict=True)]
            source = (slice(None), *(columns for _, columns in wider))
            most = len(logits) * math.prod(max(matrix.shape) for matrix in backward)
            shares = apply_matrices([matrix for matrix, _ in wider], logits[source], scratch, most=most)
            largest(shares, scratch, out=mask[self._seen][target])
        return mask.transpose(self._to_stored)

    def mask_to_stored(self, mask_DHW: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Give every stored voxel in the field of view the class of the nearest network voxel."""
        if mask_DHW.shape != self.spec.shape_DHW:
            raise ValueError(f"a mask of shape {mask_DHW.shape} does not lie on the grid {self.spec.shape_DHW}")
        mask = self._cleared_mask(None)
        mask[self._seen] = mask_DHW.astype(np.uint8)[np.ix_(*(axis.nearest for axis in self._axes))]
        return mask.transpose(self._to_stored)

    @property
    def field_of_view(self) -> tuple[slice, slice, slice]:
        """The part of the stored volume that the network sees, by stored axis; masks are background outside."""
        by_axis = dict(zip(self._orientation.stored_axis, self._seen, strict=True))
        return by_axis[0], by_axis[1], by_axis[2]

    @property
    def stored_axes(self) -> tuple[int, int, int]:
        """The stored axes that are z, y, x."""
        return self._orientation.stored_axis

    @property
    def crops_depth(self) -> bool:
        """Whether the stack is taller than the field of view."""
        return not self._maps[_DEPTH].holds_image

    def kept_share(self, label_stored: NDArray[np.uint8]) -> float:
        """Share of the labelled voxels that lie inside the field of view; 1 if nothing is labelled."""
        self._expect(label_stored)
        labelled = np.count_nonzero(label_stored)
        kept = np.count_nonzero(label_stored.transpose(self._orientation.stored_axis)[self._seen])
        return kept / labelled if labelled else 1.0

    def _image_position(self, point_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Index (z, y, x) of a world point, counted in the network's direction, clipped to the image."""
        affine = self.geometry.affine
        stored = np.linalg.solve(affine[:3, :3], np.asarray(point_mm, dtype=np.float64) - affine[:3, 3])
        last = np.subtract(self.geometry.shape, 1)
        axes = list(self._orientation.stored_axis)
        position: NDArray[np.float64] = np.clip(stored, 0, last)[axes]
        return np.where(self._orientation.flipped, last[axes] - position, position)

    def network_affine(self) -> NDArray[np.float64]:
        """4 x 4 affine of an array with axes DHW: index (d, h, w) to world mm (Right, Anterior, Superior)."""
        to_stored = np.zeros((4, 4))
        to_stored[3, 3] = 1
        for column, (axis, flipped, axis_map) in enumerate(
            zip(self._orientation.stored_axis, self._orientation.flipped, self._maps, strict=True)
        ):
            first, step = float(axis_map.image_index()[0]), axis_map.step
            to_stored[axis, column] = -step if flipped else step
            to_stored[axis, 3] = axis_map.image_size - 1 - first if flipped else first
        affine: NDArray[np.float64] = self.geometry.affine @ to_stored
        return affine

    def _expect(self, stored: NDArray[Any]) -> None:
        if stored.shape != self.geometry.shape:
            raise ValueError(f"an array of shape {stored.shape} does not lie on the grid {self.geometry.shape}")

    def _resampled(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """On the network's grid where the image fills it; valid until the next call."""
        seen = stored.transpose(self._orientation.stored_axis)[tuple(axis.source for axis in self._axes)]
        matrices, bands = [axis.forward for axis in self._axes], [axis.bands for axis in self._axes]
        values: NDArray[np.float32] = apply_matrices(matrices, seen[None], self._scratch, bands=bands)[0]
        return values

    def _cleared_mask(self, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """The mask to write to as (z, y, x), all background."""
        axes = self._orientation.stored_axis
        turned = None if out is None else out.transpose(axes)
        return _cleared(turned, tuple(self.geometry.shape[axis] for axis in axes), np.uint8)


_Number = TypeVar("_Number", np.float32, np.uint8)


def _cleared(
    out: NDArray[_Number] | None,
    shape: tuple[int, ...],
    dtype: type[_Number],
    written: tuple[slice, ...] | None = None,
) -> NDArray[_Number]:
    """The array to write to, all 0; where all of it is going to be written, as it is."""
    if out is None:
        return np.zeros(shape, dtype)
    if out.shape != shape:
        raise ValueError(f"an output of shape {out.shape} does not lie on the grid {shape}")
    if written is None or any(run.stop - run.start < size for run, size in zip(written, shape, strict=True)):
        out.fill(0)
    return out


def _bounding_box(mask: NDArray[np.bool_]) -> list[slice]:
    """The smallest box that holds every true voxel; empty slices if there is none."""
    box = []
    for axis in range(mask.ndim):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 0))
    return box
