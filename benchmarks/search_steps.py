"""Steps of a search to be timed: our supernet in its mixtures, and MONAI's DiNTS, all on the same task.

A step is what both searches repeat: weights on one batch, then the architecture on another. Cross-entropy, AdamW and
clipping are the same for all, and nobody's regulariser (our latency term, DiNTS' entropy and memory terms) is in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.networks.nets import DiNTS, TopologySearch
from torch import Tensor, nn
from torch.nn import functional

from cinert.space import CLASSES, Shape3, Space
from cinert.spaces import load_space
from search.relaxation import ArchParameters
from search.sampled import draw_mixture
from search.supernet import Supernet
from search.words import Mixture

DINTS_WIDTH = 32
"""Channels at DiNTS' finest level for `channel_mul` 1; they double from level to level."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is equal for all."""

    shape_DHW: Shape3
    batch: int
    layers: int
    scales: int
    width: int
    """Channels of a node at the finest scale; they double from scale to scale, as DiNTS' do."""

    def space(self, partial_channels: int) -> Space:
        """Our space on the task; every scale halves every axis, as DiNTS' levels do."""
        return dataclasses.replace(
            load_space("small"),
            name="speed",
            input_shape_DHW=self.shape_DHW,
            layers=self.layers,
            strides=((2, 2, 2),) * (self.scales - 1),
            widths=tuple(self.width * 2**scale for scale in range(self.scales)),
            partial_channels=partial_channels,
            relaxation="joint",
        )


class Steps:
    """Weight steps and architecture steps of one candidate.

    Args:
        task: for the size of the batch.
        device: where.
        weights: parameters of the supernet.
        architecture: its architecture parameters.
        logits: runs the supernet on images.
        memory_format: of the images.
        freezes: whether weights are marked as constant in an architecture step, as DiNTS' recipe does and our loop does
            not: it keeps what their gradients would need.
    """

    def __init__(
        self,
        task: Task,
        device: torch.device,
        weights: Sequence[nn.Parameter],
        architecture: Sequence[nn.Parameter],
        logits: Callable[[Tensor], Tensor],
        memory_format: torch.memory_format,
        *,
        freezes: bool,
    ) -> None:
        self._freezes = freezes
        self._weights, self._architecture, self._logits = list(weights), list(architecture), logits
        self._device = device
        shape = (task.batch, 1, *task.shape_DHW)
        self._images = torch.randn(shape, device=device).contiguous(memory_format=memory_format)
        self._labels = torch.randint(len(CLASSES), (task.batch, *task.shape_DHW), device=device)
        self._weight_optimizer = torch.optim.AdamW(self._weights, lr=0.01)
        self._arch_optimizer = torch.optim.Adam(self._architecture, lr=0.02)

    def __call__(self) -> None:
        """Weights, then architecture."""
        _require(self._architecture, False)
        self._step(self._weights, self._weight_optimizer)
        _require(self._architecture, True)
        _require(self._weights, not self._freezes)
        self._step(self._architecture, self._arch_optimizer)
        _require(self._weights, True)

    def _step(self, parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._device.type == "cuda"):
            logits = self._logits(self._images)
        loss = functional.cross_entropy(logits.float(), self._labels)
        # What was not sampled has no gradient.
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        optimizer.zero_grad()


def _require(parameters: Sequence[nn.Parameter], wanted: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(wanted)


def ours(
    mixture: Mixture, *, partial_channels: int, paths: int = 2, checkpoints: bool = False
) -> Callable[[Task, torch.device], Steps]:
    """Our supernet; architecture parameters start undecided, which is when samples share least.

    Args:
        mixture: what a step computes.
        partial_channels: one channel in so many goes through the ops.
        paths: of a sample.
        checkpoints: whether cells are run again for their gradient (`--activation-checkpointing`).
    """

    def build(task: Task, device: torch.device) -> Steps:
        space = task.space(partial_channels)
        supernet = Supernet(space, checkpoints=checkpoints).to(device)
        supernet.to(memory_format=torch.channels_last_3d)
        architecture = ArchParameters(space).to(device)
        rng = np.random.default_rng(0)

        def logits(images: Tensor) -> Tensor:
            relaxed, only = draw_mixture(mixture, architecture.relax(), supernet.edges, paths, rng)
            result: Tensor = supernet(images, relaxed, only)
            return result

        return Steps(
            task,
            device,
            list(supernet.parameters()),
            list(architecture.parameters()),
            logits,
            torch.channels_last_3d,
            freezes=False,
        )

    return build


def dints(*, downsample: bool = False, channels_last: bool = False) -> Callable[[Task, torch.device], Steps]:
    """MONAI's DiNTS while it searches: `TopologySearch` with all edges, and architecture parameters per edge.

    Args:
        downsample: whether its stem halves the resolution first, MONAI's default. Levels keep the task's widths, and
            are one octave coarser than ours.
        channels_last: memory format; MONAI leaves the usual one.
    """

    def build(task: Task, device: torch.device) -> Steps:
        # It prints a recommendation, which the task follows.
        with contextlib.redirect_stdout(io.StringIO()):
            topology = TopologySearch(
                channel_mul=task.width / DINTS_WIDTH / (2 if downsample else 1),
                num_blocks=task.layers,
                num_depths=task.scales,
                use_downsample=downsample,
                device=str(device),
            )
        network = DiNTS(topology, in_channels=1, num_classes=len(CLASSES), use_downsample=downsample).to(device)
        memory_format = torch.channels_last_3d if channels_last else torch.contiguous_format
        network.to(memory_format=memory_format)
        architecture = [topology.log_alpha_a, topology.log_alpha_c]
        known = {id(parameter) for parameter in architecture}
        weights = [parameter for parameter in network.parameters() if id(parameter) not in known]
        return Steps(task, device, weights, architecture, network, memory_format, freezes=True)

    return build


CANDIDATES: dict[str, Callable[[Task, torch.device], Steps]] = {
    "dints": dints(),
    "dints, channels last": dints(channels_last=True),
    "dints, half the resolution": dints(downsample=True),
    "full, all channels": ours("full", partial_channels=1, checkpoints=True),
    "full": ours("full", partial_channels=4, checkpoints=True),
    "full, cells kept": ours("full", partial_channels=4),
    "sampled": ours("sampled", partial_channels=4),
    "sampled, cells run again": ours("sampled", partial_channels=4, checkpoints=True),
    "sampled, 1 path": ours("sampled", partial_channels=4, paths=1),
    "sampled-ops": ours("sampled-ops", partial_channels=4),
    "sampled-ops, cells run again": ours("sampled-ops", partial_channels=4, checkpoints=True),
}
SWEPT = ("dints", "full", "sampled", "sampled-ops")
