"""Torch parts that the designed networks share, in two or three dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cinert.space import Shape3

CONV: dict[int, type[nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORM: dict[int, type[nn.BatchNorm2d | nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOL: dict[int, type[nn.MaxPool2d | nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


def conv_block(dims: int, channels_in: int, channels_out: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution with batch norm and ReLU that keeps the size, or divides it by the stride."""
    convolution = CONV[dims](channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, NORM[dims](channels_out), nn.ReLU())


def enlarging(dims: int, channels_in: int, channels_out: int, stride: Shape3) -> nn.Module:
    """Transposed convolution whose kernel is its stride: every voxel of the finer grid comes from one of the coarser.

    Args:
        dims: 2 or 3.
        channels_in: of the coarser grid.
        channels_out: of the finer grid.
        stride: along D, H, W; a 2D network takes H, W of it.
    """
    if dims == 2:
        return nn.ConvTranspose2d(channels_in, channels_out, kernel_size=stride[1:], stride=stride[1:])
    return nn.ConvTranspose3d(channels_in, channels_out, kernel_size=stride, stride=stride)


def pooling(dims: int, stride: Shape3) -> nn.Module:
    """Max-pooling whose kernel is its stride, along D, H, W; a 2D network takes H, W of it."""
    return _POOL[dims](stride[-dims:], stride[-dims:])


class UNetBody(nn.Module):
    """Levels of convolutions, pooled on the way down, enlarged and joined with what was skipped on the way up.

    Maps (B, channels_in, [D,] H, W) to (B, widths[0], [D,] H, W).

    Args:
        dims: 2 or 3.
        channels_in: of the image.
        widths: channels at each level, at least one.
        strides: along D, H, W, from each level to the next.
        convs: convolutions at each level, on the way down and on the way up.
    """

    def __init__(
        self, dims: int, channels_in: int, widths: Sequence[int], strides: Sequence[Shape3], convs: int
    ) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            _convolutions(dims, before, width, convs)
            for before, width in zip((channels_in, *widths), widths, strict=False)
        )
        self.pool = nn.ModuleList(pooling(dims, stride) for stride in strides)
        self.enlarge = nn.ModuleList(
            enlarging(dims, coarse, fine, stride)
            for fine, coarse, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.up = nn.ModuleList(_convolutions(dims, 2 * width, width, convs) for width in widths[:-1])

    def middle_levels(self) -> list[nn.Module]:
        """The levels on the way up but the finest, finest first; the coarsest has none."""
        return list(self.up)[1:]

    def forward(self, x: Tensor) -> Tensor:
        """Go down, keep each level's result, and join it on the way up."""
        x, skipped = self.down[0](x), []
        for pool, convolutions in zip(self.pool, self.down[1:], strict=True):
            skipped.append(x)
            x = convolutions(pool(x))
        for enlarge, convolutions, fine in zip(
            reversed(self.enlarge), reversed(self.up), reversed(skipped), strict=True
        ):
            x = convolutions(torch.cat((fine, enlarge(x)), dim=1))
        return x


def _convolutions(dims: int, channels_in: int, width: int, count: int) -> nn.Sequential:
    first = conv_block(dims, channels_in, width)
    return nn.Sequential(first, *(conv_block(dims, width, width) for _ in range(count - 1)))
