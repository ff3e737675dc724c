"""NAS-UNet with its authors' cells as a torch module."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cinert.baselines.nas_unet import CellNodes, CellOp
from cinert.baselines.nas_unet_network import Resizing
from cinert.baselines.nas_unet_published import PublishedNasUNet
from cinert.baselines.slices import SliceSegmenter
from cinert.space import CLASSES

_STEM_WIDTHS = 4
"""Channels of a stem over those of a level's node."""
_GROUP = 16
_REDUCTION = 16


def _norm(channels: int, norm: str) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(channels // _GROUP if channels % _GROUP == 0 else 1, channels)


def _convolution(channels: int, resizing: Resizing, *, dilation: int = 1, groups: int = 1) -> nn.Module:
    """3x3; up it gives twice the size less one, down half the size rounded up."""
    if resizing == "up":
        return nn.ConvTranspose2d(
            channels, channels, 3, 2, padding=dilation, dilation=dilation, groups=groups, bias=False
        )
    stride = 2 if resizing == "down" else 1
    return nn.Conv2d(channels, channels, 3, stride, padding=dilation, dilation=dilation, groups=groups, bias=False)


class ReducedChannelWeights(nn.Module):
    """x * sigmoid(W2 relu(W1 mean(x))): one factor per channel and image, from a sixteenth of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = max(1, channels // _REDUCTION)
        self.weigh = nn.Sequential(nn.Conv2d(channels, reduced, 1), nn.ReLU(), nn.Conv2d(reduced, channels, 1))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Scale each channel; the shape is kept."""
        return x_NCHW * torch.sigmoid(self.weigh(x_NCHW.mean(dim=(2, 3), keepdim=True)))


def make_published_op(op: CellOp, channels: int, resizing: Resizing, norm: str) -> nn.Module:
    """Build an op that maps (N, channels, H, W) to the same grid, to half of it, or to twice its size less one."""
    match op:
        case "identity":
            return nn.Identity()
        case "maxpool":
            return nn.MaxPool2d(2, 2)
        case "avgpool":
            return nn.AvgPool2d(2, 2)
        case "cweight":
            weights = ReducedChannelWeights(channels)
            if resizing == "keep":
                return weights
            return nn.Sequential(weights, _convolution(channels, resizing), _norm(channels, norm))
        case "conv":
            layers = [_convolution(channels, resizing)]
        case "dilated":
            layers = [_convolution(channels, resizing, dilation=2)]
        case "depthwise":
            layers = [_convolution(channels, resizing, groups=channels), nn.Conv2d(channels, channels, 1, bias=False)]
    return nn.Sequential(*layers, _norm(channels, norm), nn.ReLU())


def joined(first_NCHW: Tensor, second_NCHW: Tensor) -> Tensor:
    """Sum; of different sizes the smaller one is brought to the larger one's (nearest)."""
    size = _largest(first_NCHW, second_NCHW)
    return _brought(first_NCHW, size) + _brought(second_NCHW, size)


def _largest(*xs_NCHW: Tensor) -> tuple[int, int]:
    return max(x.shape[2] for x in xs_NCHW), max(x.shape[3] for x in xs_NCHW)


def _brought(x_NCHW: Tensor, size_HW: tuple[int, int]) -> Tensor:
    return x_NCHW if x_NCHW.shape[2:] == size_HW else interpolate(x_NCHW, size=size_HW, mode="nearest")


class PublishedCell(nn.Module):
    """Nodes that sum ops on earlier nodes, concatenated: (N, len(nodes) * width, H, W).

    Args:
        nodes: edges into each node.
        channels_in: of both inputs.
        width: channels of a node.
        resizing: `down` or `up`: what the cell does to the grid of its input 1; up, its grid is that of input 0.
        norm: of all convolutions.
    """

    def __init__(
        self, nodes: CellNodes, channels_in: tuple[int, int], width: int, *, resizing: Resizing, norm: str
    ) -> None:
        super().__init__()
        strides = (2 if resizing == "down" else 1, 1)
        self.before = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.Conv2d(channels, width, 1, stride, bias=False), _norm(width, norm))
            for channels, stride in zip(channels_in, strides, strict=True)
        )
        self.rises = resizing == "up"
        changing: dict[int, Resizing] = {0: "down", 1: "down"} if resizing == "down" else {1: "up"}
        self.sources = tuple(tuple(source for source, _ in node) for node in nodes)
        self.ops = nn.ModuleList(
            nn.ModuleList(make_published_op(op, width, changing.get(source, "keep"), norm) for source, op in node)
            for node in nodes
        )

    def forward(self, first_NCHW: Tensor, second_NCHW: Tensor) -> Tensor:
        """Run the nodes in order."""
        states = [before(x) for before, x in zip(self.before, (first_NCHW, second_NCHW), strict=True)]
        for sources, ops in zip(self.sources, self.ops, strict=True):
            assert isinstance(ops, nn.ModuleList)
            states.append(functools.reduce(joined, (op(states[at]) for at, op in zip(sources, ops, strict=True))))
        size = _largest(*(states if self.rises else states[2:]))
        return torch.cat([_brought(state, size) for state in states[2:]], dim=1)


class PublishedNasUNetNetwork(SliceSegmenter):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W), slice by slice."""

    def __init__(self, arch: PublishedNasUNet) -> None:
        super().__init__(arch)
        widths, norm, nodes = arch.widths, arch.norm, len(arch.down_cell)
        # Of what each stem and each down cell gives.
        stem = _STEM_WIDTHS * widths[0]
        channels = [stem, stem, *(nodes * width for width in widths[1:])]
        self.stems = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(arch.in_channels, stem, kernel, stride, padding=kernel // 2, bias=False), _norm(stem, norm)
            )
            for kernel, stride in ((1, 1), (3, 2))
        )
        self.down = nn.ModuleList(
            PublishedCell(arch.down_cell, (before, previous), width, resizing="down", norm=norm)
            for before, previous, width in zip(channels, channels[1:], widths[1:], strict=False)
        )
        self.up = nn.ModuleList()
        coming = channels[-1]
        for skip, width in zip(reversed(channels[:-1]), reversed(widths), strict=True):
            self.up.append(PublishedCell(arch.up_cell, (skip, coming), width, resizing="up", norm=norm))
            coming = nodes * width
        self.head = nn.Conv2d(coming, len(CLASSES), 1, bias=False)

    def side_outputs(self) -> list[nn.Module]:
        """Cells on the way up but the last, finest first."""
        return list(reversed(self.up))[1:]

    def segment(self, x_NCHW: Tensor) -> Tensor:
        """Go down cell by cell, keep each level's result, and join it on the way up."""
        levels = [stem(x_NCHW) for stem in self.stems]
        for cell in self.down:
            levels.append(cell(levels[-2], levels[-1]))
        x = levels.pop()
        for cell in self.up:
            x = cell(levels.pop(), x)
        logits: Tensor = self.head(x)
        return logits
