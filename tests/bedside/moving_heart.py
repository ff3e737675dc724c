"""Hearts that move as patients do, a network that sees them perfectly through its crop, and a localiser that errs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bedside.follow import LOOK_FRAMES
from bedside.pipeline import FramePipeline, FrameResult
from bedside.plausibility import PlausibilityGate
from cinert.backends.base import Runner
from cinert.data.grid import PreprocessingSpec
from cinert.data.localiser import Localiser
from cinert.data.nifti import Geometry

SPEC = PreprocessingSpec(spacing_mm=(10.0, 3.125, 3.125), shape_DHW=(10, 64, 56))
GEOMETRY = Geometry((118, 118, 8), np.diag([3.0, 3.0, 10.0, 1.0]))
MIDDLE_MM = GEOMETRY.affine[:3, :3] @ ((np.array(GEOMETRY.shape) - 1) / 2)


def heart(offset_mm: tuple[float, float], *, scale: float = 1.0, beat: float = 0.0) -> NDArray[np.uint8]:
    """Labels of a heart of adult size about the image's centre and an offset, smaller at the last slices.

    Args:
        offset_mm: in x and y.
        scale: of its size in plane.
        beat: 0 at end diastole, 1 at end systole.
    """
    x, y = (np.arange(118) * 3.0 - MIDDLE_MM[axis] - offset_mm[axis] for axis in (0, 1))
    label = np.zeros(GEOMETRY.shape, np.uint8)
    for z in range(1, 7):
        size = scale * (1 - 0.06 * z)
        lv, wall = size * (28 - 9 * beat), size * (10 + 4 * beat)
        apart = np.hypot(x[:, None], y[None])
        beside = np.hypot((x[:, None] + 36 * size) / 1.1, y[None] / 1.3)
        label[..., z][beside < size * (26 - 5 * beat)] = 1
        label[..., z][apart < lv + wall] = 2
        label[..., z][apart < lv] = 3
    return label


class SeesAll(Runner):
    """Gives the labels back, as far as the crop shows them."""

    def __init__(self) -> None:
        self.input_shapes, self.output_shape = ((1, 1, *SPEC.shape_DHW),), (1, 4, *SPEC.shape_DHW)
        self.pipeline: FramePipeline | None = None
        self.label = np.zeros(GEOMETRY.shape, np.uint8)

    def run(self, *inputs):
        return self.logits(self.label)

    def logits(self, label: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen = self.pipeline._follower.grid.label_to_network(label)
        return np.stack([np.where(seen == label, 10.0, 0.0) for label in range(4)])[None].astype(np.float32)

    def execute(self):
        raise NotImplementedError

    def fork(self):
        raise NotImplementedError


class Errs(Localiser):
    """Says where the middle of the box around the largest heart is, with an error, and counts how often it is asked."""

    def __init__(self, error_mm: float = 0.0, seed: int = 0) -> None:
        self.error_mm, self.rng = error_mm, np.random.default_rng(seed)
        self.asked, self.says = 0, None
        self.runner = SeesAll()

    def bind(self, geometry):
        self.geometry = geometry
        return self

    def locate(self, image_stored):
        self.asked += 1
        if self.says is not None:
            return self.says
        found = np.argwhere(image_stored)
        if not len(found):
            return None
        affine = self.geometry.affine
        angle = self.rng.uniform(0, 2 * np.pi)
        error = self.error_mm * np.array([np.cos(angle), np.sin(angle), 0.0])
        return affine[:3, :3] @ ((found.min(axis=0) + found.max(axis=0)) / 2) + affine[:3, 3] + error


class Bedside:
    """A pipeline to which labels are shown, one by one; with `spare`, it may look after each."""

    def __init__(
        self, localiser: Localiser | None, *, spare: bool = True, look_frames: int = LOOK_FRAMES, geometry=GEOMETRY
    ) -> None:
        self.engine, self.spare = SeesAll(), spare
        self.pipeline = FramePipeline(
            self.engine, SPEC, localiser, gate=PlausibilityGate(), look_frames=look_frames
        ).bind(geometry)
        self.engine.pipeline = self.pipeline

    def show(self, label: NDArray[np.uint8]) -> tuple[FrameResult, float]:
        """The result, and the share of the labelled voxels that the crop kept."""
        self.engine.label = label
        result = self.pipeline.segment(label)
        kept = self.pipeline.kept_share(label)
        if self.spare:
            self.pipeline.look(label)
        return result, kept
