"""Exponential moving average of weights: what is kept at the end, steadier than the last step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average of a module's state, batch-norm statistics included.

    The decay grows to its bound as steps add up, so that the random start is forgotten in short trainings too.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take the module's present state into the average."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, tensor in module.state_dict().items():
            average = self.state[name]
            if average.is_floating_point():
                average.lerp_(tensor, 1 - decay)
            else:
                average.copy_(tensor)

    def load(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Put back a stored average."""
        for name, tensor in state.items():
            self.state[name].copy_(tensor)
        self.steps = steps
