"""Whether the ops that packages add are what they say: a wrong price or a wrong fast path would never be noticed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cinert.errors import BadInputError
from cinert.network import fold_batch_norm
from cinert.op_registry import added_ops
from cinert.op_spec import OpSpec
from cinert.space import Shape3, Space

_CHANNELS = 4
_SHAPE: Shape3 = (5, 6, 7)


@dataclass(frozen=True)
class _Place:
    """Where an op is tried (`cinert.op_spec.Priced`)."""

    channels_in: int
    channels_out: int
    shape_out: Shape3
    groups: int
    taps: int


def require_ops(space: Space) -> None:
    """Refuse a space with an op whose module is not what its package says of it.

    Raises:
        BadInputError: naming op and package: it cannot be built, changes the shape, holds another number of weights,
            computes more than it says, or is not what its fast path computes.
    """
    for name, plugin in added_ops(space.ops).items():
        wrong = _fault(plugin.value)
        if wrong is not None:
            raise BadInputError(
                f"{space.source}: op {name} of package {plugin.origin} {wrong}.",
                hint="mend the package, or leave the op out of the space.",
            )


def _fault(spec: OpSpec) -> str | None:
    groups = _CHANNELS if spec.depthwise else 1
    place = _Place(_CHANNELS, _CHANNELS, _SHAPE, groups, math.prod(spec.kernel_DHW))
    try:
        # What is drawn later has to stay what it is.
        with torch.random.fork_rng(devices=[]):
            module = spec.make(_CHANNELS)
        flops, weights = spec.flops(place, place.taps), spec.weights(place)
        x_BCDHW = torch.zeros(1, _CHANNELS, *_SHAPE)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            shape = tuple(module.eval()(x_BCDHW).shape)
    except Exception as error:
        return f"fails for {_CHANNELS} channels: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if shape != tuple(x_BCDHW.shape):
        return f"maps {tuple(x_BCDHW.shape)} to {shape}, expected the same shape"
    if counter.get_total_flops() > flops:
        return f"computes {counter.get_total_flops()} operations on {_CHANNELS} channels, and says {flops:g}"
    if spec.fast_path is not None and not _is_fast(spec, _layers(module)):
        return f"has the fast path {spec.fast_path}, and its module is another: {_words(_layers(module))}"
    held = sum(parameter.numel() for parameter in fold_batch_norm(module).parameters())
    if held != weights:
        return f"holds {held} weights for {_CHANNELS} channels, and says {weights}"
    return None


def _layers(module: nn.Module) -> list[nn.Module]:
    """The layers of nested sequences, in order."""
    if not isinstance(module, nn.Sequential):
        return [module]
    return [layer for child in module for layer in _layers(child)]


def _is_fast(spec: OpSpec, layers: Sequence[nn.Module]) -> bool:
    """Whether the layers are those that the fast path computes."""
    depthwise = [(spec.kernel_DHW, spec.dilation_DHW, _CHANNELS), ((1, 1, 1), (1, 1, 1), 1)]
    dense = [(spec.kernel_DHW, spec.dilation_DHW, 1)]
    convolutions = depthwise if spec.fast_path == "separable" else dense
    *first, norm, activation = [*layers, None, None][: len(convolutions) + 2]
    return (
        len(layers) == len(convolutions) + 2
        and type(norm) is nn.BatchNorm3d
        and norm.eps == nn.BatchNorm3d(1).eps
        and type(activation) is nn.ReLU
        and all(_is_convolution(layer, *wanted) for layer, wanted in zip(first, convolutions, strict=True))
    )


def _is_convolution(layer: nn.Module | None, kernel_DHW: Shape3, dilation_DHW: Shape3, groups: int) -> bool:
    padding = tuple(step * (size // 2) for size, step in zip(kernel_DHW, dilation_DHW, strict=True))
    return (
        type(layer) is nn.Conv3d
        and layer.bias is None
        and layer.padding_mode == "zeros"
        and (layer.kernel_size, layer.dilation, layer.groups) == (kernel_DHW, dilation_DHW, groups)
        and (layer.stride, layer.padding) == ((1, 1, 1), padding)
    )


def _words(layers: Sequence[nn.Module]) -> str:
    return ", ".join(type(layer).__name__ for layer in layers)
