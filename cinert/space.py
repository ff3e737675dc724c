"""The search space: one YAML file that fixes what the papers leave open (Zeng 2020, Sec. 3; Lu 2022, Sec. 2.1)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from cinert.errors import BadInputError
from cinert.op_registry import known_ops
from cinert.schema import check_keys, check_schema, plain, read_number, read_triple

SCHEMA, VERSION = "cinert.space", 1
OpName = str
"""Name of a primitive op (`cinert.op_registry`), or `zero`."""
Relaxation = Literal["separate", "joint"]
Shape3 = tuple[int, int, int]
CLASSES = ("background", "rv", "myo", "lv")
PRESETS = ("demo", "small", "paper", "rtdnas")


@dataclass(frozen=True, kw_only=True)
class Space:
    """What can be searched and deployed. Every field stands in the YAML; there is no default in code."""

    name: str
    """Name of the preset, or of the user's file."""
    input_shape_DHW: Shape3
    """Voxels of the network's input."""
    spacing_mm: tuple[float, float, float]
    """Voxel size of the input along D, H, W."""
    in_channels: int
    """Channels of the input image."""
    layers: int
    """L: cells on a path, stem and head not counted."""
    strides: tuple[Shape3, ...]
    """Factor per axis from each scale to the next coarser one; one entry fewer than there are scales."""
    widths: tuple[int, ...]
    """Channels of a node at each scale; a vertex carries `nodes` times as many."""
    nodes: int
    """M: intermediate nodes in a cell."""
    ops: tuple[OpName, ...]
    """Primitive ops, in the order of the architecture parameters alpha."""
    relaxation: Relaxation
    """`separate` (Zeng 2020, Eq. 1-4) or `joint` (Lu 2022, Eq. 1)."""
    partial_channels: int
    """k: one channel in k goes through the ops during the search (Zeng 2020, Eq. 4)."""
    stem_kernel: int
    """Kernel of the first convolution."""
    head_kernel: int
    """Kernel of the last convolution."""
    norm: Literal["batch"]
    """Normalisation after each convolution; batch norm is folded at export."""
    source: str = field(default="space", compare=False)
    """File that the space was read from, for messages."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        self._require(len(self.widths) >= 1 and min(self.widths) >= 1, "widths", "positive widths")
        self._require(
            len(self.strides) == len(self.widths) - 1,
            "strides",
            f"{len(self.widths) - 1} entries, one fewer than widths",
        )
        self._require(self.layers >= 2, "layers", "at least 2")
        self._require(self.nodes >= 1, "nodes", "at least 1")
        self._require(self.in_channels >= 1, "in_channels", "at least 1")
        self._require(self.partial_channels >= 1, "partial_channels", "at least 1")
        self._require(
            all(width % self.partial_channels == 0 for width in self.widths),
            "widths",
            f"multiples of partial_channels = {self.partial_channels}",
        )
        for key in ("stem_kernel", "head_kernel"):
            self._require(getattr(self, key) % 2 == 1, key, "an odd number, so that padding keeps the size")
        self._require(len(set(self.ops)) == len(self.ops), "ops", "each op once")
        known = known_ops()
        self._require(set(self.ops) <= set(known), "ops", f"known ops ({', '.join(known)}); packages may add others")
        self._require(set(self.ops) != {"zero"} and bool(self.ops), "ops", "at least one op that yields something")
        self._require(
            self.relaxation in get_args(Relaxation), "relaxation", f"one of {', '.join(get_args(Relaxation))}"
        )
        self._require(self.norm == "batch", "norm", "'batch', which folds into the convolution at export")
        self._require(min(self.spacing_mm) > 0, "spacing_mm", "positive millimetres")
        self._require(min(self.input_shape_DHW) >= 1, "input_shape_DHW", "positive sizes")
        shape = self.input_shape_DHW
        for level, stride in enumerate(self.strides):
            divides = min(stride) >= 1 and all(size % step == 0 for size, step in zip(shape, stride, strict=True))
            self._require(divides, "strides", f"factors of {'x'.join(map(str, shape))}, the shape at scale {level}")
            shape = (shape[0] // stride[0], shape[1] // stride[1], shape[2] // stride[2])

    def _require(self, condition: bool, key: str, expected: str) -> None:
        if not condition:
            raise BadInputError(f"{self.source}: {key} is {getattr(self, key)!r}, expected {expected}.")

    @property
    def scales(self) -> int:
        """S: number of scales."""
        return len(self.widths)

    @cached_property
    def shapes_DHW(self) -> tuple[Shape3, ...]:
        """Voxels at each scale."""
        shapes = [self.input_shape_DHW]
        for stride in self.strides:
            d, h, w = shapes[-1]
            shapes.append((d // stride[0], h // stride[1], w // stride[2]))
        return tuple(shapes)

    def vertex_channels(self, scale: int) -> int:
        """Channels that a vertex carries: the concatenation of a cell's nodes."""
        return self.nodes * self.widths[scale]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, ready for YAML and JSON."""
        document: dict[str, Any] = {"schema": SCHEMA, "version": VERSION}
        for item in dataclasses.fields(self):
            if item.name != "source":
                document[item.name] = plain(getattr(self, item.name))
        return document

    @cached_property
    def digest(self) -> str:
        """Short hash of the content, independent of the file's layout."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> Space:
        """Read what `to_dict` wrote.

        Raises:
            BadInputError: another schema, an unknown or missing key, or a value that does not fit.
        """
        check_schema(document, schema=SCHEMA, version=VERSION, source=source)
        fields = [item.name for item in dataclasses.fields(cls) if item.name != "source"]
        check_keys(document, required=["schema", "version", *fields], source=source)
        values: dict[str, Any] = {name: document[name] for name in fields}
        readers: dict[str, Callable[[Any], Any]] = {
            "input_shape_DHW": lambda value: read_triple(value, int),
            "spacing_mm": lambda value: read_triple(value, float),
            "strides": lambda value: tuple(read_triple(item, int) for item in value),
            "widths": lambda value: tuple(read_number(item, int) for item in value),
            "ops": lambda value: tuple(str(item) for item in value),
            "name": str,
            **dict.fromkeys(
                ("in_channels", "layers", "nodes", "partial_channels", "stem_kernel", "head_kernel"),
                lambda value: read_number(value, int),
            ),
        }
        for name, read in readers.items():
            try:
                values[name] = read(values[name])
            except (TypeError, ValueError) as error:
                raise BadInputError(f"{source}: {name} is {document[name]!r}: {error}.") from error
        return cls(**values, source=source)
