"""The 3D U-Net as a torch module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cinert.baselines.unet3d import UNet3d
from cinert.ops import conv_block
from cinert.segmenter import Segmenter
from cinert.space import CLASSES


class UNet3dNetwork(Segmenter):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W)."""

    def __init__(self, arch: UNet3d) -> None:
        super().__init__(arch)
        widths, convs = arch.widths, arch.convs_per_level
        self.down = nn.ModuleList(
            _convolutions(channels_in, width, convs)
            for channels_in, width in zip((arch.in_channels, *widths), widths, strict=False)
        )
        self.pool = nn.ModuleList(nn.MaxPool3d(stride, stride) for stride in arch.strides)
        # The kernel is the stride: every voxel of the finer level comes from exactly one of the coarser.
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose3d(coarse, fine, kernel_size=stride, stride=stride)
            for fine, coarse, stride in zip(widths, widths[1:], arch.strides, strict=False)
        )
        self.up = nn.ModuleList(_convolutions(2 * width, width, convs) for width in widths[:-1])
        self.head = nn.Conv3d(widths[0], len(CLASSES), 1)

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Go down, keep each level's result, and join it on the way up."""
        x, skipped = self.down[0](x_BCDHW), []
        for pool, convolutions in zip(self.pool, self.down[1:], strict=True):
            skipped.append(x)
            x = convolutions(pool(x))
        for enlarge, convolutions, fine in zip(
            reversed(self.enlarge), reversed(self.up), reversed(skipped), strict=True
        ):
            x = convolutions(torch.cat((fine, enlarge(x)), dim=1))
        logits: Tensor = self.head(x)
        return logits


def _convolutions(channels_in: int, width: int, count: int) -> nn.Sequential:
    first = conv_block(channels_in, width, kernel=3)
    return nn.Sequential(first, *(conv_block(width, width, kernel=3) for _ in range(count - 1)))
