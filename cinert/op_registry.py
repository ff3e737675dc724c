"""All primitive ops by name: those of the papers, and those that installed packages add (entry points `cinert.ops`).

Free of torch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from cinert.errors import BadInputError
from cinert.op_spec import (
    OpSpec,
    convolution_flops,
    convolution_weights,
    fault_of,
    no_flops,
    no_weights,
    pooling_flops,
    separable_flops,
    separable_weights,
)
from cinert.plugins import Plugin, load_plugins

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

ZERO = "zero"
"""Searchable, and no op: it decodes to no edge."""
GROUP = "cinert.ops"
PART_KINDS = frozenset(
    {"pre.ct", "pre.ns", "pre.ep", "concat", "merge", "stem", "head", "constant"}
    | {"depthwise", "pool", "strided", "enlarge"}
)
"""Kinds of priced parts that are no ops, whose names no op may have."""


def _maker(name: str) -> Callable[[int], nn.Module]:
    """A function of `cinert.ops`, which imports torch, found when it is called."""

    def make(channels: int) -> nn.Module:
        module: nn.Module = getattr(import_module("cinert.ops"), name)(channels)
        return module

    return make


# Zeng 2020, Table 1. Colours: Okabe and Ito's, which colour-blind readers can tell apart.
BUILT_IN: Mapping[str, OpSpec] = {
    spec.name: spec
    for spec in (
        OpSpec(
            name="conv",
            make=_maker("plain"),
            kernel_DHW=(3, 3, 3),
            flops=convolution_flops,
            weights=convolution_weights,
            price_group="convolution",
            fast_path="convolution",
            colour="#0072B2",
        ),
        OpSpec(
            name="dilated",
            make=_maker("dilated"),
            kernel_DHW=(3, 3, 3),
            dilation_DHW=(2, 2, 2),
            flops=convolution_flops,
            weights=convolution_weights,
            price_group="convolution",
            fast_path="convolution",
            colour="#CC79A7",
        ),
        OpSpec(
            name="separable",
            make=_maker("separable"),
            kernel_DHW=(3, 3, 3),
            depthwise=True,
            flops=separable_flops,
            weights=separable_weights,
            price_group="light",
            fast_path="separable",
            colour="#009E73",
        ),
        OpSpec(
            name="maxpool",
            make=_maker("maxpool"),
            kernel_DHW=(3, 3, 3),
            flops=pooling_flops,
            weights=no_weights,
            price_group="light",
            fast_path="max-pool",
            colour="#D55E00",
        ),
        OpSpec(
            name="identity",
            make=_maker("identity"),
            kernel_DHW=(1, 1, 1),
            flops=no_flops,
            weights=no_weights,
            price_group="light",
            fast_path="copy",
            colour="#777777",
        ),
    )
}


@functools.cache
def plugged_in() -> Mapping[str, Plugin]:
    """The ops that installed packages add, all of them loaded.

    Raises:
        BadInputError: one is broken, or has a name that is taken; naming its package.
    """
    return load_plugins(GROUP, "op", known={*BUILT_IN, ZERO, *PART_KINDS}, fault=fault_of)


def known_ops() -> tuple[str, ...]:
    """Names of all ops that a space may have, `zero` included; raises BadInputError as `plugged_in`."""
    return (*BUILT_IN, ZERO, *plugged_in())


def find_op(name: str) -> OpSpec | None:
    """The op of a name; None where no op has it. Raises BadInputError as `plugged_in`."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    plugin = plugged_in().get(name)
    if plugin is None:
        return None
    spec: OpSpec = plugin.value
    return spec


def op_spec(name: str) -> OpSpec:
    """The op of a name.

    Raises:
        BadInputError: no op has it; and as `plugged_in`.
    """
    spec = find_op(name)
    if spec is None:
        raise BadInputError(f"unknown op {name!r}.", hint=f"ops: {', '.join(known_ops())}.")
    return spec


def specs_of(names: Iterable[str]) -> dict[str, OpSpec]:
    """The ops of some names, `zero` left out; raises BadInputError as `op_spec`."""
    return {name: op_spec(name) for name in names if name != ZERO}


def added_ops(names: Iterable[str]) -> dict[str, Plugin]:
    """Of some ops those that packages add, by name; raises BadInputError as `plugged_in`."""
    return {name: plugged_in()[name] for name in names if name not in BUILT_IN and name != ZERO}
