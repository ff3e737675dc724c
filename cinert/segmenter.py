"""What all networks have in common, searched or not."""

from __future__ import annotations

from typing import Self

import torch
from torch import nn

from cinert.architecture import Architecture


class Segmenter(nn.Module):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W), and knows what it was built from."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch

    def side_outputs(self) -> list[nn.Module]:
        """Modules whose output holds features on their way to the head, on grids between the coarsest and the finest.

        What a training may supervise besides the logits: nothing here is deployed. The features are (B, C, D, H, W),
        or (B x D, C, H, W) in networks that run slice by slice; of a module that runs several times the last ones
        count. Finest first. None in a network without such a level.
        """
        return []

    def channels_last(self) -> Self:
        """Lay out the weights of 3D and 2D convolutions with their channels last, in place, and return the network."""
        formats = {5: torch.channels_last_3d, 4: torch.channels_last}
        for parameter in self.parameters():
            if parameter.dim() in formats:
                parameter.data = parameter.data.contiguous(memory_format=formats[parameter.dim()])
        return self
