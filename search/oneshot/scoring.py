"""How good a network is with the shared weights: batch-norm statistics of its own, then Dice on other patients.

Networks read different grids. All grids of a space cover the same field of view, so the logits are brought to the
finest of them, and one Dice ranks all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cinert.data.dataset import Sample
from cinert.network import build_network
from cinert.segmenter import Segmenter
from cinert.ushape.arch import UShapeArch
from cinert.ushape.space import UShapeSpace
from search.data import to_tensors
from search.scores import dice_per_class
from search.training_layers import use_training_layers

_CHANNELS_LAST = torch.channels_last_3d


class GridTensors:
    """Images and labels of the same frames on every grid of a space.

    Args:
        samples: by grid, in one order.
        device: where.
    """

    def __init__(self, samples: Mapping[int, Sequence[Sample]], device: torch.device) -> None:
        self._tensors = {number: to_tensors(frames, device) for number, frames in samples.items()}

    def __len__(self) -> int:
        """Number of frames."""
        return len(next(iter(self._tensors.values()))[0])

    def images(self, grid_number: int) -> Tensor:
        """(N, 1, D, H, W) on a grid."""
        return self._tensors[grid_number][0]

    def labels(self, grid_number: int) -> Tensor:
        """(N, D, H, W) on a grid."""
        return self._tensors[grid_number][1]


def finest_grid(space: UShapeSpace) -> int:
    """Position of the grid with the most voxels."""
    return max(range(len(space.grids)), key=lambda number: math.prod(space.grids[number].shape_DHW))


def with_weights(arch: UShapeArch, weights: Mapping[str, Tensor], device: torch.device) -> Segmenter:
    """A network with some weights; its batch norms have no statistics yet."""
    network = build_network(arch).to(device)
    network.load_state_dict({**network.state_dict(), **{name: weight.detach() for name, weight in weights.items()}})
    network.channels_last()
    if device.type == "cpu":
        use_training_layers(network)
    return network


@torch.no_grad()
def calibrate_norms(network: Segmenter, images_NCDHW: Tensor, *, batch_size: int) -> None:
    """Take the batch-norm statistics of some images, and set eval mode (Yu 2019; once-for-all, Cai 2020)."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    for norm in norms:
        norm.reset_running_stats()
        # Plain averages over the batches, not moving ones.
        norm.momentum = None
    network.train()
    for start in range(0, len(images_NCDHW), batch_size):
        network(images_NCDHW[start : start + batch_size].contiguous(memory_format=_CHANNELS_LAST))
    for norm in norms:
        norm.momentum = 0.1
    network.eval()


@torch.no_grad()
def dice_of(network: Segmenter, images_NCDHW: Tensor, labels_NDHW: Tensor) -> list[list[float]]:
    """Dice (RV, MYO, LV) of each frame on the labels' grid, which may be finer than the network's."""
    scores: list[list[float]] = []
    size = labels_NDHW.shape[1:]
    for place in range(len(images_NCDHW)):
        logits = network(images_NCDHW[place : place + 1].contiguous(memory_format=_CHANNELS_LAST))
        if logits.shape[2:] != size:
            logits = functional.interpolate(logits, size=size, mode="trilinear", align_corners=False)
        scores += dice_per_class(logits.argmax(dim=1), labels_NDHW[place : place + 1]).tolist()
    return scores
