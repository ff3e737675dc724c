"""Beats of unequal length: slices of one stack that show different phases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.corruptions.scan import Scan


def mixed_phases(scan: Scan, strength: float, rng: np.random.Generator) -> Scan:
    """Take some slices from the patient's other labelled phase (ES in a stack of ED, or the reverse).

    Labels are those of what each slice shows: Dice says how well the slices are segmented, and nothing of the volumes,
    which belong to no phase. This is the worst case; a real arrhythmia mixes phases that are closer.

    Args:
        scan: with its other phase.
        strength: share of the slices, in percent; one slice at least.
        rng: chooses the slices among those that show the heart.

    Raises:
        ValueError: the scan has no other phase.
    """
    if scan.other is None:
        raise ValueError("the other phase is needed to mix phases")
    heart = np.flatnonzero(scan.label_DHW.any(axis=(1, 2)) | scan.other[1].any(axis=(1, 2)))
    chosen = rng.choice(heart, max(1, round(strength / 100 * heart.size)), replace=False)
    image, label = scan.image_DHW.copy(), scan.label_DHW.copy()
    image[chosen], label[chosen] = scan.other[0][chosen], scan.other[1][chosen]
    return replace(scan, image_DHW=image, label_DHW=label)
