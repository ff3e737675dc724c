"""What all networks have in common, searched or not."""

from __future__ import annotations

from torch import nn

from cinert.architecture import Architecture


class Segmenter(nn.Module):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W), and knows what it was built from."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
