"""The architecture file of a U-shaped network that was found in a space. Torch-free."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from cinert.errors import BadInputError
from cinert.schema import check_keys, check_schema
from cinert.space import Shape3
from cinert.ushape.shape import UShape
from cinert.ushape.space import Grid, UShapeSpace

SCHEMA, VERSION = "cinert.ushape", 1


@dataclass(frozen=True, kw_only=True)
class UShapeArch:
    """A network of a space, on one of its grids."""

    kind: ClassVar[str] = "searched"
    space: UShapeSpace
    grid_number: int
    """Position of the input's grid among those of the space."""
    shape: UShape
    estimate: Mapping[str, Any] | None = None
    """What the LUT said when the architecture was written, and which LUT; never read back as truth."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Seed, versions, data, patients seen by the search."""
    source: str = field(default="arch", compare=False)

    def __post_init__(self) -> None:
        """Check that the network is one of the space.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        if not 0 <= self.grid_number < len(self.space.grids):
            raise BadInputError(
                f"{self.source}: grid is {self.grid_number}, and the space has {len(self.space.grids)} grids."
            )
        self.shape.check(f"{self.source}: shape", self.input_shape_DHW)
        for key in ("stem_kernel", "stem_stride", "strides", "down", "join", "residual"):
            self._require(getattr(self.shape, key) == getattr(self.space, key), key, "that of the space")
        self._require(len(self.shape.widths) == self.space.levels, "widths", f"{self.space.levels} levels")
        offered = zip(self.shape.widths, self.space.widths, strict=True)
        self._require(all(width in row for width, row in offered), "widths", f"of the space's {self.space.widths}")
        for way, depths in (("encoder", self.space.encoder_depths), ("decoder", self.space.decoder_depths)):
            levels = getattr(self.shape, way)
            self._require(
                all(len(blocks) in row for blocks, row in zip(levels, depths, strict=True)), way, f"depths {depths}"
            )
            self._require(
                all(set(blocks) <= set(row) for blocks, row in zip(levels, self.space.blocks, strict=False)),
                way,
                f"blocks of the space's {self.space.blocks}",
            )

    def _require(self, condition: bool, key: str, expected: str) -> None:
        if not condition:
            raise BadInputError(f"{self.source}: shape: {key} is {getattr(self.shape, key)!r}, expected {expected}.")

    @property
    def grid(self) -> UShapeArch:
        """The architecture itself: it states its grid, as a space of one grid does."""
        return self

    @property
    def chosen_grid(self) -> Grid:
        """The grid of the input."""
        return self.space.grids[self.grid_number]

    @property
    def input_shape_DHW(self) -> Shape3:
        """Voxels of the network's input."""
        return self.chosen_grid.shape_DHW

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size of the input along D, H, W."""
        return self.chosen_grid.spacing_mm

    @property
    def in_channels(self) -> int:
        """Channels of the input image."""
        return self.space.in_channels

    @cached_property
    def digest(self) -> str:
        """Short hash of what is deployed: grid and shape, whatever else the space offers."""
        content = {"grid": self.chosen_grid.to_dict(), "channels": self.in_channels, "shape": self.shape.to_dict()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and words, ready for YAML."""
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "space": self.space.to_dict(),
            "grid": self.grid_number,
            "shape": self.shape.to_dict(),
            "estimate": None if self.estimate is None else dict(self.estimate),
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> UShapeArch:
        """Read what `to_dict` wrote.

        Raises:
            BadInputError: another schema or version, an unknown key, or a value that does not fit.
        """
        check_schema(document, schema=SCHEMA, version=VERSION, source=source)
        keys = ["schema", "version", "space", "grid", "shape"]
        check_keys(document, required=keys, optional=["estimate", "provenance"], source=source)
        for key in ("space", "shape"):
            if not isinstance(document[key], dict):
                raise BadInputError(f"{source}: {key} is {document[key]!r}, expected a mapping.")
        for key in ("estimate", "provenance"):
            if not isinstance(document.get(key) or {}, dict):
                raise BadInputError(f"{source}: {key} is {document[key]!r}, expected a mapping.")
        number = document["grid"]
        if isinstance(number, bool) or not isinstance(number, int):
            raise BadInputError(f"{source}: grid is {number!r}, expected the position of a grid in the space.")
        return cls(
            space=UShapeSpace.from_dict(document["space"], source=f"{source}: space"),
            grid_number=number,
            shape=UShape.from_dict(document["shape"], source=f"{source}: shape"),
            estimate=document.get("estimate"),
            provenance=document.get("provenance") or {},
            source=source,
        )
