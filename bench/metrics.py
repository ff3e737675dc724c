"""Dice and HD95 per class on the original grid, with no NaN and no miss left out of a mean.

MONAI computes both where a structure is present in truth and prediction. Where one of the two is empty MONAI
answers NaN or infinity, and a mean over what is left flatters a network that misses structures. Here a missed or an
invented structure scores Dice 0 and the worst distance. One that is rightly absent has no score and leaves the mean.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinert.scores import Score, mean_of, spread_of

CLASS_LABELS: dict[str, int] = {"rv": 1, "myo": 2, "lv": 3}
"""Foreground classes in the order of every table; 0 is background."""

Spacing = tuple[float, float, float]
Scores = dict[str, Score]
"""A number per class, by its name; None where the class is in neither mask."""


@dataclass(frozen=True, slots=True)
class FrameScore:
    """Scores of one predicted mask."""

    dice: Scores
    hd95_mm: Scores

    @property
    def mean_dice(self) -> Score:
        """Mean over the foreground classes that are in one of the masks."""
        return mean_of(self.dice.values())


def diagonal_mm(shape: Sequence[int], spacing_mm: Sequence[float]) -> float:
    """Physical diagonal of a volume in mm: no two of its points lie further apart."""
    return math.hypot(*(size * spacing for size, spacing in zip(shape, spacing_mm, strict=True)))


def score_mask(predicted: NDArray[np.integer], truth: NDArray[np.integer], spacing_mm: Spacing) -> FrameScore:
    """Score a mask against the truth, class by class.

    Args:
        predicted: labels 0..3, three axes in stored order.
        truth: labels 0..3 on the same grid.
        spacing_mm: distance between voxel centres along those axes.

    Returns:
        Dice in 0..1 and HD95 in mm: the larger of the 95th percentiles of the two directed surface distances
        (MONAI, `compute_hausdorff_distance(percentile=95)`). None for a class that neither mask holds.

    Raises:
        ValueError: the two masks differ in shape, or are not 3D.
    """
    if predicted.shape != truth.shape or predicted.ndim != 3:
        raise ValueError(f"masks of shape {predicted.shape} and {truth.shape} cannot be compared")
    dice: Scores = {}
    hd95_mm: Scores = {}
    for name, label in CLASS_LABELS.items():
        dice[name], hd95_mm[name] = _score_class(predicted == label, truth == label, spacing_mm)
    return FrameScore(dice, hd95_mm)


def _score_class(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: Spacing) -> tuple[Score, Score]:
    found, present = bool(predicted.any()), bool(truth.any())
    if not found and not present:
        return None, None
    if found != present:
        return 0.0, diagonal_mm(truth.shape, spacing_mm)
    # MONAI and torch are slow to import, and --help needs neither.
    import torch  # noqa: PLC0415 - slow to import: torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance  # noqa: PLC0415 - slow to import: torch
    from monai.metrics.meandice import compute_dice  # noqa: PLC0415 - slow to import: torch

    box = _box_around(predicted | truth)
    predicted_BCxyz = torch.from_numpy(np.ascontiguousarray(predicted[box]))[None, None].float()
    truth_BCxyz = torch.from_numpy(np.ascontiguousarray(truth[box]))[None, None].float()
    dice = float(compute_dice(predicted_BCxyz, truth_BCxyz))
    with warnings.catch_warnings():
        # MONAI warns of an argument that MONAI itself passes (1.5 to 1.6); the user can do nothing about it.
        warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
        hd95 = float(
            compute_hausdorff_distance(
                predicted_BCxyz, truth_BCxyz, include_background=True, percentile=95, spacing=list(spacing_mm)
            )
        )
    return dice, hd95


def _box_around(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The smallest box that holds the mask and a margin of one voxel, so that no edge touches the box's side."""
    box = []
    for axis in range(mask.ndim):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(max(int(hit[0]) - 1, 0), int(hit[-1]) + 2))
    return tuple(box)


def mean_scores(scores: Iterable[Mapping[str, Score]]) -> Scores:
    """Mean per class, over the rows in which it is defined."""
    rows = list(scores)
    return {name: mean_of(row[name] for row in rows) for name in CLASS_LABELS}


def std_scores(scores: Iterable[Mapping[str, Score]]) -> Scores:
    """Sample standard deviation per class over the same rows; 0 for a single one, which has no spread to tell of."""
    rows = list(scores)
    return {name: spread_of(row[name] for row in rows) for name in CLASS_LABELS}
