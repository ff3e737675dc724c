"""A space of U-shaped networks: what can be chosen at each level, in one YAML file. Torch-free."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cinert.errors import BadInputError
from cinert.schema import check_keys, check_schema, plain, read_number, read_triple
from cinert.space import Shape3
from cinert.ushape.blocks import BLOCKS
from cinert.ushape.shape import DOWNS, JOINS, Down, Join, UShape, divided

SCHEMA, VERSION = "cinert.ushape-space", 1


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A grid that the network's input can have."""

    shape_DHW: Shape3
    spacing_mm: tuple[float, float, float]

    @property
    def field_of_view_mm(self) -> tuple[float, float, float]:
        """Extent along D, H, W."""
        d, h, w = (count * mm for count, mm in zip(self.shape_DHW, self.spacing_mm, strict=True))
        return d, h, w

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {"shape_DHW": plain(self.shape_DHW), "spacing_mm": plain(self.spacing_mm)}

    @classmethod
    def from_dict(cls, document: Any, *, source: str) -> Grid:
        """Read what `to_dict` wrote; raises BadInputError."""
        if not isinstance(document, Mapping):
            raise BadInputError(f"{source} is {document!r}, expected shape_DHW and spacing_mm.")
        check_keys(document, required=["shape_DHW", "spacing_mm"], source=source)
        try:
            return cls(
                shape_DHW=read_triple(document["shape_DHW"], int), spacing_mm=read_triple(document["spacing_mm"], float)
            )
        except (TypeError, ValueError) as error:
            raise BadInputError(f"{source} is {dict(document)!r}: {error}.") from error


