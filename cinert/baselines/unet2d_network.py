"""The 2D U-Net as a torch module."""

from __future__ import annotations

from torch import Tensor, nn

from cinert.baselines.blocks import UNetBody
from cinert.baselines.slices import SliceSegmenter
from cinert.baselines.unet2d import UNet2d
from cinert.space import CLASSES


class UNet2dNetwork(SliceSegmenter):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W), slice by slice."""

    def __init__(self, arch: UNet2d) -> None:
        super().__init__(arch)
        self.body = UNetBody(2, arch.in_channels, arch.widths, arch.strides, arch.convs_per_level)
        self.head = nn.Conv2d(arch.widths[0], len(CLASSES), 1)

    def side_outputs(self) -> list[nn.Module]:
        """Levels on the way up but the finest."""
        return self.body.middle_levels()

    def segment(self, x_NCHW: Tensor) -> Tensor:
        """Run the U-Net and classify its finest features."""
        logits: Tensor = self.head(self.body(x_NCHW))
        return logits
