"""A U-shaped network as a torch module. Axes: x_BCDHW.

Every convolution is conv - batch norm - ReLU, in the order that inference engines fuse.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cinert.baselines.blocks import enlarging
from cinert.segmenter import Segmenter
from cinert.space import CLASSES, Shape3
from cinert.ushape.arch import UShapeArch
from cinert.ushape.blocks import BLOCKS, ConvSpec
from cinert.ushape.shape import Blocks, Down, UShape


def conv_layers(spec: ConvSpec, channels_in: int, channels_out: int) -> list[nn.Module]:
    """The layers of one convolution of a block."""
    convolution = nn.Conv3d(
        channels_in,
        channels_out,
        spec.kernel_DHW,
        padding=spec.padding_DHW,
        dilation=spec.dilation_DHW,
        groups=channels_in if spec.depthwise else 1,
        bias=False,
    )
    norm: list[nn.Module] = [convolution, nn.BatchNorm3d(channels_out)]
    return [*norm, nn.ReLU()] if spec.activation else norm


def make_block(name: str, channels_in: int, channels_out: int) -> nn.Sequential:
    """Build a block of `BLOCKS`: maps (B, channels_in, D, H, W) to (B, channels_out, D, H, W)."""
    row = BLOCKS[name].channels(channels_in, channels_out)
    return nn.Sequential(*(layer for spec, before, after in row for layer in conv_layers(spec, before, after)))


class Level(nn.Module):
    """The blocks of a level, one after the other: (B, channels_in, D, H, W) to (B, width, D, H, W).

    Args:
        blocks: names of `BLOCKS`.
        channels_in: of what comes to the level.
        width: of the level.
        adds: for each block, whether what it gives is added to what it reads.
    """

    def __init__(self, blocks: Blocks, channels_in: int, width: int, *, adds: Sequence[bool]) -> None:
        super().__init__()
        channels = [channels_in, *[width] * len(blocks)]
        self.blocks = nn.ModuleList(
            make_block(name, before, after) for name, before, after in zip(blocks, channels, channels[1:], strict=False)
        )
        self.adds = tuple(adds)

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Run the blocks in order."""
        for block, adds in zip(self.blocks, self.adds, strict=True):
            x_BCDHW = x_BCDHW + block(x_BCDHW) if adds else block(x_BCDHW)
        return x_BCDHW


class UBody(nn.Module):
    """Stem, levels down and up, and head.

    Args:
        shape: of the network.
        channels_in: of the image.
    """

    def __init__(self, shape: UShape, channels_in: int) -> None:
        super().__init__()
        widths = shape.widths
        self.stem = make_stem(channels_in, widths[0], shape.stem_kernel, shape.stem_stride)
        before = [widths[0], *_arriving(shape)]
        self.encoder = nn.ModuleList(
            Level(blocks, channels, width, adds=shape.adds("encoder", level))
            for level, (blocks, channels, width) in enumerate(zip(shape.encoder, before, widths, strict=True))
        )
        self.down = nn.ModuleList(
            make_reduction(shape.down, coarse, fine, stride)
            for fine, coarse, stride in zip(widths, widths[1:], shape.strides, strict=False)
        )
        self.enlarge = nn.ModuleList(
            enlarging(3, coarse, fine, stride)
            for fine, coarse, stride in zip(widths, widths[1:], shape.strides, strict=False)
        )
        joined = 2 if shape.join == "concat" else 1
        self.decoder = nn.ModuleList(
            Level(blocks, joined * width, width, adds=shape.adds("decoder", level))
            for level, (blocks, width) in enumerate(zip(shape.decoder, widths, strict=False))
        )
        self.head = make_head(widths[0], shape.stem_stride)
        self.concatenate = shape.join == "concat"

    def middle_levels(self) -> list[nn.Module]:
        """The levels on the way up but the finest, finest first; the coarsest has none."""
        return list(self.decoder)[1:]

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Map an image (B, channels_in, D, H, W) to logits (B, classes, D, H, W)."""
        x = self.encoder[0](self.stem(x_BCDHW))
        skipped = []
        for down, level in zip(self.down, self.encoder[1:], strict=True):
            skipped.append(x)
            x = level(down(x))
        for enlarge, level, fine in zip(reversed(self.enlarge), reversed(self.decoder), reversed(skipped), strict=True):
            up = enlarge(x)
            x = level(torch.cat((fine, up), dim=1) if self.concatenate else fine + up)
        logits: Tensor = self.head(x)
        return logits


def make_stem(channels_in: int, width: int, kernel: Shape3, stride: Shape3) -> nn.Sequential:
    """The first convolution, which divides the input's grid by the stride."""
    d, h, w = kernel
    convolution = nn.Conv3d(channels_in, width, kernel, stride=stride, padding=(d // 2, h // 2, w // 2), bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(width), nn.ReLU())


def make_head(width: int, stride: Shape3) -> nn.Module:
    """The last convolution: a transposed one back to the input's grid, or 1x1x1 where the stem kept it."""
    if stride == (1, 1, 1):
        return nn.Conv3d(width, len(CLASSES), 1)
    return enlarging(3, width, len(CLASSES), stride)


def _arriving(shape: UShape) -> Sequence[int]:
    """Channels that each level below the finest reads on the way down."""
    return shape.widths[1:] if shape.down == "strided" else shape.widths[:-1]


def make_reduction(down: Down, coarse: int, fine: int, stride: Shape3) -> nn.Module:
    """From a level to the next coarser one."""
    if down == "maxpool":
        return nn.MaxPool3d(stride, stride)
    convolution = nn.Conv3d(fine, coarse, stride, stride=stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(coarse), nn.ReLU())


class UShapeNetwork(Segmenter):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W)."""

    def __init__(self, arch: UShapeArch) -> None:
        super().__init__(arch)
        self.body = UBody(arch.shape, arch.in_channels)

    def side_outputs(self) -> list[nn.Module]:
        """Levels on the way up but the finest."""
        return self.body.middle_levels()

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Run all levels."""
        logits: Tensor = self.body(x_BCDHW)
        return logits
