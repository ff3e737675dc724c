"""The genotype of a U-shaped network: stem, levels, and how they are joined. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from cinert.errors import BadInputError
from cinert.schema import check_keys, plain, read_number, read_triple
from cinert.space import Shape3
from cinert.ushape.blocks import BLOCKS

Join = Literal["concat", "add"]
Down = Literal["maxpool", "strided"]
JOINS: tuple[Join, ...] = get_args(Join)
DOWNS: tuple[Down, ...] = get_args(Down)
Blocks = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class UShape:
    """A network of levels: down to the coarsest, and up again, joined with what each level gave on the way down."""

    stem_kernel: Shape3
    """Kernel of the first convolution, odd."""
    stem_stride: Shape3
    """Its stride; the head is a transposed convolution back by as much, or a 1x1x1 convolution where it is 1."""
    strides: tuple[Shape3, ...]
    """Factor per axis from each level to the next coarser one; one entry fewer than there are levels."""
    widths: tuple[int, ...]
    """Channels at each level, finest first."""
    encoder: tuple[Blocks, ...]
    """Blocks of each level on the way down, finest first; the finest level may have none, after the stem."""
    decoder: tuple[Blocks, ...]
    """Blocks of each level on the way up, finest first; the coarsest level has none, so one entry fewer."""
    down: Down
    """`maxpool`, or `strided`: a convolution whose kernel is its stride."""
    join: Join
    """`concat` along the channels, or `add`, of a level's skip and what comes up to it."""
    residual: bool
    """Whether a block that reads as many channels as its level has is added to what it reads (He 2016)."""

    def check(self, source: str, shape_DHW: Shape3) -> None:
        """Check every value against the others and the input.

        Raises:
            BadInputError: naming the key, the value and the file.
        """

        def require(condition: bool, key: str, expected: str) -> None:
            if not condition:
                raise BadInputError(f"{source}: {key} is {plain(getattr(self, key))!r}, expected {expected}.")

        levels = len(self.widths)
        require(levels >= 2 and min(self.widths) >= 1, "widths", "at least 2 positive widths")
        require(all(size >= 1 and size % 2 for size in self.stem_kernel), "stem_kernel", "odd sizes, to be centred")
        require(min(self.stem_stride) >= 1, "stem_stride", "positive factors")
        require(len(self.strides) == levels - 1, "strides", f"{levels - 1} entries, one fewer than widths")
        require(len(self.encoder) == levels, "encoder", f"{levels} entries, one for each width")
        require(all(self.encoder[1:]), "encoder", "at least one block at every level below the first")
        require(len(self.decoder) == levels - 1, "decoder", f"{levels - 1} entries, one fewer than widths")
        # A sum needs no block to bring its channels to the level's width, a concatenation does.
        require(self.join == "add" or all(self.decoder), "decoder", "at least one block at every level")
        for key in ("encoder", "decoder"):
            known = all(name in BLOCKS for blocks in getattr(self, key) for name in blocks)
            require(known, key, f"known blocks ({', '.join(BLOCKS)})")
        require(self.down in DOWNS, "down", f"one of {', '.join(DOWNS)}")
        require(self.join in JOINS, "join", f"one of {', '.join(JOINS)}")
        shape = shape_DHW
        for key, stride in [("stem_stride", self.stem_stride), *(("strides", stride) for stride in self.strides)]:
            divides = min(stride) >= 1 and all(size % step == 0 for size, step in zip(shape, stride, strict=True))
            require(divides, key, f"factors of {'x'.join(map(str, shape))}, the shape that they divide")
            shape = divided(shape, stride)

    def shapes_DHW(self, input_DHW: Shape3) -> tuple[Shape3, ...]:
        """Voxels at each level, finest first."""
        shapes = [divided(input_DHW, self.stem_stride)]
        for stride in self.strides:
            shapes.append(divided(shapes[-1], stride))
        return tuple(shapes)

    def adds(self, way: Literal["encoder", "decoder"], level: int) -> tuple[bool, ...]:
        """For each block of a level, whether it is added to what it reads.

        The first one reads what the level above or below gave, which has other channels unless a transition or a sum
        has brought it to the level's width.
        """
        if way == "encoder":
            count, first = len(self.encoder[level]), level == 0 or self.down == "strided"
        else:
            count, first = len(self.decoder[level]), self.join == "add"
        return tuple(self.residual and (place > 0 or first) for place in range(count))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and words."""
        return {name: plain(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> UShape:
        """Read what `to_dict` wrote; `check` is for the caller, who knows the input.

        Raises:
            BadInputError: an unknown or missing key, or a value of another type.
        """
        if not isinstance(document, Mapping):
            raise BadInputError(f"{source} is {document!r}, expected a mapping.")
        check_keys(document, required=list(cls.__dataclass_fields__), source=source)
        values: dict[str, Any] = {}
        for name, value in document.items():
            try:
                values[name] = _READERS[name](value)
            except (TypeError, ValueError) as error:
                raise BadInputError(f"{source}: {name} is {value!r}: {error}.") from error
        return cls(**values)


def divided(shape: Shape3, stride: Shape3) -> Shape3:
    """A shape over a stride, axis by axis."""
    return shape[0] // stride[0], shape[1] // stride[1], shape[2] // stride[2]


def _blocks(value: Any) -> tuple[Blocks, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError("expected a list of lists of blocks")
    for level in value:
        if not isinstance(level, Sequence) or isinstance(level, str):
            raise TypeError("expected a list of lists of blocks")
    return tuple(tuple(str(name) for name in level) for level in value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("expected true or false")
    return value


_READERS: Mapping[str, Any] = {
    "stem_kernel": lambda value: read_triple(value, int),
    "stem_stride": lambda value: read_triple(value, int),
    "strides": lambda value: tuple(read_triple(item, int) for item in value),
    "widths": lambda value: tuple(read_number(item, int) for item in value),
    "encoder": _blocks,
    "decoder": _blocks,
    "down": str,
    "join": str,
    "residual": _flag,
}
