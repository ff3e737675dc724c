"""Grey values without their unit: zero mean and a deviation of one, whatever a reconstruction counts in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_VARIANCES = (1e-24, 1e30)
"""What float32 sums of squares hold without loss."""
_ROUNDING = 1e-6
"""Rounding leaves a constant image with a deviation of this share of it; dividing by it would amplify noise."""


def standardise(values: NDArray[np.float32]) -> bool:
    """Subtract the mean and divide by the standard deviation, in place.

    Args:
        values: of any shape.

    Returns:
        False where they are constant or their squares leave float32; the values are of no use then.
    """
    # Rows are short enough for float32; adding all voxels in float64 takes four times as long.
    mean = float(values.sum(axis=-1).mean(dtype=np.float64)) / values.shape[-1]
    values -= np.float32(mean)
    variance = float(np.vdot(values, values)) / values.size
    least, most = _VARIANCES
    if not least < variance < most or math.sqrt(variance) <= _ROUNDING * abs(mean):
        return False
    values /= np.float32(math.sqrt(variance))
    return True


def in_another_unit(image: NDArray[Any]) -> NDArray[np.float32]:
    """The image with its largest value near 1; by a power of two, which rounds nothing.

    Args:
        image: any real type.
    """
    wide = image.astype(np.float64)
    peak = float(np.abs(wide).max())
    # Infinity and NaN stay what they are.
    scaled: NDArray[np.float64] = np.ldexp(wide, -int(np.frexp(peak)[1])) if math.isfinite(peak) else wide
    return scaled.astype(np.float32)
