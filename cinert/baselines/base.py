"""What every baseline's file has: schema, kind, the grid of its input, provenance. Free of torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

from cinert.errors import BadInputError
from cinert.schema import check_keys, check_schema, plain, read_number, read_triple
from cinert.space import Shape3, Space

SCHEMA, VERSION = "cinert.baseline", 1
_UNWRITTEN = ("source", "provenance")


@dataclass(frozen=True, kw_only=True)
class Baseline(ABC):
    """A designed network. A kind adds its own fields and their readers; every field stands in the YAML."""

    kind: ClassVar[str]
    first_width: ClassVar[int]
    """Channels at the finest level, unless the user says otherwise."""
    width_growth: ClassVar[int] = 2
    """Factor from the width of each level to the next, likewise."""
    widest: ClassVar[int | None] = None
    """Bound of that growth; None where there is none."""
    readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "input_shape_DHW": lambda value: read_triple(value, int),
        "spacing_mm": lambda value: read_triple(value, float),
        "in_channels": lambda value: read_number(value, int),
    }
    """From a value of the YAML to a value of the field; they raise TypeError or ValueError."""

    input_shape_DHW: Shape3
    """Voxels of the network's input."""
    spacing_mm: tuple[float, float, float]
    """Voxel size of the input along D, H, W."""
    in_channels: int
    """Channels of the input image."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """The space that it is to be compared in, versions."""
    source: str = field(default="baseline", compare=False)
    """File that it was read from, for messages."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        self._require(min(self.input_shape_DHW) >= 1, "input_shape_DHW", "positive sizes")
        self._require(min(self.spacing_mm) > 0, "spacing_mm", "positive millimetres")
        self._require(self.in_channels >= 1, "in_channels", "at least 1")

    def _require(self, condition: bool, key: str, expected: str) -> None:
        if not condition:
            raise BadInputError(f"{self.source}: {key} is {plain(getattr(self, key))!r}, expected {expected}.")

    @classmethod
    @abstractmethod
    def for_space(cls, space: Space, widths: tuple[int, ...], provenance: Mapping[str, Any]) -> Self:
        """The baseline on the grid of a space, to be compared with what is searched there; one level for each width.

        Raises:
            BadInputError: the widths do not fit the space, or the levels do not divide its grid.
        """

    @classmethod
    def default_widths(cls, levels: int) -> tuple[int, ...]:
        """Channels at each of so many levels, unless the user says otherwise."""
        widths = (cls.first_width * cls.width_growth**level for level in range(levels))
        return tuple(width if cls.widest is None else min(width, cls.widest) for width in widths)

    @classmethod
    def widths_in(cls, space: Space) -> tuple[int, ...]:
        """Channels at each level on the grid of a space, unless the user says otherwise: a level for each scale."""
        return cls.default_widths(space.scales)

    @property
    def grid(self) -> Baseline:
        """The baseline itself: it states its grid, as a space does."""
        return self

    @cached_property
    def digest(self) -> str:
        """Short hash of what is deployed."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()[:16]

    def _content(self) -> dict[str, Any]:
        values = {item.name: plain(getattr(self, item.name)) for item in dataclasses.fields(self)}
        return {"kind": self.kind, **{name: value for name, value in values.items() if name not in _UNWRITTEN}}

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and words, ready for YAML."""
        return {"schema": SCHEMA, "version": VERSION, **self._content(), "provenance": dict(self.provenance)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            BadInputError: another schema or version, an unknown or missing key, or a value that does not fit.
        """
        check_schema(document, schema=SCHEMA, version=VERSION, source=source)
        required = ["schema", "version", "kind", *cls.readers]
        check_keys(document, required=required, optional=["provenance"], source=source)
        provenance = document.get("provenance") or {}
        if not isinstance(provenance, dict):
            raise BadInputError(f"{source}: provenance is {provenance!r}, expected a mapping.")
        values: dict[str, Any] = {}
        for name, read in cls.readers.items():
            try:
                values[name] = read(document[name])
            except (TypeError, ValueError) as error:
                raise BadInputError(f"{source}: {name} is {document[name]!r}: {error}.") from error
        return cls(**values, provenance=provenance, source=source)
