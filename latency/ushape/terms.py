"""What the price of a part of a U-shaped network is made of, as a function of its channels.

A part costs a share per part, one per element that it reads and writes, and one per multiply-add; where tensors do not
stay in a cache, one per element beyond it. What is known of engines and not of layers stands in `Device`: those that
keep channels in blocks compute whole blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from cinert.errors import BadInputError
from cinert.schema import check_keys, read_number
from cinert.space import Shape3
from latency.parts import PartKey, input_shapes
from latency.roofline import needed_share

Amount = Literal["part", "streamed", "memory", "arithmetic"]
AMOUNTS: tuple[Amount, ...] = get_args(Amount)
UNITS: Mapping[Amount, str] = {
    "part": "1",
    "streamed": "10^6 elements",
    "memory": "10^6 elements",
    "arithmetic": "10^9 multiply-adds",
}
NOMINAL_MS: Mapping[Amount, float] = {"part": 0.005, "streamed": 0.4, "memory": 0.4, "arithmetic": 20.0}
"""Of a unit, on a nominal device of 10 GB/s and 100 GFLOP/s: a first guess, which the parts timed alone correct."""
_COPYING = ("depthwise", "pool", "concat", "merge")
"""Kinds whose arithmetic grows as their elements do, so that one share says both."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounding:
    """Channels that an engine computes together."""

    channels_in: int
    channels_out: int

    def to_dict(self) -> dict[str, int]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> Rounding:
        """Read what `to_dict` wrote; raises BadInputError for what is no positive whole number."""
        check_keys(document, required=["channels_in", "channels_out"], source=source)
        for name, value in document.items():
            try:
                positive = read_number(value, int) >= 1
            except TypeError:
                positive = False
            if not positive:
                raise BadInputError(f"{source}.{name} is {value!r}, expected a whole number >= 1.")
        return cls(**document)


ROUNDINGS = tuple(
    Rounding(channels_in=before, channels_out=after) for before, after in ((1, 1), (1, 8), (1, 16), (8, 8), (16, 16))
)
"""None, and blocks of 8 and 16 floats (AVX2, AVX-512) on the output's channels alone or on both."""


CACHES_MIB = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Sizes of a tensor beyond which its elements may cost more: those of caches, from a core's own to a GPU's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """What is known of an engine on a device, and not of layers; found by fit."""

    rounding: Rounding
    cache_mib: float | None = None
    """Size of a tensor beyond which its elements cost more; None where none is seen."""


PLAIN = Device(rounding=ROUNDINGS[0])
"""Neither blocks of channels nor a cache."""


def amounts(key: PartKey, device: Device) -> dict[Amount, float]:
    """How much of each unit a part takes."""
    tensors = [math.prod(shape) for shape in input_shapes(key)]
    tensors.append(key.batch * key.channels_out * math.prod(key.shape_out))
    found: dict[Amount, float] = {"part": 1.0, "memory": sum(tensors) / 1e6}
    if device.cache_mib is not None:
        held = device.cache_mib * 2**20 / key.element_bytes
        found["streamed"] = sum(max(0.0, elements - held) for elements in tensors) / 1e6
    if key.kind not in _COPYING:
        rounding = device.rounding
        full_in = _rounded(key.channels_in, rounding.channels_in) / key.channels_in
        full_out = _rounded(key.channels_out, rounding.channels_out) / key.channels_out
        found["arithmetic"] = key.flops / 2e9 * needed_share(key) * full_in * full_out
    return found


def _rounded(channels: int, block: int) -> int:
    return -(-channels // block) * block


def term_name(key: PartKey, amount: Amount, level: int | None = None) -> str:
    """Name of a share of a part's price: of its own grid, or common to all grids' parts of a level.

    All parts share what a part costs as such and what elements beyond the cache cost, and convolutions of different
    kernels what their elements cost.
    """
    if amount in {"part", "streamed"}:
        return amount
    where = "x".join(map(str, key.shape_out)) if level is None else f"level {level}"
    if amount == "memory" and key.kind == "conv":
        return f"conv {where}: memory"
    words = [key.kind, _size(key.kernel_DHW), *([f"d{_size(key.dilation_DHW)}"] if key.dilation != 1 else [])]
    return f"{' '.join(words)} {where}: {amount}"


def _size(extent: Shape3) -> str:
    return "x".join(map(str, extent))


def term_names(keys: Sequence[PartKey], device: Device) -> list[str]:
    """The terms of some parts, in order of appearance, `part` first."""
    return list(dict.fromkeys(["part", *(term_name(key, amount) for key in keys for amount in amounts(key, device))]))


def term_amount(name: str) -> Amount:
    """The unit of a term, by its name."""
    word = name.rsplit(": ", 1)[-1]
    return next(amount for amount in AMOUNTS if amount == word)
