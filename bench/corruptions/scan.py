"""A labelled stack as corruptions see it: slices first, whatever the scanner stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinert.data.nifti import Geometry
from cinert.data.orientation import orientation_of


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A frame with its labels.

    Attributes:
        image_DHW: grey values, 0 or more.
        label_DHW: 0 background, 1 RV, 2 MYO, 3 LV: what the image shows, slice by slice.
        spacing_mm: along (D, H, W).
        other: image and label of the patient's other labelled phase, on the same grid; None where there is none.
    """

    image_DHW: NDArray[np.float32]
    label_DHW: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    other: tuple[NDArray[np.float32], NDArray[np.uint8]] | None = None

    @classmethod
    def of(
        cls,
        image: NDArray[np.float32],
        label: NDArray[np.uint8],
        geometry: Geometry,
        other: tuple[NDArray[np.float32], NDArray[np.uint8]] | None = None,
    ) -> Self:
        """From stored axes; `stored` leads back."""
        axes = orientation_of(geometry).stored_axis
        spacing = geometry.spacing_mm
        turned = None if other is None else (other[0].transpose(axes), other[1].transpose(axes))
        return cls(
            np.maximum(image.transpose(axes), 0),
            label.transpose(axes),
            (spacing[axes[0]], spacing[axes[1]], spacing[axes[2]]),
            turned,
        )


def stored(array_DHW: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """Back to the stored axes of `geometry`."""
    return array_DHW.transpose(np.argsort(orientation_of(geometry).stored_axis))


Corrupt = Callable[[Scan, float, np.random.Generator], Scan]
"""Gives a new scan and leaves the old one as it is; what it draws follows from the generator alone."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """A kind of corruption."""

    words: str
    meaning: str
    """Of a strength, with its unit."""
    unit: str
    strengths: tuple[float, ...]
    apply: Corrupt
    none: float = 0.0
    """Strength that changes nothing."""
