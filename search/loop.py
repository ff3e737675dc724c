"""The two-phase first-order search (Zeng 2020, Sec. 3.5).

Phase 1 learns the supernet's weights alone; phase 2 updates the architecture parameters and the weights in turn, on
two halves of the patients. Everything random is drawn anew in each epoch from (seed, epoch), and learning rates
follow from the step, so that a resumed search needs no memory of them and ends where an uninterrupted one does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cinert.data.dataset import Sample
from cinert.errors import CineRTError
from cinert.space import Space
from latency.cost import SpaceCosts
from search.augment import Augmentation
from search.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_optimizer_tensors,
    optimizer_tensors,
    prefixed,
    save_checkpoint,
)
from search.data import epoch_batches, halve_patients, mix_seed, patients_of, to_tensors
from search.entropy import choice_entropies
from search.longest import longest_paths
from search.objective import architecture_loss
from search.relaxation import ArchParameters
from search.supernet import Supernet

SCHEMA, VERSION = "cinert.supernet", 1
# Streams of random numbers within an epoch.
_WEIGHTS, _ARCHITECTURE, _AUGMENT, _GUMBEL = range(4)


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """What a search is told, beside its space, data and LUT."""

    epochs: int = 60
    """Both phases together; the first takes half (30 + 30 in Zeng 2020, Sec. 4.2)."""
    paths: int = 2
    """n: paths in the latency term, and to keep."""
    latency_weight: float = 1e-4
    """Lambda, per millisecond (Zeng 2020, Eq. 6)."""
    seed: int = 0
    """Of weights, batches, halves of the patients, augmentation and Gumbel noise."""
    batch_size: int = 2
    """Volumes in a step."""
    learning_rate: float = 0.01
    """Peak of the weights' cosine."""
    arch_learning_rate: float = 0.02
    """Of Adam on alpha, gamma and beta."""
    temperature_start: float = 5.0
    """Of the Gumbel-softmax when the architecture is first updated; it falls geometrically."""
    temperature_end: float = 0.5
    """In the last epoch."""

    @property
    def warmup_epochs(self) -> int:
        """Epochs of phase 1."""
        return self.epochs // 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class EpochReport:
    """What an epoch of the search yields for the log; all but the first two are None in phase 1."""

    epoch: int
    weight_loss: float
    arch_loss: float | None = None
    latency_ms: float | None = None
    temperature: float | None = None
    alpha_entropy: float | None = None
    """Of the choices in cells and network, 1 undecided to 0 decided (`search.entropy`)."""
    gamma_entropy: float | None = None
    beta_entropy: float | None = None

    def metrics(self) -> dict[str, float]:
        """Scalars by name, those that exist."""
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name != "epoch"}
        return {name: value for name, value in fields.items() if value is not None}


