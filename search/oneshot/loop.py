"""One-shot search: a population of networks shares its weights, is trained one member a step, and evolves.

What is random in an epoch follows from (seed, epoch) and the learning rate from the step, so that a resumed search
ends where an uninterrupted one does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from torch import Tensor
from torch.func import functional_call

from cinert.data.dataset import Sample
from cinert.errors import CineRTError
from cinert.network import build_network
from cinert.segmenter import Segmenter
from cinert.ushape.arch import UShapeArch
from cinert.ushape.choices import arch_of, choices_of
from cinert.ushape.space import UShapeSpace
from search.augment import Augmentation
from search.average import WeightAverage
from search.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_optimizer_tensors,
    optimizer_tensors,
    prefixed,
    save_checkpoint,
)
from search.data import epoch_batches
from search.oneshot.population import EstimateMs, Population, Scored
from search.oneshot.scoring import GridTensors, calibrate_norms, dice_of, finest_grid, with_weights
from search.oneshot.shared import SharedWeights
from search.training_layers import use_training_layers

SCHEMA, VERSION = "cinert.oneshot", 1
_BATCHES, _AUGMENT, _MEMBERS, _CHILDREN, _FOUNDERS = range(5)
_CHANNELS_LAST = torch.channels_last_3d


@dataclass(frozen=True, kw_only=True)
class OneShotSettings:
    """What a one-shot search is told, beside its space, data and prices."""

    epochs: int = 100
    """Passes over the frames that weights are learnt on."""
    population: int = 8
    """Networks that are trained and scored side by side."""
    generation_epochs: int = 4
    """Epochs after which the members are scored and the worse half gives way to children."""
    settle_share: float = 0.3
    """Of the epochs, the last ones, in which the population stays what it is and learns."""
    least_share: float = 0.85
    """Of the budget, that a network uses at least."""
    calibration_frames: int = 12
    """Frames that the batch-norm statistics of a scored network are taken from."""
    scored_frames: int = 16
    """Frames that a member is scored on between generations, at most; at the end it is scored on all."""
    seed: int = 0
    """Of weights, halves, batches, augmentation and networks."""
    batch_size: int = 4
    """Volumes in a step."""
    learning_rate: float = 0.01
    """Peak, after a warm-up; it falls to zero as a cosine."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    average_decay: float = 0.98
    """Of the moving average of the weights, per step."""
    warmup_steps: int = 20
    """Steps in which the learning rate rises."""

    @property
    def generations(self) -> int:
        """How often members are scored and the worse half gives way."""
        return math.floor((1 - self.settle_share) * self.epochs / self.generation_epochs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


class OneShotSearch:
    """State of a one-shot search: shared weights, probabilities, and the next epoch.

    Args:
        space: to search.
        estimate_ms: of a network.
        budget_ms: that every network stays within.
        train: frames by grid that weights are learnt on.
        other: frames by grid of other patients, that networks are scored on.
        settings: how.
        device: where.
    """

    def __init__(
        self,
        space: UShapeSpace,
        estimate_ms: EstimateMs,
        *,
        budget_ms: float,
        train: Mapping[int, Sequence[Sample]],
        other: Mapping[int, Sequence[Sample]],
        settings: OneShotSettings,
        device: torch.device,
    ) -> None:
        torch.manual_seed(settings.seed)
        self.space, self.settings, self.device = space, settings, device
        self.population = Population(
            space,
            estimate_ms,
            low_ms=settings.least_share * budget_ms,
            high_ms=budget_ms,
            size=settings.population,
        )
        self.population.found(np.random.default_rng([settings.seed, _FOUNDERS]))
        self.weights = SharedWeights(space).to(device)
        self.average = WeightAverage(self.weights, decay=settings.average_decay)
        self.optimizer = torch.optim.AdamW(
            self.weights.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)
        self._train, self._other = GridTensors(train, device), GridTensors(other, device)
        self._augment = {number: Augmentation(grid.shape_DHW) for number, grid in enumerate(space.grids)}
        self.scored: list[Scored] = []
        """Members when they were scored last, best first."""
        self.next_epoch = 0

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.next_epoch >= self.settings.epochs

    def steps_per_epoch(self) -> int:
        """Steps in an epoch."""
        return math.ceil(len(self._train) / self.settings.batch_size)

    def run_epoch(self, advance: Callable[[], None] | None = None) -> float:
        """Run the next epoch and return its mean loss; `advance` is called after each step.

        Raises:
            CineRTError: the loss is no longer finite.
        """
        settings, epoch = self.settings, self.next_epoch
        rng = np.random.default_rng([settings.seed, epoch, _MEMBERS])
        losses = []
        batches = epoch_batches(len(self._train), settings.batch_size, settings.seed, epoch, _BATCHES)
        for number, indices in enumerate(batches):
            self._set_rate(epoch * len(batches) + number, settings.epochs * len(batches))
            losses.append(self._step(self.population.draw(rng), indices, number))
            if advance is not None:
                advance()
        loss = float(np.mean(losses))
        if not math.isfinite(loss):
            raise CineRTError(f"the loss is {loss} in epoch {epoch + 1}.", hint="lower the learning rate.")
        self.next_epoch += 1
        generation, rest = divmod(self.next_epoch, settings.generation_epochs)
        if rest == 0 and generation <= settings.generations:
            self.scored = self.score_members(frames=settings.scored_frames)
            self.population.evolve(self.scored, np.random.default_rng([settings.seed, epoch, _CHILDREN]))
        return loss

    def _set_rate(self, step: int, steps: int) -> None:
        warmup = self.settings.warmup_steps
        rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * rise * (1 + math.cos(math.pi * step / steps)) / 2

    def _step(self, arch: UShapeArch, indices: Sequence[int], number: int) -> float:
        grid = arch.grid_number
        seeds = [(self.settings.seed, self.next_epoch, _AUGMENT, number, place) for place in range(len(indices))]
        images, labels = self._augment[grid](
            self._train.images(grid)[list(indices)], self._train.labels(grid)[list(indices)], seeds
        )
        network = build_network(arch).to(self.device)
        if self.device.type == "cpu":
            use_training_layers(network)
        network.train()
        self.optimizer.zero_grad(set_to_none=True)
        logits: Tensor = functional_call(
            network, self.weights.of(arch), (images.contiguous(memory_format=_CHANNELS_LAST),)
        )
        loss: Tensor = self._loss(logits, labels[:, None])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights.parameters(), 12.0)
        self.optimizer.step()
        self.average.update(self.weights)
        return float(loss.detach())

    def score_members(self, advance: Callable[[], None] | None = None, *, frames: int | None = None) -> list[Scored]:
        """Score every member with the averaged weights, best first.

        Args:
            advance: called after each member.
            frames: to score on; None takes all.
        """
        weights, scored = self.averaged(), []
        for arch in self.population.members:
            scored.append(self.score(arch, weights, frames=frames))
            if advance is not None:
                advance()
        return sorted(scored, key=lambda one: -one.dice)

    def averaged(self) -> SharedWeights:
        """The moving average of the shared weights."""
        weights = SharedWeights(self.space).to(self.device)
        weights.load_state_dict(self.average.state)
        return weights

    def network(self, arch: UShapeArch, weights: SharedWeights) -> Segmenter:
        """A network with its share of some weights and batch-norm statistics of its own, in eval mode."""
        network = with_weights(arch, weights.of(arch), self.device)
        count = min(self.settings.calibration_frames, len(self._train))
        spread = np.linspace(0, len(self._train) - 1, count).astype(int).tolist()
        calibrate_norms(network, self._train.images(arch.grid_number)[spread], batch_size=self.settings.batch_size)
        return network

    def score(self, arch: UShapeArch, weights: SharedWeights, *, frames: int | None = None) -> Scored:
        """Mean Dice of a network on frames of the other patients, on the finest grid; None scores all frames."""
        grid, network = arch.grid_number, self.network(arch, weights)
        labels = self._other.labels(finest_grid(self.space))[:frames]
        found = dice_of(network, self._other.images(grid)[:frames], labels)
        return Scored(arch, tuple(map(_mean_over_classes, found)))

    def save(self, path: Path, identity: Mapping[str, Any], history: Mapping[str, Any]) -> None:
        """Write the state after the last epoch, with what a resumed search has to agree with."""
        save_checkpoint(
            path,
            Checkpoint(
                {
                    **prefixed("weights", self.weights.state_dict()),
                    **prefixed("average", self.average.state),
                    **prefixed("optimizer", optimizer_tensors(self.optimizer)),
                },
                {
                    "schema": SCHEMA,
                    "version": VERSION,
                    "next_epoch": self.next_epoch,
                    "average_steps": self.average.steps,
                    "members": [choices_of(arch) for arch in self.population.members],
                    "scored": [{"choices": choices_of(one.arch), "frames": one.frames} for one in self.scored],
                    "space": self.space.to_dict(),
                    "identity": dict(identity),
                    "history": dict(history),
                },
            ),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue where a checkpoint of the same search stopped."""
        self.weights.load_state_dict(checkpoint.part("weights"))
        self.average.load(checkpoint.part("average"), int(checkpoint.values["average_steps"]))
        load_optimizer_tensors(self.optimizer, checkpoint.part("optimizer"))
        self.population.members = [
            arch_of(self.space, choices, source="checkpoint") for choices in checkpoint.values["members"]
        ]
        self.scored = [
            Scored(arch_of(self.space, one["choices"], source="checkpoint"), tuple(one["frames"]))
            for one in checkpoint.values["scored"]
        ]
        self.next_epoch = int(checkpoint.values["next_epoch"])


def _mean_over_classes(scores: Sequence[float]) -> float:
    """Mean Dice of a frame; what is in neither labels nor mask leaves it, and where nothing is, all is right."""
    known = [score for score in scores if not math.isnan(score)]
    return sum(known) / len(known) if known else 1.0


def read_oneshot(path: Path) -> Checkpoint:
    """Read a checkpoint; raises BadInputError as `load_checkpoint`."""
    return load_checkpoint(path, schema=SCHEMA, version=VERSION)
