"""Training of a decoded network from scratch: cross-entropy + Dice, nnU-Net's spirit (Isensee 2021).

As in the search, what is random in an epoch follows from (seed, epoch) and the learning rate from the step, so that
a resumed training ends where an uninterrupted one does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.losses.dice import DiceCELoss
from torch import Tensor, nn

from cinert.architecture import Architecture
from cinert.errors import CineRTError
from cinert.network import build_network
from cinert.segmenter import Segmenter
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
from search.data import FoldData, epoch_batches, to_tensors
from search.deep_supervision import SideHeads, coarser_labels
from search.distillation import build_teacher, distillation_loss
from search.global_norm import synchronised
from search.initial import take
from search.precision import MixedPrecision
from search.ranks import ALONE, Ranks
from search.scores import dice_per_class
from search.settings import Amp
from search.sources import NOTHING, Sources
from search.training_layers import use_training_layers

SCHEMA, VERSION = "cinert.training", 1
_BATCHES, _AUGMENT = range(2)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What a training is told, beside its architecture and data."""

    epochs: int = 300
    """Passes over the training frames."""
    seed: int = 0
    """Of weights, batches and augmentation."""
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
    amp: Amp = "auto"
    """Precision of the network."""
    deep_supervision: float = 0.0
    """Weight of the loss at each of the network's coarser levels on the way up; 0 without."""
    init: str | None = None
    """Digest of the weights that it begins with; None for random ones."""
    teacher: str | None = None
    """Digest of the weights of the network that it learns from besides the labels; None without."""
    teacher_weight: float = 1.0
    """Of the teacher's part of the loss."""
    teacher_temperature: float = 2.0
    """That the logits of both are divided by."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


class Training:
    """State of a training: network, optimizer, moving average, and the next epoch.

    Args:
        arch: to train.
        data: of the fold.
        settings: how.
        device: where.
        ranks: processes that share the work; each takes its part of every batch.
        sources: weights that the network begins with, where names and shapes match, and a teacher's.

    Raises:
        BackendUnavailableError: the device has not the settings' precision.
        BadInputError: as `build_teacher`.
    """

    def __init__(
        self,
        arch: Architecture,
        data: FoldData,
        settings: TrainingSettings,
        device: torch.device,
        *,
        ranks: Ranks = ALONE,
        sources: Sources = NOTHING,
    ) -> None:
        torch.manual_seed(settings.seed)
        self.arch, self.settings, self.device, self.ranks = arch, settings, device, ranks
        self.precision = MixedPrecision(settings.amp, device)
        self.network = build_network(arch).to(device)
        if sources.initial is not None:
            take(self.network, sources.initial.tensors)
        # CPU convolutions, too, run 2-4 times faster in this format.
        self.network.channels_last()
        self.teacher = None if sources.teacher is None else build_teacher(sources.teacher).to(device)
        self.side = SideHeads(self.network) if settings.deep_supervision else None
        if device.type == "cpu":
            for module in (self.network, self.teacher, None if self.side is None else self.side.heads):
                if module is not None:
                    use_training_layers(module)
        # AdamW at 0.01 was ahead on fold 0 of the phantom, one run of 30 epochs each: .870, against .852 at 0.003 and
        # .848 with SGD at 0.05.
        # Seeds alone spread by .02, so the optimizers are not told apart by that. Half the rate with a weight decay of
        # 0.05 and more gamma looked better on fold 0, but not on folds 1 and 2 (.888 against .891, two seeds each).
        self.optimizer = torch.optim.AdamW(
            self._parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.average = WeightAverage(self.network, decay=settings.average_decay)
        self._loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)
        self._train = to_tensors(data.train, device)
        self._validation = to_tensors(data.validation, device) if data.validation else None
        self._augment = Augmentation(arch.grid.input_shape_DHW)
        self.next_epoch = 0

    def _parameters(self) -> list[nn.Parameter]:
        """Everything that is learnt, the heads that are not kept as well."""
        heads = [] if self.side is None else list(self.side.heads.parameters())
        return [*self.network.parameters(), *heads]

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.next_epoch >= self.settings.epochs

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def steps_per_epoch(self) -> int:
        """Steps in an epoch."""
        return math.ceil(len(self._train[0]) / self.settings.batch_size)

    def run_epoch(self, advance: Callable[[], None] | None = None) -> float:
        """Run the next epoch and return its mean loss, without that of coarser levels; `advance` follows each step.

        Raises:
            CineRTError: the loss is no longer finite.
        """
        settings, epoch = self.settings, self.next_epoch
        self.network.train()
        losses = []
        for number, batch in enumerate(
            epoch_batches(len(self._train[0]), settings.batch_size, settings.seed, epoch, _BATCHES)
        ):
            losses.append(self._step(batch, epoch, number))
            if advance is not None:
                advance()
        self.ranks.require_same(self._parameters())
        self.next_epoch += 1
        loss = sum(losses) / len(losses)
        if not math.isfinite(loss):
            raise CineRTError(
                f"the training diverged: its loss is {loss} in epoch {epoch + 1}.", hint="lower --learning-rate."
            )
        return loss

    def _step(self, indices: list[int], epoch: int, number: int) -> float:
        settings, ranks = self.settings, self.ranks
        step = epoch * self.steps_per_epoch() + number
        progress = step / (settings.epochs * self.steps_per_epoch())
        rate = settings.learning_rate * min(1.0, (step + 1) / settings.warmup_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * progress))
        mine = list(ranks.mine(indices))
        seeds = [(settings.seed, epoch, _AUGMENT, number, place) for place in ranks.mine(range(len(indices)))]
        images, labels = self._augment(self._train[0][mine], self._train[1][mine], seeds)
        self.optimizer.zero_grad()
        images = images.contiguous(memory_format=torch.channels_last_3d)
        with synchronised(ranks):
            with self.precision.autocast():
                logits, side = self._forward(images)
            # Of the whole batch: Dice does not add up over its parts.
            labels = ranks.gather(labels, len(indices))
            loss: Tensor = self._loss(ranks.gather(logits.float(), len(indices)), labels[:, None])
            self.precision.scaled(
                loss + self._loss_of_levels(side, labels) + self._loss_of_teacher(images, logits, len(indices))
            ).backward()
        ranks.sum_gradients(self._parameters())
        self.precision.step(self.optimizer, largest_norm=12.0)
        self.average.update(self.network)
        return float(loss.detach())

    def _loss_of_levels(self, side: list[Tensor], labels_BDHW: Tensor) -> Tensor | float:
        """Of this rank's logits at coarser levels, against the labels of the whole batch."""
        total: Tensor | float = 0.0
        for own in side:
            coarse = self.ranks.gather(own.float(), len(labels_BDHW))
            total = total + self._loss(coarse, coarser_labels(labels_BDHW, coarse.shape[2:]))
        return self.settings.deep_supervision * total

    def _loss_of_teacher(self, images_BCDHW: Tensor, logits_BCDHW: Tensor, count: int) -> Tensor | float:
        """This rank's part of the mean over the voxels of the whole batch."""
        if self.teacher is None:
            return 0.0
        with torch.no_grad(), self.precision.autocast():
            taught = self.teacher(images_BCDHW)
        total = distillation_loss(logits_BCDHW.float(), taught.float(), self.settings.teacher_temperature)
        return self.settings.teacher_weight * total / (count * math.prod(logits_BCDHW.shape[2:]))

    def _forward(self, images_BCDHW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits of the network, and of the heads at its coarser levels."""
        if self.side is None:
            return self.network(images_BCDHW), []
        with self.side.watching() as features:
            logits = self.network(images_BCDHW)
        return logits, self.side.logits(features, len(images_BCDHW))

    @torch.no_grad()
    def validate(self) -> list[list[float]]:
        """Dice (RV, MYO, LV) of each held-out frame with the averaged weights, on the network's grid; may be empty."""
        if self._validation is None:
            return []
        network = self.averaged_network()
        if self.device.type == "cpu":
            # For these, one frame alone takes longer than its part of a batch.
            use_training_layers(network)
        images, labels = self._validation
        mine = list(self.ranks.mine(range(len(images))))
        scores: list[list[float]] = []
        for start in range(0, len(mine), self.settings.batch_size):
            frames = mine[start : start + self.settings.batch_size]
            with self.precision.autocast():
                logits = network(images[frames].contiguous(memory_format=torch.channels_last_3d))
            scores += dice_per_class(logits.argmax(dim=1), labels[frames]).tolist()
        return [frame for share in self.ranks.together(scores) for frame in share]

    def averaged_network(self) -> Segmenter:
        """The network with its averaged weights, in eval mode: what is kept."""
        network = build_network(self.arch).to(self.device)
        network.load_state_dict(self.average.state)
        return network.channels_last().eval()

    def save(self, path: Path, identity: dict[str, Any], history: dict[str, Any]) -> None:
        """Write the state after the last epoch, with what a resumed training has to agree with."""
        save_checkpoint(
            path,
            Checkpoint(
                {
                    **prefixed("network", self.network.state_dict()),
                    **prefixed("average", self.average.state),
                    **prefixed("optimizer", optimizer_tensors(self.optimizer)),
                    **({} if self.side is None else prefixed("side", self.side.heads.state_dict())),
                },
                {
                    "schema": SCHEMA,
                    "version": VERSION,
                    "next_epoch": self.next_epoch,
                    "average_steps": self.average.steps,
                    "loss_scale": self.precision.state(),
                    "identity": identity,
                    "history": history,
                },
            ),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue where a checkpoint of the same training stopped."""
        self.network.load_state_dict(checkpoint.part("network"))
        if self.side is not None:
            self.side.heads.load_state_dict(checkpoint.part("side"))
        self.average.load(checkpoint.part("average"), int(checkpoint.values["average_steps"]))
        load_optimizer_tensors(self.optimizer, checkpoint.part("optimizer"))
        self.precision.load(checkpoint.values["loss_scale"])
        self.next_epoch = int(checkpoint.values["next_epoch"])


def read_training(path: Path) -> Checkpoint:
    """Read RUN/checkpoint.safetensors; raises BadInputError as `load_checkpoint`."""
    return load_checkpoint(path, schema=SCHEMA, version=VERSION)
