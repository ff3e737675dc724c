"""Frames to time a pipeline with: the user's cine, or noise on the grid of a usual short-axis stack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinert.data.cine import open_cine
from cinert.data.nifti import Geometry

USUAL_SHAPE = (256, 256, 10)
"""Stored axes (x, y, z) of a usual short-axis stack: 256 x 256 pixels, 10 slices."""
USUAL_SPACING_MM = (1.4, 1.4, 10.0)
DISTINCT_FRAMES = 8


@dataclass(frozen=True, slots=True, eq=False)
class FrameSource:
    """Frames in stored axes, all of one geometry; a stream goes round and round through them.

    `notes` are what the user should know of how they were read, as `cinert.data.nifti.Cine` has them.
    """

    name: str
    geometry: Geometry
    frames: tuple[NDArray[np.generic], ...]
    notes: tuple[str, ...] = ()

    def frame(self, number: int) -> NDArray[np.generic]:
        """Frame of a stream, by its number."""
        return self.frames[number % len(self.frames)]


def synthetic_frames(seed: int = 0) -> FrameSource:
    """Noise with the range and type of a bSSFP magnitude image, uint16, around a bright blood pool.

    Latency does not depend on what is in the image, but on its size, its spacing and its type.
    """
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, size) for size in USUAL_SHAPE]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    pool = 900 * np.exp(-12 * (x**2 + y**2) - z**2)
    frames = tuple(
        np.hypot(200 + pool + rng.normal(0, 40, USUAL_SHAPE), rng.normal(0, 40, USUAL_SHAPE)).astype(np.uint16)
        for _ in range(DISTINCT_FRAMES)
    )
    geometry = Geometry(USUAL_SHAPE, np.diag([-USUAL_SPACING_MM[0], -USUAL_SPACING_MM[1], USUAL_SPACING_MM[2], 1.0]))
    shape = " x ".join(map(str, USUAL_SHAPE))
    spacing = " x ".join(f"{value:g}" for value in USUAL_SPACING_MM)
    return FrameSource(f"synthetic {shape} at {spacing} mm", geometry, frames)


def cine_frames(path: Path) -> FrameSource:
    """Frames of the user's cine, a 4D NIfTI file or the folder of a DICOM series.

    Raises:
        BadInputError: it cannot be read.
    """
    cine = open_cine(path)
    frames = tuple(np.asfortranarray(cine.image[..., phase]) for phase in range(cine.image.shape[3]))
    return FrameSource(path.name, cine.geometry, frames, cine.notes)
