"""Layers of a network as a CPU trains them fast: the same sums, and the same names of parameters.

PyTorch convolves and pools volumes fast whose channels lie last, but it loses that layout where a convolution has one
channel to read, as a stem has, or a kernel of 1x1x1, and all that follows is slow. `benchmarks/training_speed.py`
measures what it costs. Inference has layers of its own (`cinert.backends.cpu_layers`).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from search.pointwise import pointwise


def use_training_layers(module: nn.Module) -> None:
    """Replace layers below a module, in place; parameters stay the same objects under the same names."""
    for name, child in list(module.named_children()):
        use_training_layers(child)
        setattr(module, name, _replaced(child))


def _replaced(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Conv3d) and layer.in_channels == 1:
        layer.register_forward_hook(_channels_last)
        return layer
    if isinstance(layer, nn.Conv3d) and _is_pointwise(layer):
        return _Pointwise(layer)
    if isinstance(layer, nn.MaxPool3d) and _pools_slices(layer):
        return _SlicePool(layer)
    return layer


def _channels_last(_layer: nn.Module, _inputs: object, output_BCDHW: Tensor) -> Tensor:
    return output_BCDHW.contiguous(memory_format=torch.channels_last_3d)


class _Pointwise(nn.Module):
    """A 1x1x1 convolution as a matrix product; its output has its channels last."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        return pointwise(x_BCDHW, self.weight, self.bias)


class _SlicePool(nn.Module):
    """Max-pooling within slices, as that of images, whose gradient PyTorch computes without changing the layout."""

    def __init__(self, pool: nn.MaxPool3d) -> None:
        super().__init__()
        self._window = cast("tuple[int, ...]", pool.kernel_size)[1:]

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        slices_NCHW = x_BCDHW.transpose(1, 2).flatten(0, 1)
        pooled_NCHW = functional.max_pool2d(slices_NCHW, self._window)
        pooled: Tensor = pooled_NCHW.unflatten(0, (len(x_BCDHW), x_BCDHW.shape[2])).transpose(1, 2)
        return pooled


def _is_pointwise(layer: nn.Conv3d) -> bool:
    ones, zeros = (1, 1, 1), (0, 0, 0)
    return (layer.kernel_size, layer.stride, layer.padding, layer.groups) == (ones, ones, zeros, 1)


def _pools_slices(layer: nn.MaxPool3d) -> bool:
    asked = (layer.stride, layer.padding, layer.dilation, layer.ceil_mode, layer.return_indices)
    window = layer.kernel_size
    return isinstance(window, tuple) and window[0] == 1 and asked == (window, 0, 1, False, False)
