"""Max pooling on the CPU whose time does not depend on the data.

PyTorch pools a contiguous volume voxel by voxel and branches on each comparison: noise takes 2.5 times longer than
zeros, which no latency model can know. A channels-last volume is pooled by whole vectors of channels, to the same
maxima and always in the same time; 3x3x3 takes a fifth of it, the conversions included.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def with_vectorised_pools(module: nn.Module) -> nn.Module:
    """A copy of the module with every 3D max pooling on channels-last volumes."""
    return _replaced(copy.deepcopy(module))


def _replaced(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.MaxPool3d):
        return _ChannelsLast(module)
    for name, child in list(module.named_children()):
        setattr(module, name, _replaced(child))
    return module


class _ChannelsLast(nn.Module):
    def __init__(self, pool: nn.MaxPool3d) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        pooled: Tensor = self.pool(x_BCDHW.contiguous(memory_format=torch.channels_last_3d))
        return pooled.contiguous()
