"""MSU-Net as a torch module."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from cinert.baselines.blocks import UNetBody, conv_block, enlarging
from cinert.baselines.msu_net import MsuNet
from cinert.baselines.slices import SliceSegmenter
from cinert.space import CLASSES

# Keeps the root's gradient finite where a patch is constant, as in the padding; z-scored images have variances near 1.
# A power of two, which half precision holds exactly.
_SMALLEST_VARIANCE = 2.0**-13


class MsuNetNetwork(SliceSegmenter):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W), slice by slice."""

    def __init__(self, arch: MsuNet) -> None:
        super().__init__(arch)
        widths, strides = arch.widths, arch.strides
        levels = range(1, arch.scales + 1)
        self.bodies = nn.ModuleList(
            UNetBody(2, 2 * arch.in_channels, widths[level:], strides[level:], arch.convs_per_level) for level in levels
        )
        self.patches = tuple(
            (math.prod(stride[1] for stride in strides[:level]), math.prod(stride[2] for stride in strides[:level]))
            for level in levels
        )
        self.join = conv_block(2, sum(widths[level] for level in levels), widths[1], kernel=1)
        self.enlarge = enlarging(2, widths[1], widths[0], strides[0])
        self.refine = conv_block(2, widths[0] + arch.in_channels, widths[0])
        self.head = nn.Conv2d(widths[0], len(CLASSES), 1)

    def side_outputs(self) -> list[nn.Module]:
        """What the scales give together, and each U-Net of coarser patches that has levels of its own."""
        return [self.join, *(body for body in list(self.bodies)[1:] if len(cast("UNetBody", body).up) > 0)]

    def segment(self, x_NCHW: Tensor) -> Tensor:
        """Run each scale's U-Net on its patches, join the results, and refine them beside the image."""
        features = [
            body(patch_statistics(x_NCHW, patch)) for body, patch in zip(self.bodies, self.patches, strict=True)
        ]
        size = features[0].shape[2:]
        same = [features[0], *(interpolate(x, size=size, mode="bilinear", align_corners=False) for x in features[1:])]
        enlarged = self.enlarge(self.join(torch.cat(same, dim=1)))
        logits: Tensor = self.head(self.refine(torch.cat((enlarged, x_NCHW), dim=1)))
        return logits


def patch_statistics(x_NCHW: Tensor, patch_HW: tuple[int, int]) -> Tensor:
    """Mean and standard deviation of each patch: (N, 2 C, H / patch, W / patch)."""
    mean = avg_pool2d(x_NCHW, patch_HW)
    # Not the mean of the squares less the squared mean, which cancels in half precision.
    deviation = x_NCHW - interpolate(mean, size=x_NCHW.shape[2:], mode="nearest")
    variance = avg_pool2d(deviation * deviation, patch_HW)
    return torch.cat((mean, variance.clamp(min=_SMALLEST_VARIANCE).sqrt()), dim=1)
