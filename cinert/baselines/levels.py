"""Baselines that make the image coarser level by level: what their files share. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from cinert.baselines.base import Baseline
from cinert.errors import BadInputError
from cinert.schema import read_number, read_triple
from cinert.space import Shape3, Space


@dataclass(frozen=True, kw_only=True)
class LevelledBaseline(Baseline):
    """A designed network with a width at each level and a stride between levels."""

    norms: ClassVar[tuple[str, ...]] = ("batch",)
    """Normalisations that the kind can have, its own first."""
    readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        **Baseline.readers,
        "strides": lambda value: tuple(read_triple(item, int) for item in value),
        "widths": lambda value: tuple(read_number(item, int) for item in value),
        "norm": str,
    }

    strides: tuple[Shape3, ...]
    """Factor per axis from each level to the next coarser one; one entry fewer than there are levels."""
    widths: tuple[int, ...]
    """Channels at each level."""
    norm: str
    """Normalisation after each convolution: `batch`, which is folded at export, or `instance`, which cannot be."""

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
        self._require(self.norm in self.norms, "norm", " or ".join(f"{norm!r}" for norm in self.norms))
        shape = self.input_shape_DHW
        for level, stride in enumerate(self.strides):
            divides = min(stride) >= 1 and all(size % step == 0 for size, step in zip(shape, stride, strict=True))
            self._require(divides, "strides", f"factors of {'x'.join(map(str, shape))}, the shape at level {level}")
            shape = (shape[0] // stride[0], shape[1] // stride[1], shape[2] // stride[2])

    @classmethod
    def strides_in(cls, space: Space, levels: int) -> tuple[Shape3, ...]:
        """Strides between this many levels: the first ones of the space.

        Raises:
            BadInputError: more levels than the space has scales.
        """
        if levels > space.scales:
            raise BadInputError(
                f"{cls.kind} has {levels} widths, and space {space.name} has {space.scales} scales.",
                hint="give one width for each scale, or fewer.",
            )
        return space.strides[: levels - 1]

    @classmethod
    def for_space(cls, space: Space, widths: tuple[int, ...], provenance: Mapping[str, Any]) -> Self:
        """See `Baseline.for_space`."""
        return cls(
            input_shape_DHW=space.input_shape_DHW,
            spacing_mm=space.spacing_mm,
            in_channels=space.in_channels,
            strides=cls.strides_in(space, len(widths)),
            widths=widths,
            norm=cls.norms[0],
            provenance=provenance,
            source=f"{cls.kind} for space {space.name}",
            **cls.fields_in(space, len(widths)),
        )

    @classmethod
    def fields_in(cls, space: Space, levels: int) -> dict[str, Any]:  # noqa: ARG003 - most are the same in any space
        """The fields of the kind itself, as `for_space` sets them."""
        return cls.own_fields(levels)

    @classmethod
    def own_fields(cls, levels: int) -> dict[str, Any]:
        """Those of them that no grid decides."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class SliceBaseline(LevelledBaseline):
    """A 2D network: it segments every slice of a volume by itself, all slices as one batch."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        super().__post_init__()
        in_plane = all(stride[0] == 1 for stride in self.strides)
        self._require(in_plane, "strides", "1 along D, because a 2D network keeps the slices apart")

    @classmethod
    def strides_in(cls, space: Space, levels: int) -> tuple[Shape3, ...]:  # noqa: ARG003 - the space does not bind it
        """Halve H and W between any number of levels, as 2D networks do."""
        return ((1, 2, 2),) * (levels - 1)
