"""NAS-UNet as a torch module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from cinert.baselines.blocks import conv_block
from cinert.baselines.nas_unet import CellNodes, CellOp, NasUNet
from cinert.baselines.slices import SliceSegmenter
from cinert.space import CLASSES, Shape3

Resizing = Literal["keep", "down", "up"]


class ChannelWeights(nn.Module):
    """x * sigmoid(W mean(x)): one factor per channel and image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(channels, channels, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Scale each channel; the shape is kept."""
        return x_NCHW * torch.sigmoid(self.weigh(x_NCHW.mean(dim=(2, 3), keepdim=True)))


def _conv(channels: int, resizing: Resizing, stride: tuple[int, int]) -> nn.Module:
    return nn.Sequential(_spatial(channels, resizing, stride, groups=1), nn.BatchNorm2d(channels), nn.ReLU())


def _depthwise(channels: int, resizing: Resizing, stride: tuple[int, int]) -> nn.Module:
    first = _spatial(channels, resizing, stride, groups=channels)
    return nn.Sequential(first, *conv_block(2, channels, channels, kernel=1))


def _spatial(channels: int, resizing: Resizing, stride: tuple[int, int], *, groups: int) -> nn.Module:
    if resizing == "up":
        # With this padding of the output, a kernel of 3 gives exactly stride times the size.
        extra = (stride[0] - 1, stride[1] - 1)
        return nn.ConvTranspose2d(
            channels, channels, 3, stride, padding=1, output_padding=extra, groups=groups, bias=False
        )
    step = stride if resizing == "down" else 1
    return nn.Conv2d(channels, channels, 3, step, padding=1, groups=groups, bias=False)


def _dilated(channels: int, resizing: Resizing, stride: tuple[int, int]) -> nn.Module:
    step = stride if resizing == "down" else 1
    convolution = nn.Conv2d(channels, channels, 3, step, padding=2, dilation=2, bias=False)
    block = (convolution, nn.BatchNorm2d(channels), nn.ReLU())
    # TensorRT builds no transposed convolution that is dilated.
    return nn.Sequential(*block, _upsampling(stride)) if resizing == "up" else nn.Sequential(*block)


def _upsampling(stride: tuple[int, int]) -> nn.Module:
    return nn.Upsample(scale_factor=(float(stride[0]), float(stride[1])), mode="bilinear", align_corners=False)


def _pool(kind: type[nn.MaxPool2d | nn.AvgPool2d], resizing: Resizing, stride: tuple[int, int]) -> nn.Module:
    return kind(stride, stride) if resizing == "down" else kind(3, 1, 1)


def _cweight(channels: int, resizing: Resizing, stride: tuple[int, int]) -> nn.Module:
    weights = ChannelWeights(channels)
    if resizing == "down":
        return nn.Sequential(nn.MaxPool2d(stride, stride), weights)
    if resizing == "up":
        return nn.Sequential(weights, _upsampling(stride))
    return weights


_OPS: dict[CellOp, Callable[[int, Resizing, tuple[int, int]], nn.Module]] = {
    "identity": lambda *_: nn.Identity(),
    "maxpool": lambda _, resizing, stride: _pool(nn.MaxPool2d, resizing, stride),
    "avgpool": lambda _, resizing, stride: _pool(nn.AvgPool2d, resizing, stride),
    "cweight": _cweight,
    "conv": _conv,
    "dilated": _dilated,
    "depthwise": _depthwise,
}


def make_cell_op(op: CellOp, channels: int, resizing: Resizing, stride: tuple[int, int]) -> nn.Module:
    """Build an op that maps (N, channels, H, W) to the same grid, or to one that is coarser or finer by the stride."""
    return _OPS[op](channels, resizing, stride)


class SearchedCell(nn.Module):
    """Nodes that sum ops on earlier nodes, concatenated: (N, len(nodes) * width, H, W).

    Args:
        nodes: edges into each node.
        width: channels of a node.
        resizing: what the ops on inputs 0 and 1 do to the grid.
        stride: along H, W, between the cell's grid and its coarser or finer neighbour.
    """

    def __init__(
        self, nodes: CellNodes, width: int, resizing: tuple[Resizing, Resizing], stride: tuple[int, int]
    ) -> None:
        super().__init__()
        self.sources = tuple(tuple(source for source, _ in node) for node in nodes)
        change: list[Resizing] = [*resizing]
        change += ["keep"] * len(nodes)
        self.ops = nn.ModuleList(
            nn.ModuleList(make_cell_op(op, width, change[source], stride) for source, op in node) for node in nodes
        )

    def forward(self, first_NCHW: Tensor, second_NCHW: Tensor) -> Tensor:
        """Run the nodes in order; both inputs have `width` channels."""
        states = [first_NCHW, second_NCHW]
        for sources, ops in zip(self.sources, self.ops, strict=True):
            assert isinstance(ops, nn.ModuleList)
            terms = [op(states[source]) for source, op in zip(sources, ops, strict=True)]
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            states.append(total)
        return torch.cat(states[2:], dim=1)


class NasUNetNetwork(SliceSegmenter):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W), slice by slice."""

    def __init__(self, arch: NasUNet) -> None:
        super().__init__(arch)
        nodes, widths = len(arch.down_cell), arch.widths
        self.stem = conv_block(2, arch.in_channels, nodes * widths[0])
        self.down, self.before_down = nn.ModuleList(), nn.ModuleList()
        self.up, self.before_up = nn.ModuleList(), nn.ModuleList()
        for level, (width, stride) in enumerate(zip(widths[1:], map(_in_plane, arch.strides), strict=True), start=1):
            # The first cell reads the stem twice; later ones bring the finer of their inputs to the coarser's grid.
            finer, finer_stride = max(level - 2, 0), _in_plane(arch.strides[level - 2]) if level > 1 else (1, 1)
            first = _to_width(nodes * widths[finer], width, finer_stride)
            self.before_down.append(nn.ModuleList((first, _to_width(nodes * widths[level - 1], width, (1, 1)))))
            self.down.append(SearchedCell(arch.down_cell, width, ("down", "down"), stride))
        for width, coarser, stride in zip(widths, widths[1:], map(_in_plane, arch.strides), strict=False):
            pair = (_to_width(nodes * width, width, (1, 1)), _to_width(nodes * coarser, width, (1, 1)))
            self.before_up.append(nn.ModuleList(pair))
            self.up.append(SearchedCell(arch.up_cell, width, ("keep", "up"), stride))
        self.head = nn.Conv2d(nodes * widths[0], len(CLASSES), 1)

    def side_outputs(self) -> list[nn.Module]:
        """Cells on the way up but the finest."""
        return list(self.up)[1:]

    def segment(self, x_NCHW: Tensor) -> Tensor:
        """Go down cell by cell, keep each level's result, and join it on the way up."""
        levels = [self.stem(x_NCHW)]
        for cell, before in zip(self.down, self.before_down, strict=True):
            assert isinstance(before, nn.ModuleList)
            levels.append(cell(before[0](levels[max(len(levels) - 2, 0)]), before[1](levels[-1])))
        x = levels.pop()
        for cell, before in zip(reversed(self.up), reversed(self.before_up), strict=True):
            assert isinstance(before, nn.ModuleList)
            x = cell(before[0](levels.pop()), before[1](x))
        logits: Tensor = self.head(x)
        return logits


def _in_plane(stride: Shape3) -> tuple[int, int]:
    return stride[1], stride[2]


def _to_width(channels: int, width: int, stride: tuple[int, int]) -> nn.Module:
    convolution = nn.Conv2d(channels, width, 1, stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())