class Search:
    """State of a search: supernet, architecture parameters, their optimizers, and the next epoch.

    Args:
        space: to search.
        costs: its prices.
        samples: of the training patients.
        settings: how.
        device: where.
    """

    def __init__(
        self,
        space: Space,
        costs: SpaceCosts,
        samples: Sequence[Sample],
        settings: SearchSettings,
        device: torch.device,
    ) -> None:
        torch.manual_seed(settings.seed)
        self.space, self.settings, self.device = space, settings, device
        self.costs = costs.to(device)
        self.supernet = Supernet(space).to(device)
        self.supernet.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.architecture = ArchParameters(space).to(device)
        # AdamW: thin ops of 1/k channels see gradients of very different size. Training cross-entropy in epoch 6 on the
        # phantom, one run each: .304 at 0.01 and .376 at 0.003; SGD with momentum .384 at 0.025 and .362 at 0.1.
        self.weight_optimizer = torch.optim.AdamW(
            self.supernet.parameters(), lr=settings.learning_rate, weight_decay=1e-4
        )
        self.arch_optimizer = torch.optim.Adam(
            self.architecture.parameters(), lr=settings.arch_learning_rate, betas=(0.5, 0.999), weight_decay=1e-3
        )
        for_weights, for_architecture = halve_patients(samples, settings.seed)
        self.weight_patients = patients_of(for_weights)
        self.arch_patients = patients_of(for_architecture)
        self._weight_data = to_tensors(for_weights, device)
        self._arch_data = to_tensors(for_architecture, device)
        self._augment = Augmentation(space.input_shape_DHW)
        self.next_epoch = 0

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.next_epoch >= self.settings.epochs

    def steps_per_epoch(self) -> int:
        """Weight steps in an epoch."""
        return math.ceil(len(self._weight_data[0]) / self.settings.batch_size)

    def run_epoch(self, advance: Callable[[], None] = lambda: None) -> EpochReport:
        """Run the next epoch; `advance` is called after each step.

        Raises:
            CineRTError: the loss is no longer finite.
        """
        settings, epoch = self.settings, self.next_epoch
        searching = epoch >= settings.warmup_epochs
        batches = epoch_batches(len(self._weight_data[0]), settings.batch_size, settings.seed, epoch, _WEIGHTS)
        arch_batches = epoch_batches(len(self._arch_data[0]), settings.batch_size, settings.seed, epoch, _ARCHITECTURE)
        gumbel = torch.Generator(self.device).manual_seed(mix_seed(settings.seed, epoch, _GUMBEL))
        self._augment.seed(settings.seed, epoch, _AUGMENT)
        self.supernet.train()
        temperature = self._temperature(epoch)
        weight_losses, arch_losses, latencies = [], [], []
        for step, batch in enumerate(batches):
            if searching:
                loss, latency = self._arch_step(arch_batches[step % len(arch_batches)], gumbel, temperature)
                arch_losses.append(loss)
                latencies.append(latency)
            weight_losses.append(self._weight_step(batch, epoch + step / len(batches)))
            advance()
        self.next_epoch += 1
        mean_loss = sum(weight_losses) / len(weight_losses)
        if not math.isfinite(mean_loss + sum(arch_losses)):
            raise CineRTError(
                f"the search diverged: its loss is {mean_loss} in epoch {epoch + 1}.", hint="lower --learning-rate."
            )
        if not searching:
            return EpochReport(epoch, mean_loss)
        return EpochReport(
            epoch,
            mean_loss,
            sum(arch_losses) / len(arch_losses),
            sum(latencies) / len(latencies),
            temperature,
            **{f"{name}_entropy": value for name, value in choice_entropies(self.architecture).items()},
        )

    def _temperature(self, epoch: int) -> float:
        settings = self.settings
        last = settings.epochs - 1
        progress = (epoch - settings.warmup_epochs) / max(1, last - settings.warmup_epochs)
        return float(settings.temperature_start * (settings.temperature_end / settings.temperature_start) ** progress)

    def _batch(self, data: tuple[Tensor, Tensor], indices: list[int]) -> tuple[Tensor, Tensor]:
        images, labels = self._augment(data[0][indices], data[1][indices])
        return images.contiguous(memory_format=torch.channels_last_3d), labels

    def _weight_step(self, indices: list[int], epoch: float) -> float:
        images, labels = self._batch(self._weight_data, indices)
        rate = self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / self.settings.epochs))
        for group in self.weight_optimizer.param_groups:
            group["lr"] = rate
        with torch.no_grad():
            relaxed = self.architecture.relax()
        self.weight_optimizer.zero_grad()
        with self._autocast():
            logits = self.supernet(images, relaxed)
        loss = functional.cross_entropy(logits.float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.supernet.parameters(), 5.0)
        self.weight_optimizer.step()
        return float(loss.detach())

    def _arch_step(self, indices: list[int], gumbel: torch.Generator, temperature: float) -> tuple[float, float]:
        images, labels = self._batch(self._arch_data, indices)
        paths = longest_paths(self.space, self.architecture.log_edges().detach().double().tolist(), self.settings.paths)
        with self._autocast():
            logits = self.supernet(images, self.architecture.relax())
        objective = architecture_loss(
            logits.float(),
            labels,
            costs=self.costs,
            relaxed=self.architecture.sample(gumbel, temperature=temperature),
            paths=[path for path, _ in paths],
            latency_weight=self.settings.latency_weight,
        )
        # Gradients of the architecture alone: those of the weights would cost a third of the step.
        parameters = list(self.architecture.parameters())
        gradients = torch.autograd.grad(objective.total, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.arch_optimizer.step()
        return float(objective.cross_entropy.detach()), float(objective.latency_ms.detach())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda")

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write the state after the last epoch; `identity` is what a resumed search has to agree with."""
        save_checkpoint(
            path,
            Checkpoint(
                {
                    **prefixed("supernet", self.supernet.state_dict()),
                    **prefixed("architecture", self.architecture.state_dict()),
                    **prefixed("weight_optimizer", optimizer_tensors(self.weight_optimizer)),
                    **prefixed("arch_optimizer", optimizer_tensors(self.arch_optimizer)),
                },
                {"schema": SCHEMA, "version": VERSION, "next_epoch": self.next_epoch, "identity": identity},
            ),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue where a checkpoint of the same search stopped."""
        self.supernet.load_state_dict(checkpoint.part("supernet"))
        self.architecture.load_state_dict(checkpoint.part("architecture"))
        load_optimizer_tensors(self.weight_optimizer, checkpoint.part("weight_optimizer"))
        load_optimizer_tensors(self.arch_optimizer, checkpoint.part("arch_optimizer"))
        self.next_epoch = int(checkpoint.values["next_epoch"])


def read_supernet(path: Path) -> Checkpoint:
    """Read RUN/supernet.safetensors; raises BadInputError as `load_checkpoint`."""
    return load_checkpoint(path, schema=SCHEMA, version=VERSION)
