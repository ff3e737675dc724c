"""The parts of U-shaped networks: what each level, and each way between two, is made of."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from cinert.backends.base import Model, Precision
from cinert.baselines.blocks import enlarging
from cinert.errors import BadInputError
from cinert.network import fold_batch_norm, random_weights
from cinert.ops import Concatenate, Merge
from cinert.space import CLASSES, Shape3
from cinert.ushape.arch import UShapeArch
from cinert.ushape.blocks import BLOCKS, ConvSpec
from cinert.ushape.graph import module_onnx
from cinert.ushape.network import conv_layers, make_head, make_reduction, make_stem
from cinert.ushape.shape import Blocks, UShape
from cinert.ushape.space import UShapeSpace
from latency.parts import PartKey, input_shapes

Parts = Counter[PartKey]
Way = Literal["encoder", "decoder"]
_WAYS: tuple[Way, ...] = ("encoder", "decoder")


@dataclass(frozen=True, kw_only=True)
class UShapeParts:
    """Keys of the parts of networks that share stem, strides and joins, on one grid, in one precision at batch 1."""

    stem_kernel: Shape3
    stem_stride: Shape3
    strides: tuple[Shape3, ...]
    down: str
    join: str
    in_channels: int
    input_DHW: Shape3
    shapes_DHW: tuple[Shape3, ...]
    """Voxels at each level, finest first."""
    precision: Precision

    @classmethod
    def of(cls, like: UShape | UShapeSpace, in_channels: int, input_DHW: Shape3, precision: Precision) -> UShapeParts:
        """Take what the networks share from one of them, or from their space."""
        shared = {name: getattr(like, name) for name in _SHARED}
        shapes = tuple(_level_shapes(input_DHW, like.stem_stride, like.strides))
        return cls(**shared, in_channels=in_channels, input_DHW=input_DHW, shapes_DHW=shapes, precision=precision)

    def _key(self, kind: str, channels: tuple[int, int], shapes: tuple[Shape3, Shape3], **values: Any) -> PartKey:
        defaults: dict[str, Any] = {"kernel": 1, "stride": (1, 1, 1), "dilation": 1, "groups": 1}
        return PartKey(
            kind=kind,
            channels_in=channels[0],
            channels_out=channels[1],
            shape_in=shapes[0],
            shape_out=shapes[1],
            precision=self.precision,
            batch=1,
            **{**defaults, **values},
        )

    def _between(self, level: int) -> tuple[Shape3, Shape3]:
        return self.shapes_DHW[level], self.shapes_DHW[level + 1]

    def stem(self, width: int) -> PartKey:
        """The first convolution."""
        shapes = (self.input_DHW, self.shapes_DHW[0])
        return self._key("stem", (self.in_channels, width), shapes, kernel=self.stem_kernel, stride=self.stem_stride)

    def head(self, width: int) -> PartKey:
        """The last convolution: transposed, or 1x1x1 where the stem keeps the grid."""
        shapes = (self.shapes_DHW[0], self.input_DHW)
        return self._key("head", (width, len(CLASSES)), shapes, kernel=self.stem_stride, stride=self.stem_stride)

    def convolution(self, spec: ConvSpec, level: int, channels_in: int, channels_out: int) -> PartKey:
        """A convolution of a block with norm and activation, if it has one."""
        return self._key(
            "depthwise" if spec.depthwise else "conv",
            (channels_in, channels_out),
            (self.shapes_DHW[level],) * 2,
            kernel=spec.kernel_DHW,
            dilation=spec.dilation_DHW,
            groups=channels_in if spec.depthwise else 1,
        )

    def block(self, name: str, level: int, channels_in: int, width: int) -> Iterator[PartKey]:
        """The convolutions of a block."""
        for spec, before, after in BLOCKS[name].channels(channels_in, width):
            yield self.convolution(spec, level, before, after)

    def blocks(
        self, blocks: Blocks, level: int, channels_in: int, width: int, adds: tuple[bool, ...]
    ) -> Iterator[PartKey]:
        """The blocks of a level, one after the other, with the sums of those that are added to what they read."""
        for name, added in zip(blocks, adds, strict=True):
            yield from self.block(name, level, channels_in, width)
            if added:
                yield self.merge(level, width)
            channels_in = width

    def reduction(self, level: int, fine: int, coarse: int) -> PartKey:
        """From a level to the next coarser one, whose width is `coarse`."""
        stride = self.strides[level]
        if self.down == "maxpool":
            return self._key("pool", (fine, fine), self._between(level), kernel=stride, stride=stride)
        return self._key("strided", (fine, coarse), self._between(level), kernel=stride, stride=stride)

    def enlarging(self, level: int, coarse: int, fine: int) -> PartKey:
        """The transposed convolution up to a level."""
        below, stride = self._between(level), self.strides[level]
        return self._key("enlarge", (coarse, fine), (below[1], below[0]), kernel=stride, stride=stride)

    def joining(self, level: int, width: int) -> PartKey:
        """What joins a level's skip with what comes up to it."""
        if self.join == "add":
            return self.merge(level, width)
        return self._key("concat", (width, 2 * width), (self.shapes_DHW[level],) * 2)

    def merge(self, level: int, width: int) -> PartKey:
        """One addition."""
        return self._key("merge", (width, width), (self.shapes_DHW[level],) * 2)

    def encoder_channels(self, level: int, widths: tuple[int, ...]) -> int:
        """Channels that a level reads on the way down."""
        if level == 0 or self.down == "strided":
            return widths[level]
        return widths[level - 1]

    def decoder_channels(self, width: int) -> int:
        """Channels that a level reads on the way up."""
        return width if self.join == "add" else 2 * width

    def network(self, shape: UShape) -> Iterator[PartKey]:
        """Every part of a network, in the order in which it runs."""
        widths = shape.widths
        yield self.stem(widths[0])
        for level, blocks in enumerate(shape.encoder):
            if level:
                yield self.reduction(level - 1, widths[level - 1], widths[level])
            channels_in = self.encoder_channels(level, widths)
            yield from self.blocks(blocks, level, channels_in, widths[level], shape.adds("encoder", level))
        for level, blocks in reversed(list(enumerate(shape.decoder))):
            width = widths[level]
            yield self.enlarging(level, widths[level + 1], width)
            yield self.joining(level, width)
            channels_in = self.decoder_channels(width)
            yield from self.blocks(blocks, level, channels_in, width, shape.adds("decoder", level))
        yield self.head(widths[0])


