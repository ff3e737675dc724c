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

_FINE, _DEEP = 32, 48


def _block(channels_in: int, channels_out: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution in plane, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


class LocaliserNet(nn.Module):
    """Maps the view (B, 1, D, H, W) to logits of "heart" (B, 1, D, H, W). About 18 MMAC, 75 thousand weights.

    Slices are channels: every convolution sees the whole stack, and runs as a plain one in 2D, which CPUs compute
    several times faster than one in 3D of as many multiplications with few channels.
    """

    view = VIEW

    def __init__(self) -> None:
        super().__init__()
        depth = VIEW.shape_DHW[0]
        self.fine = _block(depth, _FINE, stride=2)
        self.deep = nn.Sequential(
            _block(_FINE, _DEEP, stride=2), _block(_DEEP, _DEEP), _block(_DEEP, _DEEP), _block(_DEEP, _FINE, kernel=1)
        )
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.join = nn.Sequential(_block(2 * _FINE, _FINE, kernel=1), _block(_FINE, _FINE))
        self.head = nn.Conv2d(_FINE, 4 * depth, 1)
        self.full = nn.PixelShuffle(2)

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Down by 4 in plane, and up again with one skip."""
        fine = self.fine(x_BCDHW[:, 0])
        deep = self.up(self.deep(fine))
        logits: Tensor = self.full(self.head(self.join(torch.cat([fine, deep], dim=1))))
        return logits[:, None]


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
