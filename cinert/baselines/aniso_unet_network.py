"""The U-Net for anisotropic voxels as a torch module."""

from __future__ import annotations

from torch import Tensor, nn

from cinert.baselines.aniso_unet import AnisoUNet
from cinert.segmenter import Segmenter
from cinert.ushape.network import UBody


class AnisoUNetNetwork(Segmenter):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W)."""

    def __init__(self, arch: AnisoUNet) -> None:
        super().__init__(arch)
        self.body = UBody(arch.shape, arch.in_channels)

    def side_outputs(self) -> list[nn.Module]:
        """Levels on the way up but the finest."""
        return self.body.middle_levels()

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Run all levels."""
        logits: Tensor = self.body(x_BCDHW)
        return logits
