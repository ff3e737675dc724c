"""ICA-UNet as a torch module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cinert.baselines.blocks import UNetBody, conv_block, enlarging
from cinert.baselines.ica_unet import IcaUNet
from cinert.ops import Concatenate
from cinert.segmenter import Segmenter
from cinert.space import CLASSES


class IcaUNetNetwork(Segmenter):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W)."""

    def __init__(self, arch: IcaUNet) -> None:
        super().__init__(arch)
        fine, *coarser = arch.widths
        patch, *strides = arch.strides
        self.unmix = nn.Conv3d(arch.in_channels, arch.components, kernel_size=patch, stride=patch, bias=False)
        self.bodies = nn.ModuleList(
            UNetBody(3, 1, coarser, strides, arch.convs_per_level) for _ in range(arch.components)
        )
        self.join = Concatenate()
        self.mix = enlarging(3, arch.components * coarser[0], fine, patch)
        self.refine = conv_block(3, fine + arch.in_channels, fine)
        self.head = nn.Conv3d(fine, len(CLASSES), 1)

    def side_outputs(self) -> list[nn.Module]:
        """What the components' U-Nets give together; each of them sees a part of the image's content alone."""
        return [self.join]

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Unmix, work on each component by itself, mix, and refine beside the image."""
        components = self.unmix(x_BCDHW).split(1, dim=1)
        features = [body(component) for body, component in zip(self.bodies, components, strict=True)]
        mixed = self.mix(self.join(*features))
        logits: Tensor = self.head(self.refine(torch.cat((mixed, x_BCDHW), dim=1)))
        return logits
