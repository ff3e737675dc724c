"""What a mask is held against: the one before, and the volumes so far."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bedside.quality_features import heart_box
from cinert.data.nifti import CLASSES, Geometry
from cinert.quality import STRUCTURES, VolumeRange

REMEMBERED = 32
"""Frames whose volumes are kept, 1 to 2 beats at 22 frames/s: a plane that moved is new for no longer than that."""
_LABELS = len(CLASSES)
_MAX_SD, _MAX_LN = 5.0, 1.0


class MaskHistory:
    """The masks of one source on one geometry, newest last.

    The previous mask is compared on the stored grid, because the crop may have moved since.

    Args:
        geometry: of every mask.
    """

    def __init__(self, geometry: Geometry) -> None:
        self._voxel_ml = geometry.voxel_ml
        self._previous: NDArray[np.uint8] | None = None
        self._myo_ml: deque[float] = deque(maxlen=REMEMBERED)

    def copy(self) -> Self:
        """The same past, to go on from separately."""
        other = type(self).__new__(type(self))
        other._voxel_ml, other._myo_ml = self._voxel_ml, self._myo_ml.copy()
        other._previous = None if self._previous is None else self._previous.copy()
        return other

    def add(self, mask_stored: NDArray[np.uint8], volumes: Mapping[str, VolumeRange]) -> dict[str, float | None]:
        """Hold a mask against the past, which it then belongs to.

        Args:
            mask_stored: with a foreground.
            volumes: of other hearts.

        Returns:
            volume: distance of the volume's logarithm from the mean of other hearts, in their standard deviations, of
            the structure that is found and lies furthest; 5 at most. jump: 1 less the mean Dice with the previous mask
            over the structures in either. drift: absolute logarithm of the myocardium's volume over its median so
            far, 1 at most; muscle keeps its volume through the beat. The last two are None where there is no past.
        """
        known = self._previous is not None
        pairs = _pairs(mask_stored, mask_stored if self._previous is None else self._previous)
        if self._previous is None:
            self._previous = np.empty_like(mask_stored)
        np.copyto(self._previous, mask_stored)
        now = pairs.sum(axis=1)[1:]
        before = pairs.sum(axis=0)[1:]
        ml = {name: float(count) * self._voxel_ml for name, count in zip(STRUCTURES, now, strict=True)}
        drift = None
        if self._myo_ml and ml["myo"]:
            drift = min(abs(math.log(ml["myo"] / statistics.median(self._myo_ml))), _MAX_LN)
        if ml["myo"]:
            self._myo_ml.append(ml["myo"])
        in_either = now + before > 0
        dice = 2 * pairs.diagonal()[1:][in_either] / (now + before)[in_either]
        return {
            "volume": volume_distance(ml, volumes),
            "jump": float(1 - dice.mean()) if known else None,
            "drift": drift,
        }


def volume_distance(volumes_ml: Mapping[str, float], ranges: Mapping[str, VolumeRange]) -> float:
    """`volume` of `MaskHistory.add`; 0 where nothing is found."""
    distances = [
        abs(math.log(ml) - ranges[name].mean_ln_ml) / ranges[name].sd_ln_ml for name, ml in volumes_ml.items() if ml
    ]
    return min(max(distances, default=0.0), _MAX_SD)


def _pairs(now: NDArray[np.uint8], before: NDArray[np.uint8]) -> NDArray[np.intp]:
    """How many voxels have each pair of classes: (now, before); background in both counts for the box alone."""
    either = now if now is before else np.maximum(now, before)
    box = heart_box(either)
    code = now[box] * np.uint8(_LABELS) + before[box]
    counts: NDArray[np.intp] = np.bincount(code.ravel(), minlength=_LABELS**2).reshape(_LABELS, _LABELS)
    return counts
