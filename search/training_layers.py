"""Layers of a network as a CPU trains them fast: the same sums, and the same names of parameters.

PyTorch convolves and pools volumes fast whose channels lie last, but it loses that layout where a convolution has one
channel to read, as a stem has, or a kernel of 1x1x1, and all that follows is slow. It is slow, too, where a kernel is
flat in a way that it knows of images better than of volumes: depthwise within slices, or across slices alone. A 1x3x3
kernel on all channels takes the same time either way. `benchmarks/training_speed.py` measures what a network gains.
Inference has layers of its own (`cinert.backends.cpu_layers`).
"""

from __future__ import annotations

import itertools
import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from search.pointwise import pointwise, rows

_Conv = nn.Conv2d | nn.Conv3d
_Norm = nn.BatchNorm2d | nn.BatchNorm3d
_Transposed = nn.ConvTranspose2d | nn.ConvTranspose3d
# Fewer outputs are as fast as they are: one thread of an Intel Xeon with AVX-512, torch 2.13.
_LEAST_ENLARGED = 8


def use_training_layers(module: nn.Module) -> None:
    """Replace layers below a module, in place; parameters stay the same objects under the same names."""
    before: nn.Module | None = None
    for name, child in list(module.named_children()):
        use_training_layers(child)
        setattr(module, name, _replaced(child))
        if isinstance(module, nn.Sequential) and isinstance(child, nn.ReLU) and isinstance(before, _Norm):
            # Nobody else reads what the norm gives, its gradient neither: one pass over memory less.
            child.inplace = True
        before = child


def _replaced(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Conv2d | nn.Conv3d) and layer.padding_mode == "zeros" and isinstance(layer.padding, tuple):
        return _replaced_convolution(layer)
    if isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d) and _enlarges(layer):
        return _Enlarging(layer)
    if isinstance(layer, nn.MaxPool3d) and _pools_slices(layer):
        return _SlicePool(layer)
    return layer


def _replaced_convolution(layer: _Conv) -> nn.Module:
    taps = math.prod(layer.kernel_size)
    if layer.in_channels == 1 and taps > 1 and set(layer.dilation) == {1}:
        return _FirstConvolution(layer)
    if isinstance(layer, nn.Conv2d):
        return layer
    kernel = layer.kernel_size
    if _is_pointwise(layer):
        return _Pointwise(layer)
    if taps > 1 and kernel[0] == 1 and _keeps_slices(layer) and layer.groups == layer.in_channels:
        return _InPlane(layer)
    if kernel[0] > 1 and kernel[1:] == (1, 1) and layer.groups == 1 and _keeps_plane(layer):
        return _ThroughPlane(layer)
    return layer


class _Layer(nn.Module):
    """Has the parameters of the layer that it stands for."""

    def __init__(self, layer: _Conv | _Transposed) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self._stride, self._dilation, self._groups = layer.stride, layer.dilation, layer.groups
        self._padding = cast("tuple[int, ...]", layer.padding)


class _Pointwise(_Layer):
    """A 1x1x1 convolution as a matrix product; its output has its channels last."""

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        return pointwise(x_BCDHW, self.weight, self.bias)


class _FirstConvolution(_Layer):
    """A convolution of a single channel as a product with its shifted copies; its output has its channels last."""

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[2:]
        padded = functional.pad(x[:, 0], [size for pad in reversed(self._padding) for size in (pad, pad)])
        sizes = [
            (size - taps) // step + 1 for size, taps, step in zip(padded.shape[1:], kernel, self._stride, strict=True)
        ]
        copies = []
        for start in itertools.product(*map(range, kernel)):
            window = [
                slice(first, first + step * (size - 1) + 1, step)
                for first, step, size in zip(start, self._stride, sizes, strict=True)
            ]
            copies.append(padded[:, *window])
        taps_TV = torch.stack(copies).flatten(1)
        product_VC = functional.linear(taps_TV.t(), self.weight.flatten(1), self.bias)
        return product_VC.view(len(x), *sizes, len(self.weight)).movedim(-1, 1)


