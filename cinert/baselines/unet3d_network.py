"""The 3D U-Net as a torch module."""

from __future__ import annotations

from torch import Tensor, nn

from cinert.baselines.blocks import UNetBody
from cinert.baselines.unet3d import UNet3d
from cinert.segmenter import Segmenter
from cinert.space import CLASSES


class UNet3dNetwork(Segmenter):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W)."""

    def __init__(self, arch: UNet3d) -> None:
        super().__init__(arch)
        self.body = UNetBody(3, arch.in_channels, arch.widths, arch.strides, arch.convs_per_level)
        self.head = nn.Conv3d(arch.widths[0], len(CLASSES), 1)

    def side_outputs(self) -> list[nn.Module]:
        """Levels on the way up but the finest."""
        return self.body.middle_levels()

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Run the U-Net and classify its finest features."""
        logits: Tensor = self.head(self.body(x_BCDHW))
        return logits
