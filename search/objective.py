"""The search's loss: accuracy and latency (Zeng 2020, Eq. 6; Lu 2022, Eq. 2)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from search.settings import SearchSettings

LARGEST_EXPONENT = 10.0


def weighted_loss(cross_entropy: Tensor, latency_ms: Tensor, latency_weight: float) -> Tensor:
    """L = CE + lambda LAT (Zeng 2020, Eq. 6), with LAT in milliseconds."""
    return cross_entropy + latency_weight * latency_ms.to(cross_entropy)


def bounded_loss(cross_entropy: Tensor, latency_ms: Tensor, latency_weight: float, bound_ms: float) -> Tensor:
    """L = CE LAT + lambda exp(LAT - bound) (Lu 2022, Eq. 2), with both times in milliseconds.

    Above an exponent of 10 the exponential goes on as its tangent, so that it neither overflows nor loses its
    gradient where a network is far too slow.
    """
    latency_ms = latency_ms.to(cross_entropy)
    excess = latency_ms - bound_ms
    # Capped also where it is not taken: an infinite branch would make the gradient of the other NaN.
    curve = excess.clamp(max=LARGEST_EXPONENT).exp()
    tangent = math.exp(LARGEST_EXPONENT) * (1 + excess - LARGEST_EXPONENT)
    penalty = torch.where(excess > LARGEST_EXPONENT, tangent, curve)
    return cross_entropy * latency_ms + latency_weight * penalty


class Objective:
    """The loss that the settings name."""

    def __init__(self, settings: SearchSettings) -> None:
        self._loss, self._weight, self._bound_ms = settings.loss, settings.latency_weight or 0.0, settings.bound_ms

    def __call__(self, cross_entropy: Tensor, latency_ms: Tensor | None) -> Tensor:
        """The loss; without a latency term, or with a hard budget (`search.lagrangian`), it is the cross-entropy."""
        if latency_ms is None or self._loss == "lagrangian":
            return cross_entropy
        if self._bound_ms is not None:
            return bounded_loss(cross_entropy, latency_ms, self._weight, self._bound_ms)
        return weighted_loss(cross_entropy, latency_ms, self._weight)