_SHARED = ("stem_kernel", "stem_stride", "strides", "down", "join")


def _level_shapes(input_DHW: Shape3, stem_stride: Shape3, strides: tuple[Shape3, ...]) -> Iterator[Shape3]:
    shape = input_DHW
    for stride in (stem_stride, *strides):
        shape = (shape[0] // stride[0], shape[1] // stride[1], shape[2] // stride[2])
        yield shape


def ushape_parts(arch: UShapeArch, precision: Precision = "fp32") -> Parts:
    """Count the parts of a network."""
    catalogue = UShapeParts.of(arch.shape, arch.in_channels, arch.input_shape_DHW, precision)
    return Counter(catalogue.network(arch.shape))


def grid_parts(space: UShapeSpace, precision: Precision = "fp32") -> tuple[UShapeParts, ...]:
    """The catalogue of each grid of a space."""
    return tuple(UShapeParts.of(space, space.in_channels, grid.shape_DHW, precision) for grid in space.grids)


def row_keys(space: UShapeSpace, precision: Precision = "fp32") -> list[PartKey]:
    """Parts that are timed alone: each kind at each level of each grid, for its narrowest and its widest channels.

    A space has thousands of parts that differ in their channels alone; these are for people, and for a first guess.
    """
    keys: dict[PartKey, None] = {}
    for catalogue in grid_parts(space, precision):
        for widths in (space.smallest.widths, space.largest.widths):
            keys.update(dict.fromkeys(_level_rows(space, catalogue, widths)))
    return list(keys)


def _level_rows(space: UShapeSpace, catalogue: UShapeParts, widths: tuple[int, ...]) -> Iterator[PartKey]:
    yield catalogue.stem(widths[0])
    for level, width in enumerate(widths):
        for spec in level_convolutions(space, level):
            yield catalogue.convolution(spec, level, width, width)
        if level + 1 < len(widths):
            yield catalogue.reduction(level, width, widths[level + 1])
            yield catalogue.enlarging(level, widths[level + 1], width)
            yield catalogue.joining(level, width)
        if _adds_somewhere(space, level):
            yield catalogue.merge(level, width)
    yield catalogue.head(widths[0])


def level_convolutions(space: UShapeSpace, level: int) -> list[ConvSpec]:
    """The convolutions that a level's blocks are made of, each kind once; none where the level has no blocks."""
    if not any(space.positions(way, level) for way in _ways(space, level)):
        return []
    specs = (spec for name in space.blocks[level] for spec in BLOCKS[name].convs)
    kinds = {(spec.kernel_DHW, spec.dilation_DHW, spec.depthwise): spec for spec in specs}
    return list(kinds.values())


def _ways(space: UShapeSpace, level: int) -> tuple[Way, ...]:
    """The ways that pass a level: the coarsest one is the turning point."""
    return _WAYS if level + 1 < space.levels else _WAYS[:1]


def _adds_somewhere(space: UShapeSpace, level: int) -> bool:
    return any(any(space.largest.adds(way, level)) for way in _ways(space, level))


@functools.lru_cache(maxsize=8)
def space_keys(space: UShapeSpace, precision: Precision = "fp32") -> tuple[PartKey, ...]:
    """Every part that a space can deploy."""
    found: dict[PartKey, None] = {}
    for catalogue in grid_parts(space, precision):
        for level, widths in enumerate(space.widths):
            for width in widths:
                found.update(dict.fromkeys(_level_keys(space, catalogue, level, width)))
    return tuple(found)


def _level_keys(space: UShapeSpace, catalogue: UShapeParts, level: int, width: int) -> Iterator[PartKey]:
    """Every part of a level of that width, and of the ways to the next coarser one."""
    if level == 0:
        yield catalogue.stem(width)
        yield catalogue.head(width)
    last = level + 1 == space.levels
    arriving = {width}
    if level and space.down == "maxpool":
        arriving |= set(space.widths[level - 1])
    if not last:
        arriving.add(catalogue.decoder_channels(width))
        yield catalogue.joining(level, width)
        for coarse in space.widths[level + 1]:
            yield catalogue.reduction(level, width, coarse)
            yield catalogue.enlarging(level, coarse, width)
    if _adds_somewhere(space, level):
        yield catalogue.merge(level, width)
    for name in space.blocks[level] if level_convolutions(space, level) else ():
        for channels_in in sorted(arriving):
            yield from catalogue.block(name, level, channels_in, width)


def make_ushape_part(key: PartKey) -> nn.Module:
    """Build a part as it is deployed.

    Raises:
        BadInputError: the kind is unknown.
    """
    match key.kind:
        case "stem":
            return make_stem(key.channels_in, key.channels_out, key.kernel_DHW, key.stride)
        case "head":
            return make_head(key.channels_in, key.stride)
        case "conv" | "depthwise":
            spec = ConvSpec(
                kernel_DHW=key.kernel_DHW,
                dilation_DHW=key.dilation_DHW,
                depthwise=key.kind == "depthwise",
                activation=key.kind == "conv",
            )
            return nn.Sequential(*conv_layers(spec, key.channels_in, key.channels_out))
        case "pool":
            return make_reduction("maxpool", key.channels_out, key.channels_in, key.stride)
        case "strided":
            return make_reduction("strided", key.channels_out, key.channels_in, key.stride)
        case "enlarge":
            return enlarging(3, key.channels_in, key.channels_out, key.stride)
        case "concat":
            return Concatenate()
        case "merge":
            return Merge()
        case _:
            raise BadInputError(f"unknown part {key.kind!r} of a U-shaped network.")


def ushape_part_model(key: PartKey) -> Model:
    """Describe a part to the back ends, with random weights."""

    def make() -> nn.Module:
        return fold_batch_norm(random_weights(make_ushape_part(key), seed=0))

    shapes = input_shapes(key)
    return Model(name=key.label, input_shapes=shapes, make_onnx=lambda: module_onnx(make(), shapes), make_module=make)
