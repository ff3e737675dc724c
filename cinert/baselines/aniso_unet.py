"""A U-Net designed by hand for stacks of thick slices, as an architecture file. Free of torch.

Ours, after nnU-Net's rules for anisotropic voxels (Isensee 2021: kernels and strides in plane until voxels are nearly
cubes). A stem of stride (1, 2, 2) and a transposed convolution as head spare the full resolution, where memory traffic
is most of the cost; the coarsest levels see across slices. Its crop of 160 mm holds every heart of ACDC (152 x 134 mm
at most). It is the designed network that a search has to beat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from cinert.baselines.base import Baseline
from cinert.space import Space
from cinert.ushape.shape import UShape

WIDTHS = (20, 32, 48, 56)
_GRID_DHW, _SPACING_HW_MM = (10, 96, 96), 160 / 96
_FLAT, _DEEP = ("inplane", "inplane"), ("inplane", "conv")


@dataclass(frozen=True, kw_only=True)
class AnisoUNet(Baseline):
    """In-plane convolutions, and 3x3x3 ones at the coarsest levels; a grid of its own."""

    kind: ClassVar[str] = "aniso-unet"
    first_width: ClassVar[int] = WIDTHS[0]
    readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        **Baseline.readers,
        "shape": lambda value: UShape.from_dict(value, source="shape"),
    }

    shape: UShape
    """Stem, levels and joins."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        super().__post_init__()
        self.shape.check(f"{self.source}: shape", self.input_shape_DHW)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each level."""
        return self.shape.widths

    def _content(self) -> dict[str, Any]:
        return {**super()._content(), "shape": self.shape.to_dict()}

    @classmethod
    def for_space(cls, space: Space, widths: tuple[int, ...], provenance: Mapping[str, Any]) -> Self:
        """On its own in-plane grid, with the slices of the space."""
        levels = len(widths)
        encoder = tuple(_DEEP if level >= levels - 2 else _FLAT for level in range(levels))
        return cls(
            input_shape_DHW=(space.input_shape_DHW[0], *_GRID_DHW[1:]),
            spacing_mm=(space.spacing_mm[0], _SPACING_HW_MM, _SPACING_HW_MM),
            in_channels=space.in_channels,
            shape=UShape(
                stem_kernel=(1, 5, 5),
                stem_stride=(1, 2, 2),
                strides=((1, 2, 2),) * (levels - 1),
                widths=widths,
                encoder=(_FLAT[:1], *encoder[1:]),
                decoder=(_FLAT[:1], *encoder[1:-1]),
                down="maxpool",
                join="concat",
                residual=False,
            ),
            provenance=provenance,
            source=f"{cls.kind} for space {space.name}",
        )

    @classmethod
    def default_widths(cls, levels: int) -> tuple[int, ...]:  # noqa: ARG003 - its levels are its own
        """Four levels unless the user says otherwise, whatever the space has."""
        return WIDTHS
