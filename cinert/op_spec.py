"""What a primitive op is: its module, what it computes and holds, how it is priced, searched, typed and drawn.

Free of torch, and so is a file that declares an op: whoever reads an architecture that holds the op loads it, also at
the bedside. Import torch inside `make`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

if TYPE_CHECKING:
    from torch import nn

    from cinert.space import Shape3

PriceGroup = Literal["convolution", "light"]
"""Which factor of a calibration corrects an op's price (`latency.calibration`): dense convolutions share one, and what
moves more than it computes shares the other."""
FastPath = Literal["convolution", "separable", "max-pool", "copy"]
"""How a supernet runs an op faster than by its module, with the same result: a convolution, or a depthwise and a
pointwise one, each followed by batch norm and ReLU and nothing else (`search.wide_op`); max-pooling 3x3x3
(`search.max_pool`); passing on what it reads."""
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


class Priced(Protocol):
    """Where an op stands: what of a `latency.parts.PartKey` its costs depend on."""

    @property
    def channels_in(self) -> int:
        """Channels that it reads."""

    @property
    def channels_out(self) -> int:
        """Channels that it gives."""

    @property
    def shape_out(self) -> Shape3:
        """Voxels that it gives."""

    @property
    def groups(self) -> int:
        """Of its first convolution."""

    @property
    def taps(self) -> int:
        """Weights of a filter for one input channel: the product of the kernel's sizes."""


Flops = Callable[[Priced, float], float]
"""Floating-point operations, a multiply-add counted as two, where so many taps of each filter count: all of them
(`Priced.taps`), or those that do not lie in the padding."""


@dataclass(frozen=True, kw_only=True)
class OpSpec:
    """A primitive op, whole: nothing else in the repository has to know its name."""

    name: str
    """In spaces, architectures and tables: lower-case letters, digits and underscores."""
    make: Callable[[int], nn.Module]
    """Builds the module that maps (B, channels, D, H, W) to the same shape, from the number of channels."""
    kernel_DHW: Shape3
    """Voxels that an output voxel depends on, along each axis; odd numbers."""
    dilation_DHW: Shape3 = (1, 1, 1)
    """Steps between them."""
    depthwise: bool = False
    """Whether it begins with one filter for each channel."""
    flops: Flops
    """What it computes (`convolution_flops` and the others below)."""
    weights: Callable[[Priced], int]
    """Parameters once batch norm is folded."""
    price_group: PriceGroup
    """Whose factor corrects its price."""
    fast_path: FastPath | None = None
    """How a supernet runs it; None for its module, one for each node that reads an input."""
    half_safe: frozenset[str] = frozenset()
    """Ops of ONNX in its graph that may run in half precision beside those of `cinert.typed.half`: values no larger
    than what they read, or sums that are accumulated in fp32."""
    colour: str
    """In pictures: `#rrggbb`."""


def convolution_flops(part: Priced, taps: float) -> float:
    """Of a convolution, grouped or not."""
    return 2 * math.prod(part.shape_out) * part.channels_in * part.channels_out * taps / part.groups


def convolution_weights(part: Priced) -> int:
    """Of a convolution with a bias, which the folded batch norm leaves."""
    return part.channels_in * part.channels_out * part.taps // part.groups + part.channels_out


def separable_flops(part: Priced, taps: float) -> float:
    """Of a depthwise convolution and a pointwise one, which has no taps in the padding."""
    return 2 * math.prod(part.shape_out) * part.channels_in * (taps + part.channels_out)


def separable_weights(part: Priced) -> int:
    """Of a depthwise convolution without a bias and a pointwise one with a bias."""
    return part.channels_in * (part.taps + part.channels_out) + part.channels_out


def pooling_flops(part: Priced, taps: float) -> float:
    """Of one comparison or addition a tap."""
    return math.prod(part.shape_out) * part.channels_out * taps


def no_flops(part: Priced, taps: float) -> float:
    """Of what computes nothing."""
    del part, taps
    return 0


def no_weights(part: Priced) -> int:
    """Of what has no parameters."""
    del part
    return 0


def fault_of(spec: Any) -> str | None:
    """What is wrong with an op that a package declares, as the end of a sentence about it; None if nothing is.

    Args:
        spec: whatever the package gives.
    """
    if not isinstance(spec, OpSpec):
        return f"is a {type(spec).__name__}, expected a cinert.op_spec.OpSpec"
    values: dict[str, tuple[Any, bool, str]] = {
        "name": (spec.name, _is_name(spec.name), "lower-case letters, digits and underscores"),
        "make": (spec.make, callable(spec.make), "a function from channels to a module"),
        "kernel_DHW": (spec.kernel_DHW, _is_kernel(spec.kernel_DHW), "three odd numbers, such as (1, 3, 3)"),
        "dilation_DHW": (spec.dilation_DHW, _is_triple(spec.dilation_DHW), "three numbers from 1 on"),
        "flops": (spec.flops, callable(spec.flops), "a function, such as cinert.op_spec.convolution_flops"),
        "weights": (spec.weights, callable(spec.weights), "a function, such as cinert.op_spec.convolution_weights"),
        "price_group": _choice(spec.price_group, get_args(PriceGroup)),
        "fast_path": _choice(spec.fast_path, ("convolution", "separable", None)),
        "half_safe": (spec.half_safe, isinstance(spec.half_safe, frozenset), "a frozenset of ops of ONNX"),
        "colour": (spec.colour, isinstance(spec.colour, str) and bool(_COLOUR.fullmatch(spec.colour)), "#rrggbb"),
    }
    for name, (value, good, expected) in values.items():
        if not good:
            return f"has {name} {value!r}, expected {expected}"
    return None


def _choice(value: Any, choices: tuple[Any, ...]) -> tuple[Any, bool, str]:
    return value, value in choices, f"one of {', '.join(map(str, choices))}"


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9_]*", value) is not None


def _is_triple(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 3
        and all(isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in value)
    )


def _is_kernel(value: Any) -> bool:
    return _is_triple(value) and all(size % 2 == 1 for size in value)
