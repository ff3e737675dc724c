"""nnU-Net's 3D networks as architecture files: its plain U-Net, and the one with a residual encoder. Free of torch.

Source: Isensee et al., Nature Methods 2021, and MICCAI 2024 (residual encoders). Authors' code:
github.com/MIC-DKFZ/nnUNet (the planner, at 0e49508) and dynamic_network_architectures 0.4.4 (PlainConvUNet and
ResidualEncoderUNet). Our modules agree with theirs on the same weights (docs/baselines.md).

Fixed there, and kept:

- The topology follows from grid and voxel size by the planner's rule (`topology`). For ACDC's 3d_fullres
  configuration (5 x 1.5625 x 1.5625 mm, patches of 20x256x224) it gives six levels with strides 1x2x2, 2x2x2, 2x2x2,
  1x2x2, 1x2x2 and a 1x3x3 kernel at the finest.
- 32 channels, doubled from level to level, 320 at most. Convolutions have a bias; instance norm with scale and shift,
  then leaky ReLU of slope 0.01; strided convolutions lead down, transposed ones whose kernel is the stride lead up.
- `nnunet`: two convolutions at each level, both ways. `nnunet-resenc` (the presets M, L and XL differ in their patches
  alone): 1, 3, 4, 6, 6, 6 residual blocks on the way down, one convolution on the way up. A block's shortcut is
  average pooling by the stride and a 1x1x1 convolution with norm where the channels change.

Left open, and chosen here:

- The grid is that of the space, for which 20x256x224 voxels of ACDC's spacing are too many: `paper` has its crop of
  20x128x112, and five levels. An axis of odd size is not halved, where the planner would pad the patch.
- Instance norm depends on the image and cannot be folded: engines compute it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from cinert.baselines.levels import LevelledBaseline
from cinert.errors import BadInputError
from cinert.schema import read_number, read_triple
from cinert.space import Shape3, Space

_SMALLEST = 4
"""Voxels that an axis keeps at the coarsest level at least."""
_BLOCKS = (1, 3, 4)
"""Residual blocks at the finest levels; 6 at all others."""


class Topology(NamedTuple):
    """What nnU-Net's planner makes of a grid."""

    strides: tuple[Shape3, ...]
    """From each level to the next coarser one."""
    kernels: tuple[Shape3, ...]
    """Of each level, finest first; one more than there are strides."""


