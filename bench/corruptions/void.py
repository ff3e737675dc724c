"""The signal void of a catheter or guidewire in the blood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.corruptions.scan import Scan

RIM = 0.35
"""Brightness that piles up around the void, as a share of the brightest 1 % of voxels."""
_RV, _LV = 1, 3


def device_void(scan: Scan, strength: float, rng: np.random.Generator) -> Scan:
    """Darken a slanted tube through a ventricle and brighten its rim; labels stay.

    A passive device is seen by its susceptibility: signal is lost around it, and some of it is found again at the rim.

    Args:
        scan: frame with a labelled LV or RV.
        strength: radius of the void, in mm.
        rng: draws ventricle, place and slant.
    """
    _, height, width = scan.image_DHW.shape
    present = [label for label in (_RV, _LV) if (scan.label_DHW == label).any()]
    inside = np.argwhere(scan.label_DHW == rng.choice(present)) if present else np.argwhere(scan.image_DHW >= 0)
    point = inside[rng.integers(len(inside))]
    slant = rng.normal(0, 0.15, 2)
    y, x = np.arange(height)[:, None], np.arange(width)[None, :]
    image = scan.image_DHW.copy()
    bright = float(np.percentile(image, 99))
    for index, plane in enumerate(image):
        # Millimetres moved within the plane per millimetre along the stack.
        centre = slant * (index - point[0]) * scan.spacing_mm[0]
        distance = np.hypot(
            (y - point[1]) * scan.spacing_mm[1] - centre[0], (x - point[2]) * scan.spacing_mm[2] - centre[1]
        )
        relative = distance / strength
        image[index] = plane * (1 - np.exp(-(relative**6)))
        image[index] += RIM * bright * np.exp(-(((relative - 1.15) / 0.12) ** 2))
    return replace(scan, image_DHW=image)
