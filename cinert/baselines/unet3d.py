"""A plain 3D U-Net (Ronneberger 2015; Cicek 2016) as an architecture file. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from cinert.baselines.base import Baseline
from cinert.schema import read_number, read_triple
from cinert.space import Shape3, Space


@dataclass(frozen=True, kw_only=True)
class UNet3d(Baseline):
    """Levels of 3x3x3 convolutions, max-pooled down by the strides and brought up again by transposed convolutions."""

    kind: ClassVar[str] = "unet3d"
    readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        **Baseline.readers,
        "strides": lambda value: tuple(read_triple(item, int) for item in value),
        "widths": lambda value: tuple(read_number(item, int) for item in value),
        "convs_per_level": lambda value: read_number(value, int),
        "norm": str,
    }

    strides: tuple[Shape3, ...]
    """Factor per axis from each level to the next coarser one; one entry fewer than there are levels."""
    widths: tuple[int, ...]
    """Channels at each level."""
    convs_per_level: int
    """Convolutions at each level, on the way down and on the way up."""
    norm: Literal["batch"]
    """Normalisation after each convolution; batch norm is folded at export."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        super().__post_init__()
        self._require(len(self.widths) >= 2 and min(self.widths) >= 1, "widths", "at least 2 positive widths")
        self._require(
            len(self.strides) == len(self.widths) - 1,
            "strides",
            f"{len(self.widths) - 1} entries, one fewer than widths",
        )
        self._require(self.convs_per_level >= 1, "convs_per_level", "at least 1")
        self._require(self.norm == "batch", "norm", "'batch', which folds into the convolution at export")
        shape = self.input_shape_DHW
        for level, stride in enumerate(self.strides):
            divides = min(stride) >= 1 and all(size % step == 0 for size, step in zip(shape, stride, strict=True))
            self._require(divides, "strides", f"factors of {'x'.join(map(str, shape))}, the shape at level {level}")
            shape = (shape[0] // stride[0], shape[1] // stride[1], shape[2] // stride[2])

    @classmethod
    def for_space(cls, space: Space, widths: tuple[int, ...], provenance: Mapping[str, Any]) -> Self:
        """See `Baseline.for_space`."""
        return cls(
            input_shape_DHW=space.input_shape_DHW,
            spacing_mm=space.spacing_mm,
            in_channels=space.in_channels,
            strides=space.strides,
            widths=widths,
            convs_per_level=2,
            norm="batch",
            provenance=provenance,
            source=f"unet3d for space {space.name}",
        )
