"""Fewer lines of k-space than the image has rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.corruptions.kspace import to_image, to_kspace
from bench.corruptions.scan import Scan

CENTRE_SHARE = 0.08
"""Lines in the middle of k-space that are always measured, as in the fastMRI challenge (Zbontar et al., 2018)."""


def undersampled(scan: Scan, strength: float, rng: np.random.Generator) -> Scan:
    """Leave out random lines of k-space, other ones in each slice, and fill them with zeros.

    No reconstruction: what parallel imaging or a network would give is better.

    Args:
        scan: frame.
        strength: acceleration; one line in so many is measured, the middle of k-space among them.
        rng: chooses the lines.
    """
    depth, lines, _ = scan.image_DHW.shape
    measured = max(1, round(lines / strength))
    middle = np.abs(np.arange(lines) - lines // 2) < max(1, min(measured, CENTRE_SHARE * lines)) / 2
    keep_DH = np.tile(middle, (depth, 1))
    outer = np.flatnonzero(~middle)
    for row in keep_DH:
        row[rng.choice(outer, max(0, measured - int(middle.sum())), replace=False)] = True
    return replace(scan, image_DHW=to_image(to_kspace(scan.image_DHW) * keep_DH[:, :, None]))
