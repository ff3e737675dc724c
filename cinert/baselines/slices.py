"""2D networks on volumes: the slices are a batch, and export, engines and latency see the volume."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from cinert.segmenter import Segmenter


class SliceSegmenter(Segmenter):
    """Maps an image (B, in_channels, D, H, W) to logits (B, classes, D, H, W), slice by slice."""

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Segment all slices of all volumes as one batch."""
        batch, _, depth = x_BCDHW.shape[:3]
        logits_NCHW = self.segment(x_BCDHW.transpose(1, 2).flatten(0, 1))
        return logits_NCHW.reshape(batch, depth, *logits_NCHW.shape[1:]).transpose(1, 2)

    @abstractmethod
    def segment(self, x_NCHW: Tensor) -> Tensor:
        """Map slices (N, in_channels, H, W) to logits (N, classes, H, W)."""
