"""Weights that a training begins with: whatever another network has under the same name and in the same shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cinert.errors import BadInputError
from search.source import Source


@dataclass(frozen=True)
class Taken:
    """What a network took over."""

    names: frozenset[str]
    of_tensors: int
    """Tensors of the network."""
    share: float
    """Of its parameters."""

    def __str__(self) -> str:
        """For messages, e.g. `31 of 40 tensors match by name and shape, 87.5 % of the parameters`."""
        return (
            f"{len(self.names)} of {self.of_tensors} tensors match by name and shape,"
            f" {100 * self.share:.1f} % of the parameters"
        )


def matching(network: nn.Module, tensors: Mapping[str, Tensor]) -> Taken:
    """Which of a network's tensors are there under the same name and in the same shape."""
    own = {name: each for name, each in network.state_dict().items() if each.is_floating_point()}
    names = frozenset(name for name, each in own.items() if name in tensors and tensors[name].shape == each.shape)
    sizes = {name: each.numel() for name, each in network.named_parameters()}
    share = sum(size for name, size in sizes.items() if name in names) / sum(sizes.values())
    return Taken(names, len(own), share)


def require_match(network: nn.Module, source: Source) -> Taken:
    """As `matching`, refusing weights of a network of another kind.

    Raises:
        BadInputError: no kernel matches; norms and biases alone say nothing.
    """
    taken = matching(network, source.tensors)
    parameters = dict(network.named_parameters())
    if not any(name in parameters and parameters[name].dim() > 1 for name in taken.names):
        raise BadInputError(
            f"weights {source.path} are of another kind of network: no kernel has the name and the shape of one here.",
            hint="name weights of a network of the same family and widths.",
        )
    return taken


@torch.no_grad()
def take(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy what matches into the network; the rest stays as it is."""
    own = network.state_dict()
    for name in matching(network, tensors).names:
        own[name].copy_(tensors[name])
