"""What a level is made of: each block is a row of convolutions, from which module, price and weights all follow.

Torch-free. Slices of a cardiac stack are 5 to 10 mm apart and pixels 1 to 3 mm wide, so kernels that stay within a
slice see as much of the heart for a third of the work. Source of the kinds: in-plane before cubic kernels, nnU-Net
(Isensee 2021); pseudo-3D, P3D (Qiu 2017) and R(2+1)D (Tran 2018); separable, MobileNet (Howard 2017).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cinert.space import Shape3

IN_PLANE: Shape3 = (1, 3, 3)
THROUGH_PLANE: Shape3 = (3, 1, 1)
CUBE: Shape3 = (3, 3, 3)
POINT: Shape3 = (1, 1, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvSpec:
    """One convolution of a block; batch norm follows it, and ReLU unless told."""

    kernel_DHW: Shape3
    dilation_DHW: Shape3 = (1, 1, 1)
    depthwise: bool = False
    """One filter for each channel; the channels stay as many as they are."""
    activation: bool = True
    """Whether ReLU follows."""

    @property
    def padding_DHW(self) -> Shape3:
        """Zeros on each side, so that the size stays."""
        d, h, w = (step * (size // 2) for size, step in zip(self.kernel_DHW, self.dilation_DHW, strict=True))
        return d, h, w

    @property
    def taps(self) -> int:
        """Products of one output voxel and one input channel."""
        return math.prod(self.kernel_DHW)


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSpec:
    """A block that a level can hold: the first convolution that mixes channels brings them to the level's width."""

    name: str
    convs: tuple[ConvSpec, ...]

    def channels(self, channels_in: int, channels_out: int) -> list[tuple[ConvSpec, int, int]]:
        """Each convolution with the channels that it reads and gives.

        Example:
            >>> [(c.kernel_DHW, i, o) for c, i, o in BLOCKS["pseudo3d"].channels(8, 16)]
            [((1, 3, 3), 8, 16), ((3, 1, 1), 16, 16)]
        """
        row, now = [], channels_in
        for conv in self.convs:
            after = now if conv.depthwise else channels_out
            row.append((conv, now, after))
            now = after
        return row


def _block(name: str, *convs: ConvSpec) -> BlockSpec:
    return BlockSpec(name=name, convs=convs)


BLOCKS: Mapping[str, BlockSpec] = {
    block.name: block
    for block in (
        _block("inplane", ConvSpec(kernel_DHW=IN_PLANE)),
        _block("inplane-dilated", ConvSpec(kernel_DHW=IN_PLANE, dilation_DHW=(1, 2, 2))),
        _block("conv", ConvSpec(kernel_DHW=CUBE)),
        _block("pseudo3d", ConvSpec(kernel_DHW=IN_PLANE), ConvSpec(kernel_DHW=THROUGH_PLANE)),
        _block(
            "inplane-separable",
            ConvSpec(kernel_DHW=IN_PLANE, depthwise=True, activation=False),
            ConvSpec(kernel_DHW=POINT),
        ),
        _block("separable", ConvSpec(kernel_DHW=CUBE, depthwise=True, activation=False), ConvSpec(kernel_DHW=POINT)),
    )
}
"""Every block by its name. All give the level's width and keep its size."""
