"""Weights that all networks of a space share: a narrower network is the leading channels of the widest one.

Source: full-channel sharing as in once-for-all (Cai 2020) and BigNAS (Yu 2020), one path at a time (Guo 2020). The
first dense convolution of all blocks that a position offers is one kernel of 3x3x3, of which a smaller one is the
middle (superkernels: Stamoulis 2019); what else a block has is its own. A network of the space is the ordinary module,
called with slices of the shared weights, so that what is trained is what will be deployed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from cinert.network import build_network
from cinert.ushape.arch import UShapeArch
from cinert.ushape.blocks import BLOCKS, CUBE, IN_PLANE
from cinert.ushape.choices import WAYS
from cinert.ushape.network import UBody, make_block
from cinert.ushape.space import UShapeSpace

_DENSE = "dense"
_FIRST = ("convolution", "norm", "activation")
"""Layers of a block's first convolution."""
_KERNEL_AXIS = 2
_BLOCK = re.compile(r"body\.(encoder|decoder)\.(\d+)\.blocks\.(\d+)\.(.+)")


class SharedWeights(nn.Module):
    """The widest weights of everything that a space offers.

    Args:
        space: to search.
    """

    def __init__(self, space: UShapeSpace) -> None:
        super().__init__()
        self.space = space
        # Stem, transitions and head; the levels' blocks stand apart, one for each option.
        self.frame = UBody(space.largest, space.in_channels)
        self.frame.encoder, self.frame.decoder = nn.ModuleList(), nn.ModuleList()
        self.blocks = nn.ModuleDict()
        for way in WAYS:
            for level in range(len(getattr(space, f"{way}_depths"))):
                for place in range(space.positions(way, level)):
                    channels = _channels_in(space, way, level, place), space.largest.widths[level]
                    for name in space.blocks[level]:
                        block: nn.Sequential = make_block(name, *channels)
                        key = _key(way, level, place, name)
                        if _begins_dense(name):
                            self.blocks[_key(way, level, place, _DENSE)] = make_block("conv", *channels)
                            # The layers behind it, which keep their numbers.
                            block = cast("nn.Sequential", block[len(_FIRST) :])
                        self.blocks[key] = block
        self._names: dict[str, list[tuple[str, torch.Size]]] = {}

    def of(self, arch: UShapeArch) -> dict[str, Tensor]:
        """The weights of a network, by the names of its module: slices, through which gradients flow back.

        Batch-norm statistics are not among them: they hold for one network alone.
        """
        if arch.digest not in self._names:
            with torch.device("meta"):
                module = build_network(arch)
            self._names[arch.digest] = [(name, weight.shape) for name, weight in module.named_parameters()]
        shared = dict(self.named_parameters())
        return {name: self._slice(shared, arch, name, shape) for name, shape in self._names[arch.digest]}

    def _slice(self, shared: Mapping[str, Tensor], arch: UShapeArch, name: str, shape: torch.Size) -> Tensor:
        found = _BLOCK.fullmatch(name)
        if found is None:
            return narrowed(shared[f"frame.{name.removeprefix('body.')}"], shape)
        way, level, place, rest = found[1], int(found[2]), int(found[3]), found[4]
        block = getattr(arch.shape, way)[level][place]
        dense = _begins_dense(block) and int(rest.partition(".")[0]) < len(_FIRST)
        tensor = shared[f"blocks.{_key(way, level, place, _DENSE if dense else block)}.{rest}"]
        joined = way == "decoder" and place == 0 and self.space.join == "concat"
        return narrowed(tensor, shape, joined=2 * self.space.largest.widths[level] if joined else None)


def narrowed(tensor: Tensor, shape: torch.Size, *, joined: int | None = None) -> Tensor:
    """The leading channels of a tensor, and the middle of its kernel.

    Args:
        tensor: of the widest network.
        shape: of the narrower one.
        joined: size of an axis along which the widest network has a skip's channels and then those from below; both
            are narrowed. No other axis of the tensor is as long.
    """
    for axis, (full, size) in enumerate(zip(tensor.shape, shape, strict=True)):
        if full == size:
            continue
        if full == joined:
            half = size // 2
            tensor = torch.cat((tensor.narrow(axis, 0, half), tensor.narrow(axis, full // 2, half)), dim=axis)
        else:
            # Channels are the first ones; a kernel is the middle of a larger one.
            tensor = tensor.narrow(axis, 0 if axis < _KERNEL_AXIS else (full - size) // 2, size)
    return tensor


def _begins_dense(name: str) -> bool:
    """Whether a block's first convolution is the middle of a dense one of 3x3x3."""
    first = BLOCKS[name].convs[0]
    return not first.depthwise and first.kernel_DHW in {CUBE, IN_PLANE} and first.activation


def _key(way: str, level: int, place: int, name: str) -> str:
    return f"{way}-{level}-{place}-{name}"


def _channels_in(space: UShapeSpace, way: str, level: int, place: int) -> int:
    """Channels that a position reads in the widest network."""
    widths = space.largest.widths
    if place > 0 or (way == "encoder" and (level == 0 or space.down == "strided")):
        return widths[level]
    if way == "encoder":
        return widths[level - 1]
    return 2 * widths[level] if space.join == "concat" else widths[level]