def topology(shape_DHW: Shape3, spacing_mm: Sequence[float]) -> Topology:
    """Halve the axes whose voxels are the smallest, or less than twice that, until there is nothing left to halve.

    A kernel is 3 along an axis from the level on at which its voxels are less than twice the smallest, and 1 before.

    Args:
        shape_DHW: voxels of the network's input.
        spacing_mm: their size along D, H, W.
    """
    sizes, spacing = list(shape_DHW), list(spacing_mm)
    kernel = [1, 1, 1]
    strides: list[Shape3] = []
    kernels: list[Shape3] = []
    while halved := _halved(sizes, spacing):
        kernel = [3 if step < 2 * min(spacing) else size for size, step in zip(kernel, spacing, strict=True)]
        kernels.append((kernel[0], kernel[1], kernel[2]))
        factors = [2 if axis in halved else 1 for axis in range(3)]
        strides.append((factors[0], factors[1], factors[2]))
        sizes = [size // factor for size, factor in zip(sizes, factors, strict=True)]
        spacing = [step * factor for step, factor in zip(spacing, factors, strict=True)]
    return Topology(tuple(strides), (*kernels, (3, 3, 3)))


def _halved(sizes: Sequence[int], spacing: Sequence[float]) -> list[int]:
    large = [axis for axis in range(3) if sizes[axis] >= 2 * _SMALLEST and sizes[axis] % 2 == 0]
    finest = min((spacing[axis] for axis in large), default=0.0)
    fine = [axis for axis in large if spacing[axis] < 2 * finest]
    # A single axis is not worth a level when little of it would be left.
    return [] if len(fine) == 1 and sizes[fine[0]] < 3 * _SMALLEST else fine


@dataclass(frozen=True, kw_only=True)
class _NnUNet(LevelledBaseline):
    """What both networks share."""

    first_width: ClassVar[int] = 32
    widest: ClassVar[int] = 320
    norms: ClassVar[tuple[str, ...]] = ("instance",)
    readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        **LevelledBaseline.readers,
        "kernels": lambda value: tuple(read_triple(item, int) for item in value),
        "convs_per_level": lambda value: read_number(value, int),
    }

    kernels: tuple[Shape3, ...]
    """Of the convolutions at each level, both ways, finest first."""
    convs_per_level: int
    """Convolutions at each level on the way up, and of `nnunet` on the way down."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        super().__post_init__()
        self._require(len(self.kernels) == len(self.widths), "kernels", f"{len(self.widths)} entries, one a width")
        odd = all(size >= 1 and size % 2 for kernel in self.kernels for size in kernel)
        self._require(odd, "kernels", "odd sizes, to be centred")
        self._require(self.convs_per_level >= 1, "convs_per_level", "at least 1")
        voxels = 1
        for axis, size in enumerate(self.input_shape_DHW):
            for stride in self.strides:
                size //= stride[axis]  # noqa: PLW2901 - the size at the next level
            voxels *= size
        self._require(voxels > 1, "strides", "more than one voxel at the coarsest level, which is normalised")

    @classmethod
    def widths_in(cls, space: Space) -> tuple[int, ...]:
        """As many levels as the planner makes of the grid."""
        return cls.default_widths(len(topology(space.input_shape_DHW, space.spacing_mm).kernels))

    @classmethod
    def strides_in(cls, space: Space, levels: int) -> tuple[Shape3, ...]:
        """The planner's, or the first ones of them.

        Raises:
            BadInputError: more levels than the planner makes of the grid.
        """
        strides = topology(space.input_shape_DHW, space.spacing_mm).strides
        if levels > len(strides) + 1:
            raise BadInputError(
                f"{cls.kind} has {levels} widths, and nnU-Net plans {len(strides) + 1} levels for the grid of space"
                f" {space.name}.",
                hint="give one width for each level, or fewer.",
            )
        return strides[: levels - 1]

    @classmethod
    def fields_in(cls, space: Space, levels: int) -> dict[str, Any]:
        """The planner's kernels; the coarsest level's is 3x3x3."""
        kernels = topology(space.input_shape_DHW, space.spacing_mm).kernels
        return {"kernels": (*kernels[: levels - 1], (3, 3, 3)), **cls.own_fields(levels)}


@dataclass(frozen=True, kw_only=True)
class NnUNet(_NnUNet):
    """Levels of convolutions with instance norm; strided convolutions lead down, transposed ones up."""

    kind: ClassVar[str] = "nnunet"

    @classmethod
    def own_fields(cls, levels: int) -> dict[str, Any]:  # noqa: ARG003 - the same at any depth
        """Two convolutions at each level."""
        return {"convs_per_level": 2}


@dataclass(frozen=True, kw_only=True)
class NnUNetResEnc(_NnUNet):
    """The same with residual blocks on the way down."""

    kind: ClassVar[str] = "nnunet-resenc"
    readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        **_NnUNet.readers,
        "blocks": lambda value: tuple(read_number(item, int) for item in value),
    }

    blocks: tuple[int, ...]
    """Residual blocks of each level on the way down, finest first."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        super().__post_init__()
        fits = len(self.blocks) == len(self.widths) and min(self.blocks, default=0) >= 1
        self._require(fits, "blocks", f"{len(self.widths)} positive numbers, one a width")

    @classmethod
    def own_fields(cls, levels: int) -> dict[str, Any]:
        """Those of the presets."""
        return {"convs_per_level": 1, "blocks": tuple([*_BLOCKS, *[6] * levels][:levels])}
