"""The two-phase first-order search (Zeng 2020, Sec. 3.5), with any of the losses and latency terms.

Phase 1 learns the supernet's weights alone; phase 2 updates the architecture parameters and the weights in turn, on
two halves of the patients. Everything random is drawn anew in each epoch from (seed, epoch), and learning rates
follow from the step, so that a resumed search needs no memory of them and ends where an uninterrupted one does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cinert.arch import Arch
from cinert.data.dataset import Sample
from cinert.errors import CineRTError
from cinert.paths import Edge
from cinert.space import Space
from latency.cost import Relaxed, SpaceCosts
from search.arch_optimizer import make_arch_optimizer, set_arch_rate
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
from search.decode import decode
from search.entropy import choice_entropies
from search.global_norm import synchronised
from search.lagrangian import Prices, charged, least_multiplier, prices_of
from search.latency_terms import TermInput
from search.objective import Objective
from search.precision import MixedPrecision
from search.ranks import ALONE, Ranks
from search.relaxation import ArchParameters
from search.sampled import draw_mixture
from search.settings import EpochReport, SearchSettings
from search.supernet import Supernet
from search.terms import latency_of
from search.words import NO_TERM

SCHEMA, VERSION = "cinert.supernet", 1
# Streams of random numbers within an epoch.
_WEIGHTS, _ARCHITECTURE, _AUGMENT, _GUMBEL, _PATHS = range(5)


class Search:
    """State of a search: supernet, architecture parameters, their optimizers, and the next epoch.

    Args:
        space: to search.
        costs: its prices.
        samples: of the training patients.
        settings: how.
        device: where.
        upper_share: upper bound over the estimate of a network, for the loss `lagrangian`.
        ranks: processes that share the work; each takes its part of every batch.

    Raises:
        BackendUnavailableError: the device has not the settings' precision.
    """

    def __init__(
        self,
        space: Space,
        costs: SpaceCosts,
        samples: Sequence[Sample],
        settings: SearchSettings,
        device: torch.device,
        *,
        upper_share: Callable[[Arch], float] = lambda _: 1.0,
        ranks: Ranks = ALONE,
    ) -> None:
        torch.manual_seed(settings.seed)
        self.ranks, self.precision = ranks, MixedPrecision(settings.amp, device)
        self._upper_share = upper_share
        self._objective = Objective(settings)
        self._prices: Prices = {}
        self._multiplier = 0.0
        self._entropies: dict[str, float] | None = None
        self.space, self.settings, self.device = space, settings, device
        self.supernet = Supernet(space, checkpoints=settings.checkpoints).to(device)
        self.supernet.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload] # none of torch's overloads has it
        self.architecture = ArchParameters(space).to(device)
        self.costs = costs.to(self.architecture.beta)
        # AdamW: thin ops of 1/k channels see gradients of very different size. Training cross-entropy in epoch 6 on the
        # phantom, one run each: .304 at 0.01 and .376 at 0.003; SGD with momentum .384 at 0.025 and .362 at 0.1.
        self.weight_optimizer = torch.optim.AdamW(
            self.supernet.parameters(), lr=settings.learning_rate, weight_decay=1e-4
        )
        self.arch_optimizer = make_arch_optimizer(self.architecture, settings)
        for_weights, for_architecture = halve_patients(samples, settings.seed)
        self.weight_patients = patients_of(for_weights)
        self.arch_patients = patients_of(for_architecture)
        self._weight_data = to_tensors(for_weights, device)
        self.arch_data = to_tensors(for_architecture, device)
        """Images and labels of the half that the architecture is learnt on."""
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
        self._entropies = None
        searching = epoch >= settings.warmup_epochs
        batches = epoch_batches(len(self._weight_data[0]), settings.batch_size, settings.seed, epoch, _WEIGHTS)
        arch_batches = epoch_batches(len(self.arch_data[0]), settings.batch_size, settings.seed, epoch, _ARCHITECTURE)
        gumbel = torch.Generator(self.device).manual_seed(mix_seed(settings.seed, epoch, _GUMBEL))
        self._draws = np.random.default_rng([settings.seed, epoch, _PATHS])
        self.supernet.train()
        temperature = self._temperature(epoch)
        hard = searching and settings.holds_budget
        if hard:
            self._hold_budget()
        weight_losses, arch_losses, latencies = [], [], []
        for step, batch in enumerate(batches):
            if searching:
                set_arch_rate(self.arch_optimizer, settings, epoch + step / len(batches))
                loss, latency = self._arch_step(arch_batches[step % len(arch_batches)], step, gumbel, temperature)
                arch_losses.append(loss)
                latencies.append(latency)
            weight_losses.append(self._weight_step(batch, step, epoch + step / len(batches)))
            advance()
        self.ranks.require_same([*self.architecture.parameters(), *self.supernet.parameters()])
        self.next_epoch += 1
        mean_loss = sum(weight_losses) / len(weight_losses)
        if not math.isfinite(mean_loss + sum(arch_losses)):
            raise CineRTError(
                f"the search diverged: its loss is {mean_loss} in epoch {epoch + 1}.", hint="lower --learning-rate."
            )
        if not searching:
            return EpochReport(epoch=epoch, weight_loss=mean_loss)
        with self._within_budget():
            entropies = choice_entropies(self.architecture)
        return EpochReport(
            epoch=epoch,
            weight_loss=mean_loss,
            arch_loss=sum(arch_losses) / len(arch_losses),
            latency_ms=None if settings.latency_term == NO_TERM else sum(latencies) / len(latencies),
            temperature=temperature if settings.draws_noise else None,
            multiplier=self._multiplier if hard else None,
            **{f"{name}_entropy": value for name, value in entropies.items()},
        )

    def prices(self) -> Prices:
        """What a hard budget charges for: milliseconds of each option, with the architecture as it is now."""
        return prices_of(self.architecture, self._expected_ms)

    def entropies(self) -> dict[str, float]:
        """How undecided the architecture is now, within the budget where it is hard (`search.entropy`)."""
        if self._entropies is None:
            # Solved anew: a search that was read from its checkpoint has to say what it said when it was written.
            if self.settings.holds_budget:
                self._hold_budget()
            with self._within_budget():
                self._entropies = choice_entropies(self.architecture)
        return self._entropies

    def _hold_budget(self) -> None:
        """Solve for the multiplier at which the upper bound of the expected latency is within the budget."""
        assert self.settings.bound_ms is not None
        # One path stands for whatever is drawn; decoding asks for the upper end of the network itself.
        share, prices = self._upper_share(decode(self.architecture, paths=1).arch), self.prices()

        def upper_ms(multiplier: float) -> float:
            with charged(self.architecture, prices, multiplier), torch.no_grad():
                return share * float(self._expected_ms())

        self._prices, self._multiplier = prices, least_multiplier(upper_ms, self.settings.bound_ms)

    def _expected_ms(self) -> Tensor:
        """The latency term, without noise: a price is the derivative by the probability itself."""
        found = self._latency(None, 1.0)
        assert found is not None
        return found

    def _within_budget(self) -> AbstractContextManager[None]:
        return charged(self.architecture, self._prices, self._multiplier)

    def _temperature(self, epoch: int) -> float:
        settings = self.settings
        last = settings.epochs - 1
        progress = (epoch - settings.warmup_epochs) / max(1, last - settings.warmup_epochs)
        return float(settings.temperature_start * (settings.temperature_end / settings.temperature_start) ** progress)

    def _cross_entropy(
        self,
        data: tuple[Tensor, Tensor],
        indices: list[int],
        draw: tuple[int, int],
        relaxed: Relaxed,
        only: frozenset[Edge] | None,
    ) -> Tensor:
        """Of a batch; each rank computes its share, and its gradients are those of that share.

        Args:
            data: images and labels of a half.
            indices: of the batch.
            draw: stream and step, which the augmentation follows from beside seed and epoch.
            relaxed: mixture to compute.
            only: edges to compute.
        """
        ranks, mine = self.ranks, list(self.ranks.mine(indices))
        numbers = (self.settings.seed, self.next_epoch, _AUGMENT, *draw)
        seeds = [(*numbers, place) for place in ranks.mine(range(len(indices)))]
        images, labels = self._augment(data[0][mine], data[1][mine], seeds)
        with self.precision.autocast():
            logits = self.supernet(images.contiguous(memory_format=torch.channels_last_3d), relaxed, only)
        return functional.cross_entropy(ranks.gather(logits.float(), len(indices)), ranks.gather(labels, len(indices)))

    def _weight_step(self, indices: list[int], step: int, epoch: float) -> float:
        rate = self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / self.settings.epochs))
        for group in self.weight_optimizer.param_groups:
            group["lr"] = rate
        with torch.no_grad(), self._within_budget():
            relaxed, only = self._mixture()
        self.weight_optimizer.zero_grad()
        with synchronised(self.ranks):
            loss = self._cross_entropy(self._weight_data, indices, (_WEIGHTS, step), relaxed, only)
            self.precision.scaled(loss).backward()
        self.ranks.sum_gradients(self.supernet.parameters())
        self.precision.step(self.weight_optimizer, largest_norm=5.0)
        return float(loss.detach())

    def _arch_step(
        self, indices: list[int], step: int, gumbel: torch.Generator, temperature: float
    ) -> tuple[float, float]:
        with self._within_budget():
            relaxed, only = self._mixture()
            latency_ms = self._latency(gumbel, temperature)
        # Gradients of the architecture alone: those of the weights would cost a third of the step.
        parameters = list(self.architecture.parameters())
        with synchronised(self.ranks):
            cross_entropy = self._cross_entropy(self.arch_data, indices, (_ARCHITECTURE, step), relaxed, only)
            counted = None if latency_ms is None else self.ranks.counted_once(latency_ms)
            loss = self.precision.scaled(self._objective(cross_entropy, counted))
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.ranks.sum_gradients(parameters)
        # The exponential of Lu's loss grows by orders of magnitude where a network is too slow.
        self.precision.step(self.arch_optimizer, largest_norm=5.0)
        return float(cross_entropy.detach()), 0.0 if latency_ms is None else float(latency_ms.detach())

    def _latency(self, gumbel: torch.Generator | None, temperature: float) -> Tensor | None:
        return latency_of(
            self.settings.latency_term,
            TermInput(
                costs=self.costs,
                architecture=self.architecture,
                paths=self.settings.paths,
                occurrence=self.settings.occurrence,
                gumbel=gumbel,
                temperature=temperature,
            ),
        )

    def _mixture(self) -> tuple[Relaxed, frozenset[Edge] | None]:
        """What a step computes: everything, or a sample."""
        settings = self.settings
        return draw_mixture(settings.mixture, self.architecture.relax(), self.costs.edges, settings.paths, self._draws)

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
                {
                    "schema": SCHEMA,
                    "version": VERSION,
                    "next_epoch": self.next_epoch,
                    "loss_scale": self.precision.state(),
                    "identity": identity,
                },
            ),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue where a checkpoint of the same search stopped."""
        self.supernet.load_state_dict(checkpoint.part("supernet"))
        self.architecture.load_state_dict(checkpoint.part("architecture"))
        load_optimizer_tensors(self.weight_optimizer, checkpoint.part("weight_optimizer"))
        load_optimizer_tensors(self.arch_optimizer, checkpoint.part("arch_optimizer"))
        self.precision.load(checkpoint.values["loss_scale"])
        self.next_epoch = int(checkpoint.values["next_epoch"])
        self._entropies = None


def read_supernet(path: Path) -> Checkpoint:
    """Read RUN/supernet.safetensors; raises BadInputError as `load_checkpoint`."""
    return load_checkpoint(path, schema=SCHEMA, version=VERSION)
