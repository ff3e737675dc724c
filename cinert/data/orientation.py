"""Which stored axis becomes which network axis, and in which direction.

The network sees every stack the same way up, whatever order its voxels were stored in: x (width) towards the patient's
Left, y (height) towards Posterior, slices (depth) towards Superior. Planes that are not transverse follow the
radiological convention: y towards Inferior in coronal and sagittal planes, x towards Posterior in sagittal ones; slices
then run towards Posterior (coronal) or Right (sagittal). Right-handed in all three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinert.data.bounds import slice_axis
from cinert.data.nifti import Geometry

# World axes are (Right, Anterior, Superior): -1 means towards Left, Posterior, Inferior.
_IN_PLANE_SIGN = (-1, -1, -1)
_SLICE_SIGN = (1, -1, 1)


@dataclass(frozen=True, slots=True)
class Orientation:
    """How stored axes map to the network's (z, y, x).

    Attributes:
        stored_axis: the stored axis that becomes z, y, x.
        flipped: whether that axis runs against the network's direction.
    """

    stored_axis: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]


def orientation_of(geometry: Geometry) -> Orientation:
    """Find the slice axis by spacing, then order and direct all axes by the affine.

    The slice axis is the stored axis with the distinctly largest spacing, else the last one. A direction exactly
    between two anatomical ones counts as the first of R-L, A-P, I-S.
    """
    spacing = np.asarray(geometry.spacing_mm)
    direction = geometry.affine[:3, :3] / spacing
    across = slice_axis(spacing)
    x_axis, y_axis = (axis for axis in range(3) if axis != across)
    # x wants to lie along R-L and y along I-S; A-P is left for whichever misses out.
    if _width_preference(direction[:, y_axis]) > _width_preference(direction[:, x_axis]) + 1e-6:
        x_axis, y_axis = y_axis, x_axis
    axes = (across, y_axis, x_axis)
    signs = (_SLICE_SIGN, _IN_PLANE_SIGN, _IN_PLANE_SIGN)
    flips = [_runs_against(direction[:, axis], sign) for axis, sign in zip(axes, signs, strict=True)]
    return Orientation(axes, (flips[0], flips[1], flips[2]))


def _width_preference(direction: NDArray[np.float64]) -> float:
    return float(abs(direction[0]) - abs(direction[2]))


def _runs_against(direction: NDArray[np.float64], towards: tuple[int, int, int]) -> bool:
    dominant = int(np.argmax(np.round(np.abs(direction), 6)))
    return bool(direction[dominant] * towards[dominant] < 0)
