"""2D networks as their authors publish them, which halve any size: what their files share. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from cinert.baselines.base import Baseline
from cinert.schema import read_number
from cinert.space import Space

Cells = Literal["published", "ours"]
"""Whose cells or skips a network has: its authors', or those that were drawn here before theirs were at hand."""


@dataclass(frozen=True, kw_only=True)
class PublishedBaseline(Baseline):
    """A network with its authors' cells or skips: it halves H and W, rounds as they do, and keeps the slices apart."""

    norms: ClassVar[tuple[str, ...]]
    """Normalisations that the network can have, its authors' first."""
    readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        **Baseline.readers,
        "cells": str,
        "widths": lambda value: tuple(read_number(item, int) for item in value),
        "norm": str,
    }

    cells: str
    """`published`; files of a network with other cells or skips have no such key."""
    widths: tuple[int, ...]
    """Channels at each level."""
    norm: str
    """Normalisation after each convolution: `batch`, which is folded at export, or `group`, which cannot be."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        super().__post_init__()
        self._require(self.cells == "published", "cells", "'published', or no such key")
        self._require(len(self.widths) >= 2 and min(self.widths) >= 1, "widths", "at least 2 positive widths")
        self._require(self.norm in self.norms, "norm", " or ".join(f"{norm!r}" for norm in self.norms))

    @classmethod
    def for_space(cls, space: Space, widths: tuple[int, ...], provenance: Mapping[str, Any]) -> Self:
        """See `Baseline.for_space`."""
        return cls(
            input_shape_DHW=space.input_shape_DHW,
            spacing_mm=space.spacing_mm,
            in_channels=space.in_channels,
            cells="published",
            widths=widths,
            norm=cls.norms[0],
            provenance=provenance,
            source=f"{cls.kind} for space {space.name}",
            **cls.own_fields(widths),
        )

    @classmethod
    def own_fields(cls, widths: tuple[int, ...]) -> dict[str, Any]:
        """The fields of the kind itself, as `for_space` sets them."""
        raise NotImplementedError
