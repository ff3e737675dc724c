"""An op for CineRT from outside: a convolution 1x3x3, which stays within a slice.

Slices of a cardiac stack are 5 to 10 mm apart and pixels 1 to 3 mm wide, so that a kernel which does not reach across
slices sees as much of the heart for a third of the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cinert.op_spec import OpSpec, convolution_flops, convolution_weights

if TYPE_CHECKING:
    from torch import nn


def make(channels: int) -> nn.Module:
    """Convolution 1x3x3 that keeps the size, with batch norm and ReLU."""
    from torch import nn  # noqa: PLC0415 - who runs a finished engine reads this file without torch

    return nn.Sequential(
        nn.Conv3d(channels, channels, (1, 3, 3), padding=(0, 1, 1), bias=False), nn.BatchNorm3d(channels), nn.ReLU()
    )


INPLANE = OpSpec(
    name="inplane",
    make=make,
    kernel_DHW=(1, 3, 3),
    flops=convolution_flops,
    weights=convolution_weights,
    price_group="convolution",
    fast_path="convolution",
    colour="#E69F00",
)