class _Enlarging(_Layer):
    """A transposed convolution whose kernel is its stride, as a matrix product of each voxel."""

    def forward(self, x: Tensor) -> Tensor:
        dims = x.dim() - 2
        volume = x if dims == 3 else x[:, :, None]
        kernel = self.weight.shape[2:]
        outputs = self.weight.shape[1]
        weight = self.weight.movedim(1, -1).flatten(1)
        bias = None if self.bias is None else self.bias.repeat(math.prod(kernel))
        product = functional.linear(rows(volume), weight.t(), bias)
        # (B, D, H, W, d, h, w, C), and each axis of the kernel joined to its own of the grid.
        parts = product.view(len(x), *x.shape[2:], *kernel, outputs)
        order = [0, *(axis for pair in range(dims) for axis in (1 + pair, 1 + dims + pair)), 1 + 2 * dims]
        sizes = [size * step for size, step in zip(x.shape[2:], kernel, strict=True)]
        return parts.permute(order).reshape(len(x), *sizes, outputs).movedim(-1, 1)


class _InPlane(_Layer):
    """A convolution within slices, as that of images."""

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        convolved_NCHW = functional.conv2d(
            _slices(x_BCDHW),
            self.weight.squeeze(2),
            self.bias,
            self._stride[1:],
            self._padding[1:],
            self._dilation[1:],
            self._groups,
        )
        return _volumes(convolved_NCHW, x_BCDHW)


class _ThroughPlane(_Layer):
    """A convolution across slices alone, as that of images whose lines are the slices."""

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        convolved = functional.conv2d(
            x_BCDHW.flatten(3),
            self.weight.flatten(3),
            self.bias,
            (self._stride[0], 1),
            (self._padding[0], 0),
            (self._dilation[0], 1),
        )
        volume: Tensor = convolved.unflatten(3, x_BCDHW.shape[3:])
        return volume


class _SlicePool(nn.Module):
    """Max-pooling within slices, as that of images, whose gradient PyTorch computes without changing the layout."""

    def __init__(self, pool: nn.MaxPool3d) -> None:
        super().__init__()
        self._window = cast("tuple[int, ...]", pool.kernel_size)[1:]

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        return _volumes(functional.max_pool2d(_slices(x_BCDHW), self._window), x_BCDHW)


def _slices(x_BCDHW: Tensor) -> Tensor:
    """The slices of volumes as a batch of images: a view where channels lie last."""
    return x_BCDHW.transpose(1, 2).flatten(0, 1)


def _volumes(slices_NCHW: Tensor, like_BCDHW: Tensor) -> Tensor:
    """Slices back in volumes of as many."""
    volumes: Tensor = slices_NCHW.unflatten(0, (len(like_BCDHW), like_BCDHW.shape[2])).transpose(1, 2)
    return volumes


def _is_pointwise(layer: nn.Conv3d) -> bool:
    ones, zeros = (1, 1, 1), (0, 0, 0)
    return (layer.kernel_size, layer.stride, layer.padding, layer.groups) == (ones, ones, zeros, 1)


def _keeps_slices(layer: nn.Conv3d) -> bool:
    return (layer.stride[0], layer.padding[0]) == (1, 0)


def _keeps_plane(layer: nn.Conv3d) -> bool:
    return (layer.stride[1:], layer.padding[1:]) == ((1, 1), (0, 0))


def _enlarges(layer: _Transposed) -> bool:
    plain = {*layer.padding, *layer.output_padding} == {0} and set(layer.dilation) == {1} and layer.groups == 1
    return plain and layer.kernel_size == layer.stride and layer.out_channels >= _LEAST_ENLARGED


def _pools_slices(layer: nn.MaxPool3d) -> bool:
    asked = (layer.stride, layer.padding, layer.dilation, layer.ceil_mode, layer.return_indices)
    window = layer.kernel_size
    return isinstance(window, tuple) and window[0] == 1 and asked == (window, 0, 1, False, False)