@dataclass(frozen=True, kw_only=True)
class UShapeSpace:
    """What can be searched and deployed. Every field stands in the YAML; there is no default in code."""

    name: str
    """Name of the preset, or of the user's file."""
    in_channels: int
    """Channels of the input image."""
    grids: tuple[Grid, ...]
    """Of the input; one is chosen."""
    stem_kernel: Shape3
    """Kernel of the first convolution."""
    stem_stride: Shape3
    """Its stride, which the head takes back."""
    strides: tuple[Shape3, ...]
    """Factor per axis from each level to the next coarser one."""
    widths: tuple[tuple[int, ...], ...]
    """Channels that each level can have, finest level first, rising."""
    blocks: tuple[tuple[str, ...], ...]
    """Blocks that each position of a level can hold, on both ways."""
    encoder_depths: tuple[tuple[int, ...], ...]
    """How many blocks each level can have on the way down; the finest has the stem before them."""
    decoder_depths: tuple[tuple[int, ...], ...]
    """The same on the way up; one entry fewer, since the coarsest level is the turning point."""
    down: Down
    """As in `UShape`."""
    join: Join
    """As in `UShape`."""
    residual: bool
    """As in `UShape`."""
    source: str = field(default="space", compare=False)
    """File that the space was read from, for messages."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        levels = len(self.widths)
        self._require(levels >= 2, "widths", "at least 2 levels")
        rising = all(row and list(row) == sorted(set(row)) and row[0] >= 1 for row in self.widths)
        self._require(rising, "widths", "for each level positive widths that rise")
        self._require(len(self.strides) == levels - 1, "strides", f"{levels - 1} entries, one fewer than widths")
        self._require(len(self.blocks) == levels, "blocks", f"{levels} entries, one for each level")
        known = all(row and len(set(row)) == len(row) and set(row) <= set(BLOCKS) for row in self.blocks)
        self._require(known, "blocks", f"for each level known blocks, each once ({', '.join(BLOCKS)})")
        self._require_depths("encoder_depths", [0, *[1] * (levels - 1)])
        self._require_depths("decoder_depths", [0 if self.join == "add" else 1] * (levels - 1))
        self._require(self.down in DOWNS, "down", f"one of {', '.join(DOWNS)}")
        self._require(self.join in JOINS, "join", f"one of {', '.join(JOINS)}")
        self._require(self.in_channels >= 1, "in_channels", "at least 1")
        self._require(bool(self.grids), "grids", "at least one")
        self._require(len(set(self.grids)) == len(self.grids), "grids", "each grid once")
        for grid in self.grids:
            positive = min(grid.spacing_mm) > 0 and min(grid.shape_DHW) >= 1
            self._require(positive, "grids", "positive sizes and millimetres")
            self.largest.check(self.source, grid.shape_DHW)
        # So that the masks of all networks can be brought to one grid and compared.
        first = self.grids[0].field_of_view_mm
        same = all(math.dist(grid.field_of_view_mm, first) < 1e-3 * min(first) for grid in self.grids)
        self._require(same, "grids", "grids that cover the same field of view in millimetres")

    def _require(self, condition: bool, key: str, expected: str) -> None:
        if not condition:
            value = getattr(self, key)
            shown = [grid.to_dict() for grid in value] if key == "grids" else plain(value)
            raise BadInputError(f"{self.source}: {key} is {shown!r}, expected {expected}.")

    def _require_depths(self, key: str, least: list[int]) -> None:
        rows = getattr(self, key)
        self._require(len(rows) == len(least), key, f"{len(least)} entries")
        fits = all(
            row and list(row) == sorted(set(row)) and row[0] >= low for row, low in zip(rows, least, strict=True)
        )
        self._require(fits, key, f"numbers of blocks that rise, from {', '.join(map(str, least))} on")

    @property
    def levels(self) -> int:
        """How many levels a network has."""
        return len(self.widths)

    def positions(self, way: str, level: int) -> int:
        """The most blocks that a level can have on a way, `encoder` or `decoder`."""
        depths: tuple[tuple[int, ...], ...] = getattr(self, f"{way}_depths")
        return depths[level][-1]

    def shapes_DHW(self, grid: Grid) -> tuple[Shape3, ...]:
        """Voxels at each level, finest first."""
        shapes = [divided(grid.shape_DHW, self.stem_stride)]
        for stride in self.strides:
            shapes.append(divided(shapes[-1], stride))
        return tuple(shapes)

    def shape(
        self, widths: tuple[int, ...], encoder: tuple[tuple[str, ...], ...], decoder: tuple[tuple[str, ...], ...]
    ) -> UShape:
        """A network of the space."""
        return UShape(
            stem_kernel=self.stem_kernel,
            stem_stride=self.stem_stride,
            strides=self.strides,
            widths=widths,
            encoder=encoder,
            decoder=decoder,
            down=self.down,
            join=self.join,
            residual=self.residual,
        )

    @cached_property
    def largest(self) -> UShape:
        """Widest and deepest, of the last block that each level offers."""
        return self._extreme(-1)

    @cached_property
    def smallest(self) -> UShape:
        """Narrowest and shallowest, of the first block that each level offers."""
        return self._extreme(0)

    def _extreme(self, end: int) -> UShape:
        def way(depths: tuple[tuple[int, ...], ...]) -> tuple[tuple[str, ...], ...]:
            return tuple((self.blocks[level][end],) * row[end] for level, row in enumerate(depths))

        widths = tuple(row[end] for row in self.widths)
        return self.shape(widths, way(self.encoder_depths), way(self.decoder_depths))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, ready for YAML and JSON."""
        document: dict[str, Any] = {"schema": SCHEMA, "version": VERSION}
        for item in dataclasses.fields(self):
            if item.name == "grids":
                document["grids"] = [grid.to_dict() for grid in self.grids]
            elif item.name != "source":
                document[item.name] = plain(getattr(self, item.name))
        return document

    @cached_property
    def digest(self) -> str:
        """Short hash of the content, independent of the file's layout."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> UShapeSpace:
        """Read what `to_dict` wrote.

        Raises:
            BadInputError: another schema, an unknown or missing key, or a value that does not fit.
        """
        check_schema(document, schema=SCHEMA, version=VERSION, source=source)
        check_keys(document, required=["schema", "version", *_READERS], source=source)
        values: dict[str, Any] = {}
        for name, read in _READERS.items():
            try:
                values[name] = read(document[name])
            except (TypeError, ValueError) as error:
                raise BadInputError(f"{source}: {name} is {document[name]!r}: {error}.") from error
        return cls(**values, source=source)


def _rows(kind: type) -> Any:
    def read(value: Any) -> tuple[tuple[Any, ...], ...]:
        if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
            raise TypeError("expected a list of lists")
        return tuple(tuple(str(item) if kind is str else read_number(item, kind) for item in row) for row in value)

    return read


def _grids(value: Any) -> tuple[Grid, ...]:
    if not isinstance(value, list):
        raise TypeError("expected a list")
    return tuple(Grid.from_dict(item, source=f"grids[{number}]") for number, item in enumerate(value))


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("expected true or false")
    return value


_READERS: Mapping[str, Any] = {
    "name": str,
    "in_channels": lambda value: read_number(value, int),
    "grids": _grids,
    "stem_kernel": lambda value: read_triple(value, int),
    "stem_stride": lambda value: read_triple(value, int),
    "strides": lambda value: tuple(read_triple(item, int) for item in value),
    "widths": _rows(int),
    "blocks": _rows(str),
    "encoder_depths": _rows(int),
    "decoder_depths": _rows(int),
    "down": str,
    "join": str,
    "residual": _flag,
}
