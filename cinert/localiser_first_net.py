"""The localiser's network of version 1, which older bundles and runs carry; new ones have `cinert.localiser_net`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cinert.data.localiser import FIRST_VIEW
from cinert.ops import Upsample

_FINE, _COARSE, _DEEP = 8, 16, 24


def _block(channels_in: int, channels_out: int, *, kernel: tuple[int, int, int], stride: int = 1) -> nn.Sequential:
    """Convolution, in plane strided, batch norm, ReLU."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        nn.Conv3d(channels_in, channels_out, kernel, stride=(1, stride, stride), padding=padding, bias=False),
        nn.BatchNorm3d(channels_out),
        nn.ReLU(),
    )


class FirstLocaliserNet(nn.Module):
    """Maps the view (B, 1, D, H, W) to logits of "heart" (B, 1, D, H, W). About 0.1 GMAC, 20 thousand weights."""

    view = FIRST_VIEW

    def __init__(self) -> None:
        super().__init__()
        depth, height, width = FIRST_VIEW.shape_DHW
        self.fine = _block(1, _FINE, kernel=(1, 3, 3), stride=2)
        self.coarse = _block(_FINE, _COARSE, kernel=(3, 3, 3), stride=2)
        self.deep = nn.Sequential(
            *_block(_COARSE, _DEEP, kernel=(3, 3, 3)), *_block(_DEEP, _DEEP, kernel=(1, 3, 3)),
            *_block(_DEEP, _FINE, kernel=(1, 1, 1)),
        )  # fmt: skip
        self.up = Upsample((depth, height // 2, width // 2))
        self.join = _block(2 * _FINE, _FINE, kernel=(1, 3, 3))
        self.head = nn.Conv3d(_FINE, 1, 1)
        self.full = Upsample(FIRST_VIEW.shape_DHW)

    def forward(self, x_BCDHW: Tensor) -> Tensor:
        """Down by 4 in plane, and up again with one skip."""
        fine = self.fine(x_BCDHW)
        deep = self.up(self.deep(self.coarse(fine)))
        logits: Tensor = self.full(self.head(self.join(torch.cat([fine, deep], dim=1))))
        return logits
