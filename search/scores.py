"""Dice of label maps on the network's grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cinert.scores import Score, mean_of
from cinert.space import CLASSES


def dice_per_class(predicted_NDHW: Tensor, labels_NDHW: Tensor) -> Tensor:
    """Dice of each volume and class.

    Args:
        predicted_NDHW: labels 0..3.
        labels_NDHW: labels 0..3.

    Returns:
        (N, 3) for RV, MYO, LV. A missed or invented structure scores 0; one that is neither there nor predicted has no
        score, NaN.
    """
    scores = []
    for number in range(1, len(CLASSES)):
        predicted = (predicted_NDHW == number).flatten(1)
        label = (labels_NDHW == number).flatten(1)
        total = predicted.sum(dim=1) + label.sum(dim=1)
        overlap = 2.0 * (predicted & label).sum(dim=1)
        scores.append(torch.where(total > 0, overlap / total.clamp_min(1), torch.full_like(overlap, torch.nan)))
    return torch.stack(scores, dim=1)


def mean_dice(frames: Sequence[Sequence[float]]) -> dict[str, Score]:
    """Mean over frames of the Dice of each class, and their mean; what has no score leaves the means.

    Args:
        frames: as `dice_per_class` gives them.

    Returns:
        {rv, myo, lv, mean}; None where no frame has a score.
    """
    columns = [[None if math.isnan(score) else score for score in column] for column in zip(*frames, strict=True)]
    means = [mean_of(column) for column in columns]
    return {**dict(zip(CLASSES[1:], means, strict=True)), "mean": mean_of(means)}
