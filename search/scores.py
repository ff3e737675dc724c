"""Dice of label maps on the network's grid."""

from __future__ import annotations

import torch
from torch import Tensor

from cinert.space import CLASSES


def dice_per_class(predicted_NDHW: Tensor, labels_NDHW: Tensor) -> Tensor:
    """Dice of each volume and class.

    Args:
        predicted_NDHW: labels 0..3.
        labels_NDHW: labels 0..3.

    Returns:
        (N, 3) for RV, MYO, LV. A structure that is neither there nor predicted scores 1, a missed or invented one 0.
    """
    scores = []
    for number in range(1, len(CLASSES)):
        predicted = (predicted_NDHW == number).flatten(1)
        label = (labels_NDHW == number).flatten(1)
        total = predicted.sum(dim=1) + label.sum(dim=1)
        overlap = 2.0 * (predicted & label).sum(dim=1)
        scores.append(torch.where(total > 0, overlap / total.clamp_min(1), torch.ones_like(overlap)))
    return torch.stack(scores, dim=1)
