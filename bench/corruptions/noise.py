"""Noise of a magnitude image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.corruptions.scan import Scan


def rician_noise(scan: Scan, strength: float, rng: np.random.Generator) -> Scan:
    """Add Gaussian noise to both channels of the complex image and take its magnitude (Gudbjartsson and Patz 1995).

    Args:
        scan: frame.
        strength: standard deviation in each channel, in percent of the 99th percentile of the grey values.
        rng: of the noise.
    """
    from monai.transforms.intensity.array import RandRicianNoise  # noqa: PLC0415 - slow to import: torch

    sd = strength / 100 * float(np.percentile(scan.image_DHW, 99))
    noise = RandRicianNoise(prob=1.0, std=sd, sample_std=False)
    noise.set_random_state(seed=int(rng.integers(2**31)))
    return replace(scan, image_DHW=np.asarray(noise(scan.image_DHW), dtype=np.float32))
