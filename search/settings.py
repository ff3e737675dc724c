"""What a search is told, and what an epoch of it reports."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from search.latency_terms import latency_term
from search.words import NO_TERM, ActivationCheckpointing, DecoderName, LatencyTermName, Loss, Mixture, Optimizer

if TYPE_CHECKING:
    from cinert.space import Relaxation
    from latency.cost_critical import Occurrence

Amp = Literal["auto", "off", "bf16", "fp16"]
"""Mixed precision; `auto` is bf16 on a GPU that has it, fp16 on one that has not, and off on a CPU."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """What a search is told, beside its problem; `search.methods.RelaxedMethod.settings` sets what a method is."""

    epochs: int
    """Both phases together; the first takes half (30 + 30 in Zeng 2020, Sec. 4.2)."""
    method: str
    """That the other settings come from where the user named nothing else."""
    relaxation: Relaxation
    """Of ops and inputs."""
    latency_term: LatencyTermName
    """Expectation that the loss holds against the accuracy."""
    occurrence: Occurrence | None
    """k_c^l of the critical-path term (Lu 2022, Eq. 5); None for the others."""
    decoder: DecoderName
    """How paths are chosen at the end; a finished search can be decoded again by another."""
    loss: Loss
    """How accuracy and latency are put together."""
    mixture: Mixture
    """What a step computes."""
    paths: int = 2
    """n: paths in the latency term, to sample, and to keep at most."""
    latency_weight: float | None
    """Lambda, per millisecond (Zeng 2020, Eq. 6) or of the exponential (Lu 2022, Eq. 2); None where none is read."""
    bound_ms: float | None
    """Latency that the loss aims at: L_ub of `bounded`, the budget of `lagrangian`, None for `weighted`."""
    seed: int = 0
    """Of weights, batches, halves of the patients, augmentation and Gumbel noise."""
    batch_size: int = 2
    """Volumes in a step."""
    learning_rate: float = 0.01
    """Peak of the weights' cosine."""
    arch_optimizer: Optimizer
    """Of alpha, gamma and beta; `sgd` has momentum 0.9 and weight decay 3e-4 (Lu 2022, Sec. 3.1)."""
    arch_learning_rate: float
    """Constant with Adam; with SGD it falls to a tenth as a cosine."""
    temperature_start: float = 5.0
    """Of the Gumbel-softmax when the architecture is first updated; it falls geometrically."""
    temperature_end: float = 0.5
    """In the last epoch."""
    amp: Amp = "auto"
    """Precision of the supernet."""
    activation_checkpointing: ActivationCheckpointing = "auto"
    """Whether cells are run again for their gradient; an interrupted search may continue with another choice."""

    def __post_init__(self) -> None:
        """Check what belongs together.

        Raises:
            ValueError: a loss or term without what it needs, or with what it does not read.
        """
        if (self.bound_ms is None) != (self.loss == "weighted"):
            raise ValueError(f"loss {self.loss} with bound_ms {self.bound_ms}")
        if (self.latency_weight is None) != (self.loss == "lagrangian" or self.latency_term == NO_TERM):
            raise ValueError(f"loss {self.loss} of {self.latency_term} with latency_weight {self.latency_weight}")
        if (self.occurrence is None) != (self.latency_term != "critical-path"):
            raise ValueError(f"latency_term {self.latency_term} with occurrence {self.occurrence}")

    @property
    def warmup_epochs(self) -> int:
        """Epochs of phase 1."""
        return self.epochs // 2

    @property
    def holds_budget(self) -> bool:
        """Whether the expected latency is kept within `bound_ms` (`search.lagrangian`)."""
        return self.loss == "lagrangian" and self.latency_term != NO_TERM

    @property
    def reads_paths(self) -> bool:
        """Whether the number of paths matters before decoding."""
        return self.mixture != "full" or (self.latency_term != NO_TERM and latency_term(self.latency_term).reads_paths)

    @property
    def draws_noise(self) -> bool:
        """Whether the latency term samples, so that its temperature means something."""
        return self.latency_term != NO_TERM and latency_term(self.latency_term).draws_noise

    @property
    def checkpoints(self) -> bool:
        """Whether cells are run again for their gradient."""
        choice = self.activation_checkpointing
        return self.mixture == "full" if choice == "auto" else choice == "on"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: those that the search depends on. Its space says the relaxation."""
        told = dataclasses.asdict(self)
        for name in ("activation_checkpointing", "relaxation", "decoder"):
            del told[name]
        return told


Rounds = tuple[tuple[int, int], ...]
"""(networks, epochs) of each round of a search that trains its candidates."""


@dataclass(frozen=True, kw_only=True)
class HalvingSettings:
    """What a search that trains its candidates is told, beside its problem: by default what nas-search takes."""

    candidates: int = 18
    """Networks in the first round."""
    epochs: int = 60
    """Of the last round."""
    paths: int = 2
    """Paths to fuse, at most."""
    least_share: float = 0.6
    """Of the budget, that a candidate uses at least."""
    seed: int = 0
    """Of networks, halves of the patients, weights, batches and augmentation."""
    batch_size: int = 2
    """Volumes in a step."""
    learning_rate: float = 0.01
    """Peak of the cosine."""
    amp: Amp = "auto"
    """Precision of the networks."""

    @property
    def rounds(self) -> Rounds:
        """A third of the networks go on in each, and the last one has all the epochs."""
        return (
            (self.candidates, max(1, self.epochs // 6)),
            (math.ceil(self.candidates / 3), max(1, self.epochs * 5 // 12)),
            (math.ceil(self.candidates / 9), self.epochs),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """What an epoch of the search yields for the log; all but the first two are None in phase 1."""

    epoch: int
    weight_loss: float
    arch_loss: float | None = None
    latency_ms: float | None = None
    """Of the latency term, whatever it expects; None without one."""
    temperature: float | None = None
    multiplier: float | None = None
    """Of the budget, per millisecond; None without a Lagrangian."""
    alpha_entropy: float | None = None
    """Of the choices in cells and network, 1 undecided to 0 decided (`search.entropy`)."""
    gamma_entropy: float | None = None
    beta_entropy: float | None = None

    def metrics(self) -> dict[str, float]:
        """Scalars by name, those that exist."""
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name != "epoch"}
        return {name: value for name, value in fields.items() if value is not None}
