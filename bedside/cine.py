"""A 4D cine segmented frame by frame, as it would arrive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.pipeline import STAGES, FramePipeline
from bedside.quality import Quality
from cinert.data.nifti import Cine
from cinert.timing import percentiles_ms

WARMUP_FRAMES = 10
"""Frames segmented before the first that is timed: the first ones allocate memory and wake the cores."""


COLUMNS = (*STAGES, "total")
"""Of `CineResult.stages_ms`; `total` is frame in to mask out on the wall clock."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CineResult:
    """Masks and timings of a cine."""

    mask: NDArray[np.uint8]
    """(x, y, z, t), stored axes."""
    stages_ms: NDArray[np.float64]
    """(frames, 6): the `COLUMNS` of each segmented frame; more rows than phases where the cine was repeated."""
    quality: tuple[Quality | None, ...]
    """Of each segmented frame; None where the bundle's score was not calibrated."""
    implausible: tuple[str, ...]
    """Of each segmented frame, why its mask cannot be a heart; empty where it can."""
    warmup: int
    """Frames segmented before, not counted."""

    def latency(self, budget_ms: float) -> dict[str, Any]:
        """Percentiles of frame in to mask out, deadline misses, and the median of each stage."""
        total = self.stages_ms[:, -1]
        return {
            "frames": len(total),
            "warmup_frames": self.warmup,
            "budget_ms": budget_ms,
            **percentiles_ms(total.tolist()),
            "misses": int((total > budget_ms).sum()),
            **{f"{stage}_p50_ms": float(np.median(self.stages_ms[:, column])) for column, stage in enumerate(STAGES)},
        }


def segment_phases(
    pipeline: FramePipeline,
    cine: Cine,
    *,
    repeat: int = 1,
    warmup: int = WARMUP_FRAMES,
    on_frame: Callable[[], None] | None = None,
) -> CineResult:
    """Segment every phase of a cine in order.

    Args:
        pipeline: is bound to the cine's geometry here.
        cine: (x, y, z, t).
        repeat: passes through the cine; further ones add latency samples, the masks are those of the first.
        warmup: frames segmented first and not counted.
        on_frame: called after every counted frame, outside its timing.
    """
    pipeline.bind(cine.geometry)
    phases = cine.image.shape[3]
    for number in range(warmup):
        image = cine.image[..., number % phases]
        pipeline.segment(image)
        pipeline.look(image)
    # Forget where the warm-up frames had the heart: they show phases that the first frame cannot know.
    pipeline.bind(cine.geometry)
    mask = np.zeros(cine.image.shape, dtype=np.uint8)
    stages_ms = np.zeros((phases * repeat, len(COLUMNS)))
    quality, implausible = [], []
    for number, row in enumerate(stages_ms):
        image = cine.image[..., number % phases]
        frame = pipeline.segment(image)
        pipeline.look(image)
        row[:] = [frame.stage_ms(stage) for stage in COLUMNS]
        quality.append(frame.quality)
        implausible.append(frame.implausible)
        if number < phases:
            mask[..., number] = frame.mask
        if on_frame is not None:
            on_frame()
    return CineResult(
        mask=mask, stages_ms=stages_ms, quality=tuple(quality), implausible=tuple(implausible), warmup=warmup
    )
