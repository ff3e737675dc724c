"""The search's loss: accuracy plus latency (Zeng 2020, Eq. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from cinert.paths import Path
from latency.cost import Relaxed, SpaceCosts, path_wise_ms


@dataclass(frozen=True)
class Objective:
    """Parts of the loss, each a scalar with its gradient."""

    cross_entropy: Tensor
    latency_ms: Tensor
    total: Tensor


def architecture_loss(
    logits_BKDHW: Tensor,
    labels_BDHW: Tensor,
    *,
    costs: SpaceCosts,
    relaxed: Relaxed,
    paths: Sequence[Path],
    latency_weight: float,
) -> Objective:
    """L = CE + lambda x LAT, with LAT in milliseconds over the n longest paths.

    Args:
        logits_BKDHW: the supernet's answer.
        labels_BDHW: int64, 0..3.
        costs: prices of the space.
        relaxed: the sample that weights the latency.
        paths: the n longest paths at this moment.
        latency_weight: lambda, 1e-4 in the paper.
    """
    cross_entropy = functional.cross_entropy(logits_BKDHW, labels_BDHW)
    latency_ms = path_wise_ms(costs, relaxed, paths)
    return Objective(cross_entropy, latency_ms, cross_entropy + latency_weight * latency_ms.to(cross_entropy))
