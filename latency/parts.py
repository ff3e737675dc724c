"""Priced parts: everything that a decoded network is made of, with the key that a LUT row carries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from cinert.backends.base import Model, Precision, Shape
from cinert.errors import BadInputError
from cinert.network import random_weights
from cinert.onnx import cached, export_onnx
from cinert.op_registry import BUILT_IN, find_op, op_spec
from cinert.ops import Concatenate, Merge, conv_block, make_op, make_preprocessing
from cinert.paths import SCALE_STEP, CellKind, legal_edges
from cinert.schema import check_keys
from cinert.space import CLASSES, OpName, Shape3, Space

Extent = int | Shape3
"""Size of a kernel, or a dilation: one number where it is the same along D, H and W."""


@dataclass(frozen=True, kw_only=True, order=True)
class PartKey:
    """What identifies a priced part: two parts with the same key run the same kernel."""

    kind: str
    """A primitive op, `pre.ct`, `pre.ns`, `pre.ep`, `concat`, `merge`, `stem` or `head`; of U-shaped networks also
    `depthwise`, `pool`, `strided` and `enlarge` (`latency.ushape.parts`)."""
    channels_in: int
    channels_out: int
    shape_in: Shape3
    shape_out: Shape3
    kernel: Extent
    stride: Shape3
    dilation: Extent
    groups: int
    precision: Precision
    batch: int

    def __post_init__(self) -> None:
        """Write what is the same along all axes as one number, so that equal parts have equal keys."""
        for name in ("kernel", "dilation"):
            object.__setattr__(self, name, _one_number(getattr(self, name)))

    @property
    def kernel_DHW(self) -> Shape3:
        """Size of the kernel along D, H, W."""
        return _triple(self.kernel)

    @property
    def dilation_DHW(self) -> Shape3:
        """Dilation along D, H, W."""
        return _triple(self.dilation)

    @property
    def taps(self) -> int:
        """Weights of a filter for one input channel."""
        return math.prod(self.kernel_DHW)

    @property
    def transposed(self) -> bool:
        """Whether it is a convolution to a finer grid, whose kernel is its stride."""
        return self.kind == "enlarge" or (self.kind == "head" and self.stride != (1, 1, 1))

    @property
    def label(self) -> str:
        """One line for people, unique per key, e.g. `conv 16-16 20x128x112 k3 fp32`."""
        size = "x".join(map(str, self.shape_in))
        if self.shape_out != self.shape_in:
            size += "-" + "x".join(map(str, self.shape_out))
        words = [self.kind, f"{self.channels_in}-{self.channels_out}", size]
        words += [f"k{_word(self.kernel)}"] if self.kernel != 1 else []
        words += [f"s{_word(self.stride)}"] if self.stride != (1, 1, 1) else []
        words += [f"d{_word(self.dilation)}"] if self.dilation != 1 else []
        words += [f"g{self.groups}"] if self.groups != 1 else []
        return " ".join([*words, self.precision, *([f"b{self.batch}"] if self.batch != 1 else [])])

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> PartKey:
        """Read what `to_dict` wrote; raises BadInputError for unknown or missing keys."""
        check_keys(document, required=list(cls.__dataclass_fields__), source=source)
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in document.items()}
        return cls(**values)

    @property
    def flops(self) -> int:
        """Floating-point operations, a multiply-add counted as two."""
        spec = find_op(self.kind)
        return self._flops_of_part() if spec is None else round(spec.flops(self, self.taps))

    def _flops_of_part(self) -> int:
        """Of a part that is no op."""
        voxels_in, voxels_out = math.prod(self.shape_in), math.prod(self.shape_out)
        match self.kind:
            case "pool":
                return voxels_out * self.channels_out * self.taps
            case "concat":
                return 0
            case "merge":
                return voxels_out * self.channels_out
            case "pre.ep":
                # The convolution runs at the coarser scale; trilinear interpolation is seven lerps of two operations.
                return 2 * voxels_in * self.channels_in * self.channels_out + 14 * voxels_out * self.channels_out
            case "pre.ct":
                pooling = voxels_in * self.channels_in
                return pooling + 2 * voxels_out * self.channels_in * self.channels_out
            case _:
                # Every voxel of the coarser grid meets every tap, on the way to a finer one too.
                voxels = voxels_in if self.transposed else voxels_out
                return 2 * voxels * self.channels_in * self.channels_out * self.taps // self.groups

    @property
    def weight_count(self) -> int:
        """Parameters after the batch norm is folded."""
        if self.kind in {"pool", "concat", "merge"}:
            return 0
        if (spec := find_op(self.kind)) is not None:
            return spec.weights(self)
        return self.channels_in * self.channels_out * self.taps // self.groups + self.channels_out

    @property
    def element_bytes(self) -> int:
        """Bytes of an element of its tensors."""
        return 2 if self.precision in {"fp16", "bf16"} else 4

    @property
    def bytes_moved(self) -> int:
        """Bytes that must be read and written at least: inputs, weights, output."""
        inputs = sum(math.prod(shape) for shape in input_shapes(self))
        return self.element_bytes * (
            inputs + self.weight_count + self.batch * self.channels_out * math.prod(self.shape_out)
        )


def _triple(extent: Extent) -> Shape3:
    return (extent, extent, extent) if isinstance(extent, int) else extent


def _one_number(extent: Extent) -> Extent:
    return extent[0] if isinstance(extent, tuple) and len(set(extent)) == 1 else extent


def _word(extent: Extent) -> str:
    return str(extent) if isinstance(extent, int) else "x".join(map(str, extent))


def input_shapes(key: PartKey) -> tuple[Shape, ...]:
    """Shapes of a part's inputs, batch and channels included."""
    count = {"concat": key.channels_out // key.channels_in, "merge": 2}.get(key.kind, 1)
    return ((key.batch, key.channels_in, *key.shape_in),) * count


def make_part(key: PartKey) -> nn.Module:
    """Build a part as it is deployed.

    Raises:
        BadInputError: the kind is unknown.
    """
    match key.kind:
        case "stem":
            return conv_block(key.channels_in, key.channels_out, kernel=key.kernel_DHW[0])
        case "head":
            return nn.Conv3d(key.channels_in, key.channels_out, key.kernel, padding=key.kernel_DHW[0] // 2)
        case "concat":
            return Concatenate()
        case "merge":
            return Merge()
        case "pre.ct":
            return make_preprocessing(key.channels_in, key.channels_out, stride=key.stride)
        case "pre.ns":
            return make_preprocessing(key.channels_in, key.channels_out)
        case "pre.ep":
            return make_preprocessing(key.channels_in, key.channels_out, upsample_to=key.shape_out)
        case _:
            if find_op(key.kind) is None:
                raise BadInputError(f"unknown part {key.kind!r}.")
            return make_op(key.kind, key.channels_in)


def part_model(key: PartKey) -> Model:
    """Describe a part to the back ends, with random weights; its ONNX export is cached.

    That of an op which a package adds is not: its file may change, and the key would still be the same.
    """
    spec = find_op(key.kind)

    def make() -> nn.Module:
        return random_weights(make_part(key), seed=0)

    def make_onnx() -> bytes:
        if spec is not None and spec.name not in BUILT_IN:
            return export_onnx(make(), shapes)
        return cached(f"part {key}", lambda: export_onnx(make(), shapes))

    shapes = input_shapes(key)
    return Model(
        name=key.label,
        input_shapes=shapes,
        make_onnx=make_onnx,
        make_module=make,
        half_safe=frozenset() if spec is None else spec.half_safe,
    )


class PartCatalogue:
    """Keys of the parts of a space, in one precision at batch 1."""

    def __init__(self, space: Space, precision: Precision = "fp32") -> None:
        self.space = space
        self.precision = precision

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

    def op(self, op: OpName, scale: int) -> PartKey:
        """A primitive op at a scale."""
        width, shape = self.space.widths[scale], self.space.shapes_DHW[scale]
        spec = op_spec(op)
        # A separable op is a depthwise and a pointwise convolution; groups tell that it has a depthwise part.
        groups = width if spec.depthwise else 1
        kernel, dilation = spec.kernel_DHW, spec.dilation_DHW
        return self._key(op, (width, width), (shape, shape), kernel=kernel, dilation=dilation, groups=groups)

    def preprocessing(self, kind: CellKind, source: int, nodes: int | None = None) -> PartKey:
        """The preprocessing of a cell that leaves scale `source`, from a vertex of that many nodes, or a full one."""
        target = source + SCALE_STEP[kind]
        stride = self.space.strides[source] if kind == "ct" else (1, 1, 1)
        channels = (self._vertex_channels(source, nodes), self.space.widths[target])
        shapes = (self.space.shapes_DHW[source], self.space.shapes_DHW[target])
        return self._key(f"pre.{kind}", channels, shapes, stride=stride)

    def concatenation(self, scale: int, nodes: int | None = None) -> PartKey:
        """Concatenation of a vertex's nodes, two at least."""
        shape = self.space.shapes_DHW[scale]
        return self._key("concat", (self.space.widths[scale], self._vertex_channels(scale, nodes)), (shape, shape))

    def merge(self, scale: int) -> PartKey:
        """One addition where edges meet in a node, of a cell or of a vertex."""
        shape, width = self.space.shapes_DHW[scale], self.space.widths[scale]
        return self._key("merge", (width, width), (shape, shape))

    def stem(self) -> PartKey:
        """The first convolution."""
        shape = self.space.input_shape_DHW
        channels = (self.space.in_channels, self.space.vertex_channels(0))
        return self._key("stem", channels, (shape, shape), kernel=self.space.stem_kernel)

    def head(self, nodes: int | None = None) -> PartKey:
        """The last convolution, from a vertex of that many nodes, or a full one."""
        shape = self.space.input_shape_DHW
        channels = (self._vertex_channels(0, nodes), len(CLASSES))
        return self._key("head", channels, (shape, shape), kernel=self.space.head_kernel)

    def _vertex_channels(self, scale: int, nodes: int | None) -> int:
        return self.space.widths[scale] * (nodes or self.space.nodes)

    def all(self) -> list[PartKey]:
        """Every part that the space can deploy, stem first, then scale by scale."""
        edges = legal_edges(self.space.layers, self.space.scales)
        scales = sorted({edge.target for edge in edges})
        transitions: set[tuple[int, CellKind]] = {(edge.source, edge.kind) for edge in edges if edge.kind != "skip"}
        counts = range(1, self.space.nodes + 1)
        keys = [self.stem()]
        for scale in scales:
            keys += [self.op(op, scale) for op in self.space.ops if op != "zero"]
            leaving = [kind for source, kind in sorted(transitions) if source == scale]
            keys += [self.preprocessing(kind, scale, nodes) for kind in leaving for nodes in counts]
            keys += [self.concatenation(scale, nodes) for nodes in counts if nodes > 1]
            keys.append(self.merge(scale))
        return [*keys, *(self.head(nodes) for nodes in counts)]
