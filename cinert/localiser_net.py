"""The localiser's network: a small U-Net over the whole stack (runtime: `cinert.data.localiser`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cinert.backends.base import Model
from cinert.data.localiser import VIEW
from cinert.localiser_first_net import FirstLocaliserNet
from cinert.onnx import export_onnx

SCHEMA, VERSION = "cinert.localiser", 2
"""Of localiser.safetensors, in its metadata."""

_FINE, _DEEP, _JOIN = 4, 48, 8


def _block(channels_in: int, channels_out: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution in plane, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


class LocaliserNet(nn.Module):
    """Maps the view (B, 1, D, H, W) to logits of "heart" (B, 1, D, H, W). About 20 MMAC, 73 thousand weights.

    All convolutions are in plane, which CPUs compute several times faster than those in 3D with few channels. At the
    fine scale every slice goes through the same ones, as one of a batch; at the coarse scale all slices' channels lie
    side by side, so that each sees the whole stack.
    """

    view = VIEW

    def __init__(self) -> None:
        super().__init__()
        stacked = VIEW.shape_DHW[0] * _FINE
        self.fine = _block(1, _FINE, stride=2)
        self.deep = nn.Sequential(
            _block(stacked, _DEEP, stride=2), _block(_DEEP, _DEEP), _block(_DEEP, _DEEP),
            _block(_DEEP, stacked, kernel=1),
        )  # fmt: skip
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.join = _block(2 * _FINE, _JOIN)
        self.head = nn.Conv2d(_JOIN, 4, 1)
        self.full = nn.PixelShuffle(2)

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Down by 4 in plane, and up again with one skip."""
        depth, height, width = VIEW.shape_DHW
        fine = self.fine(x_BCDHW.reshape(-1, 1, height, width))
        stacked = fine.reshape(-1, depth * _FINE, height // 2, width // 2)
        deep = self.up(self.deep(stacked)).reshape(-1, _FINE, height // 2, width // 2)
        logits: Tensor = self.full(self.head(self.join(torch.cat([fine, deep], dim=1))))
        return logits.reshape(-1, 1, depth, height, width)


AnyLocaliserNet = LocaliserNet | FirstLocaliserNet
NETWORKS: dict[int, type[LocaliserNet] | type[FirstLocaliserNet]] = {1: FirstLocaliserNet, VERSION: LocaliserNet}
"""By version of localiser.safetensors."""


def localiser_model(network: AnyLocaliserNet) -> Model:
    """Describe a trained localiser to the back ends."""
    shapes = ((1, 1, *network.view.shape_DHW),)
    return Model(
        name="localiser",
        input_shapes=shapes,
        make_onnx=lambda: export_onnx(network, shapes),
        make_module=lambda: network,
    )
