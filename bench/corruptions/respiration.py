"""Breathing: while a slice is measured it ghosts, and between slices the heart lies elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bench.corruptions.kspace import to_image, to_kspace
from bench.corruptions.scan import Scan

BREATHS = 3.0
"""Breaths within the acquisition of one slice, as in a gated cine in free breathing."""
_ndimage: Any = ndimage  # untyped in scipy


def breathing(scan: Scan, strength: float, rng: np.random.Generator) -> Scan:
    """Move the body along H by a sine while the lines of k-space are measured one after the other.

    Labels stay: the sine's mean is 0.

    Args:
        scan: frame.
        strength: amplitude in mm.
        rng: draws where in the breath each slice begins.
    """
    depth, lines, _ = scan.image_DHW.shape
    time = np.arange(lines) / lines
    start = rng.uniform(0, 2 * np.pi, (depth, 1))
    shift_DH = strength / scan.spacing_mm[1] * np.sin(2 * np.pi * BREATHS * time + start)
    frequency = (np.arange(lines) - lines // 2) / lines
    phase_DH = np.exp(-2j * np.pi * frequency * shift_DH).astype(np.complex64)
    return replace(scan, image_DHW=to_image(to_kspace(scan.image_DHW) * phase_DH[:, :, None]))


def shifted_slices(scan: Scan, strength: float, rng: np.random.Generator) -> Scan:
    """Shift every slice within its plane, image and label alike, as if each were of another breath hold.

    Args:
        scan: frame.
        strength: standard deviation along each axis, in mm.
        rng: draws the shifts.
    """
    image, label = np.empty_like(scan.image_DHW), np.empty_like(scan.label_DHW)
    for index in range(len(image)):
        step: NDArray[np.float64] = rng.normal(0, strength, 2) / np.array(scan.spacing_mm[1:])
        image[index] = _ndimage.shift(scan.image_DHW[index], step, order=1, mode="nearest")
        label[index] = _ndimage.shift(scan.label_DHW[index], step, order=0, mode="constant")
    return replace(scan, image_DHW=image, label_DHW=label)
