"""Primitive ops and the blocks around them as torch modules (Zeng 2020, Table 1). Axes: x_BCDHW.

Every convolution is conv - batch norm - ReLU, in the order that inference engines fuse.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cinert.op_registry import op_spec
from cinert.space import OpName, Shape3


def conv_block(channels_in: int, channels_out: int, *, kernel: int, dilation: int = 1) -> nn.Sequential:
    """Convolution that keeps the size, with batch norm and ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv3d(channels_in, channels_out, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm3d(channels_out),
        nn.ReLU(),
    )


def plain(channels: int) -> nn.Module:
    """Convolution 3x3x3."""
    return conv_block(channels, channels, kernel=3)


def dilated(channels: int) -> nn.Module:
    """Convolution 3x3x3 with dilation 2."""
    return conv_block(channels, channels, kernel=3, dilation=2)


def separable(channels: int) -> nn.Module:
    """Depthwise convolution 3x3x3, then a pointwise one."""
    depthwise = nn.Conv3d(channels, channels, 3, padding=1, groups=channels, bias=False)
    return nn.Sequential(depthwise, *conv_block(channels, channels, kernel=1))


def maxpool(channels: int) -> nn.Module:
    """Max-pooling 3x3x3, which keeps the size."""
    del channels
    return nn.MaxPool3d(3, stride=1, padding=1)


def identity(channels: int) -> nn.Module:
    """What it reads."""
    del channels
    return nn.Identity()


def make_op(op: OpName, channels: int) -> nn.Module:
    """Build a primitive op that maps (B, channels, D, H, W) to the same shape. `zero` is no op: it is no edge.

    Raises:
        BadInputError: no op has the name.
    """
    return op_spec(op).make(channels)


class Upsample(nn.Module):
    """Trilinear upsampling to an exact size (D, H, W)."""

    def __init__(self, shape_DHW: Shape3) -> None:
        super().__init__()
        self.shape_DHW = shape_DHW

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Resize; align_corners is off, as TensorRT, ONNX Runtime and OpenVINO define it."""
        return nn.functional.interpolate(x_BCDHW, size=self.shape_DHW, mode="trilinear", align_corners=False)


def make_preprocessing(
    channels_in: int, channels_out: int, *, stride: Shape3 | None = None, upsample_to: Shape3 | None = None
) -> nn.Sequential:
    """Build a cell's preprocessing: max-pool, identity or upsampling, with a 1x1x1 convolution to the cell's width.

    Pooling comes before the convolution and upsampling after it, so that the convolution runs at the coarser scale.
    """
    convolution = conv_block(channels_in, channels_out, kernel=1)
    if stride is not None:
        return nn.Sequential(nn.MaxPool3d(stride, stride), *convolution)
    if upsample_to is not None:
        return nn.Sequential(*convolution, Upsample(upsample_to))
    return convolution


class Concatenate(nn.Module):
    """Concatenation of a cell's nodes along the channels."""

    def forward(self, *nodes_BCDHW: Tensor) -> Tensor:
        """Join along C; a single node is passed on as it is."""
        return nodes_BCDHW[0] if len(nodes_BCDHW) == 1 else torch.cat(nodes_BCDHW, dim=1)


class Merge(nn.Module):
    """Sum of the edges that meet in a node."""

    def forward(self, *edges_BCDHW: Tensor) -> Tensor:
        """Add; all shapes are equal."""
        total = edges_BCDHW[0]
        for edge in edges_BCDHW[1:]:
            total = total + edge
        return total
