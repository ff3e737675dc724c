"""The optimizer of alpha, gamma and beta."""

from __future__ import annotations

import math

import torch

from search.relaxation import ArchParameters
from search.settings import SearchSettings


def make_arch_optimizer(architecture: ArchParameters, settings: SearchSettings) -> torch.optim.Optimizer:
    """Adam, or SGD with the momentum and weight decay of Lu 2022, Sec. 3.1."""
    rate = settings.arch_learning_rate
    if settings.arch_optimizer == "sgd":
        return torch.optim.SGD(architecture.parameters(), lr=rate, momentum=0.9, weight_decay=3e-4)
    return torch.optim.Adam(architecture.parameters(), lr=rate, betas=(0.5, 0.999), weight_decay=1e-3)


def set_arch_rate(optimizer: torch.optim.Optimizer, settings: SearchSettings, epoch: float) -> None:
    """Let the rate of SGD fall to a tenth as a cosine over the second phase (0.01 to 0.001 in Lu 2022).

    Args:
        optimizer: of the architecture.
        settings: of the search.
        epoch: epochs done, with their fraction.
    """
    if settings.arch_optimizer == "sgd":
        progress = (epoch - settings.warmup_epochs) / (settings.epochs - settings.warmup_epochs)
        for group in optimizer.param_groups:
            group["lr"] = settings.arch_learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))
