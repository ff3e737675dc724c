"""Layers of a decoded network as a CPU trains them fast: other kernels, the same sums, the same names of parameters.

`benchmarks/training_speed.py` measures it. Inference has layers of its own (`cinert.backends.cpu_layers`).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from search.max_pool import max_pool
from search.pointwise import pointwise

_MOST_CHANNELS = 32
"""Of a depthwise convolution that is run as a dense one: at 64 both take the same time."""


def use_training_layers(module: nn.Module) -> None:
    """Replace layers below a module, in place; parameters stay the same objects under the same names."""
    for name, child in list(module.named_children()):
        use_training_layers(child)
        setattr(module, name, _replaced(child))


def _replaced(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Conv3d) and _is_pointwise(layer):
        return _Pointwise(layer)
    if isinstance(layer, nn.MaxPool3d) and _keeps_size(layer):
        return _MaxPool()
    if type(layer) is nn.Sequential and len(layer) > 1 and _is_separable(layer[0], layer[1]):
        return _Separable(*layer)
    return layer


class _Pointwise(nn.Module):
    """1x1x1 convolution as a matrix product."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        return pointwise(x_BCDHW, self.weight, self.bias)


class _MaxPool(nn.Module):
    """Max-pool 3x3x3 with stride 1, axis after axis."""

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        return max_pool(x_BCDHW)


class _Separable(nn.Sequential):
    """Depthwise and pointwise convolution, with nothing between them, as one dense convolution."""

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        depthwise, mixing = cast("nn.Conv3d", self[0]), cast("_Pointwise", self[1])
        kernel = mixing.weight * depthwise.weight.transpose(0, 1)
        kernel = kernel.contiguous(memory_format=torch.channels_last_3d)
        x_BCDHW = functional.conv3d(x_BCDHW, kernel, mixing.bias, padding=1)
        for layer in list(self)[2:]:
            x_BCDHW = layer(x_BCDHW)
        return x_BCDHW


def _is_pointwise(layer: nn.Conv3d) -> bool:
    return _shape(layer) == (1, 1, 0, 1) and layer.groups == 1


def _is_separable(first: nn.Module, second: nn.Module) -> bool:
    return (
        isinstance(first, nn.Conv3d)
        and _shape(first) == (3, 1, 1, 1)
        and 1 < first.groups == first.in_channels == first.out_channels <= _MOST_CHANNELS
        and first.bias is None
        and isinstance(second, _Pointwise)
    )


def _shape(layer: nn.Conv3d) -> tuple[object, ...]:
    """Kernel, stride, padding and dilation, where all axes have the same."""
    asked = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    return tuple(values[0] if len(set(values)) == 1 else values for values in asked)


def _keeps_size(layer: nn.MaxPool3d) -> bool:
    asked = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode, layer.return_indices)
    return asked == (3, 1, 1, 1, False, False)
