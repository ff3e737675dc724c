"""The methods of nas-search: each sets all that a search is told, and refuses what it does not read. Free of torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from cinert.errors import BadInputError
from cinert.space import Relaxation, Space
from search.decoders import decoder_of
from search.latency_terms import latency_term
from search.settings import HalvingSettings, SearchSettings
from search.words import NO_TERM, DecoderName, LatencyTermName, Loss, Mixture, Optimizer, Proposer

if TYPE_CHECKING:
    from latency.cost_critical import Occurrence

_SPELLED = {"latency_weight": "--lambda"}
"""Options that are not called as their field."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a search is, where the user names nothing else."""

    name: str
    epochs: int
    """Both phases together; of a search that trains candidates, those of the last round."""

    unknown: ClassVar[tuple[str, ...]] = ()
    """Options of nas-search that methods of this kind do not read."""

    def choose(self, given: Mapping[str, Any]) -> Self:
        """The method with what the user named in its place.

        Args:
            given: by the name of the option, or the field; None is what the user did not name.

        Raises:
            BadInputError: naming an option that would be read by nobody.
        """
        named = {name: value for name, value in given.items() if value is not None}
        own = {field.name for field in dataclasses.fields(self)}
        chosen = dataclasses.replace(self, **{name: value for name, value in named.items() if name in own})
        for name, why in chosen.unread().items():
            if name in named:
                option = _SPELLED.get(name, f"--{name.replace('_', '-')}")
                raise BadInputError(
                    f"{option} {named[name]} means nothing to {why}.",
                    hint="leave it out, or choose another --method.",
                )
        return chosen

    def unread(self) -> dict[str, str]:
        """What reads it not, by option."""
        return dict.fromkeys(self.unknown, f"--method {self.name}")

    def searched(self, space: Space) -> Space:
        """The space as this method relaxes it."""
        return space

    @property
    def reads_lambda(self) -> bool:
        """Whether lambda weighs the latency."""
        return False

    @property
    def holds_upper(self) -> bool:
        """Whether the upper end of the estimate stays within the budget, and not the estimate alone."""
        return False


@dataclass(frozen=True, kw_only=True)
class RelaxedMethod(Method):
    """A differentiable method."""

    relaxation: Relaxation
    latency_term: LatencyTermName
    occurrence: Occurrence | None = None
    """k_c^l of the critical-path term; None for counts from the source."""
    decoder: DecoderName
    loss: Loss
    mixture: Mixture
    latency_weight: float | None
    """Lambda; None where the loss has none."""
    arch_optimizer: Optimizer
    arch_learning_rate: float

    unknown: ClassVar[tuple[str, ...]] = ("candidates", "least_share")

    def unread(self) -> dict[str, str]:
        """What reads it not, by option."""
        unread = super().unread()
        if self.loss == "lagrangian":
            unread["latency_weight"] = f"--method {self.name}, whose budget has a multiplier of its own"
        if self.latency_term == NO_TERM:
            unread["latency_weight"] = f"--latency-term {NO_TERM}"
        if not decoder_of(self.decoder).reads_budget:
            unread["pareto"] = f"--decoder {self.decoder}, which reads no budget"
        if self.latency_term != "critical-path":
            unread["occurrence"] = f"--latency-term {self.latency_term}"
        return unread

    def searched(self, space: Space) -> Space:
        """The space with the method's relaxation."""
        return dataclasses.replace(space, relaxation=self.relaxation)

    @property
    def reads_lambda(self) -> bool:
        """Whether lambda weighs the latency."""
        return self.latency_weight is not None and "latency_weight" not in self.unread()

    @property
    def holds_upper(self) -> bool:
        """Whether the upper end of the estimate stays within the budget, and not the estimate alone."""
        return self.loss == "lagrangian"

    @property
    def reads_paths(self) -> bool:
        """Whether a search depends on the number of paths; where not, one search serves any number."""
        return self.mixture != "full" or (self.latency_term != NO_TERM and latency_term(self.latency_term).reads_paths)

    def settings(self, *, budget_ms: float, **told: Any) -> SearchSettings:
        """Settings of a search.

        Args:
            budget_ms: becomes the bound of a loss that has one.
            told: fields of `SearchSettings` that are no method's.
        """
        critical = self.latency_term == "critical-path"
        return SearchSettings(
            method=self.name,
            epochs=self.epochs,
            relaxation=self.relaxation,
            latency_term=self.latency_term,
            occurrence=(self.occurrence or "forward") if critical else None,
            decoder=self.decoder,
            loss=self.loss,
            mixture=self.mixture,
            latency_weight=self.latency_weight if self.latency_term != NO_TERM else None,
            bound_ms=None if self.loss == "weighted" else budget_ms,
            arch_optimizer=self.arch_optimizer,
            arch_learning_rate=self.arch_learning_rate,
            **told,
        )


@dataclass(frozen=True, kw_only=True)
class CandidateMethod(Method):
    """A method that trains candidates one by one (`search.halving`), and relaxes nothing."""

    candidates: int = HalvingSettings.candidates
    """Networks in the first round."""
    least_share: float = HalvingSettings.least_share
    """Of the budget, that a candidate uses at least."""

    unknown: ClassVar[tuple[str, ...]] = (
        "relaxation",
        "latency_term",
        "occurrence",
        "decoder",
        "mixture",
        "latency_weight",
        "arch_learning_rate",
        "activation_checkpointing",
        "seeds",
        "pareto",
    )

    @property
    def proposer(self) -> Proposer:
        """Where its candidates come from."""
        return cast("Proposer", self.name)

    def settings(self, **told: Any) -> HalvingSettings:
        """Settings of a search.

        Args:
            told: fields of `HalvingSettings` that are no method's.
        """
        return HalvingSettings(candidates=self.candidates, least_share=self.least_share, epochs=self.epochs, **told)


RELAXED: dict[str, RelaxedMethod] = {
    method.name: method
    for method in (
        RelaxedMethod(
            name="zeng2020",
            relaxation="separate",
            latency_term="path-wise",
            decoder="longest",
            loss="weighted",
            mixture="full",
            epochs=60,
            latency_weight=1e-4,
            arch_optimizer="adam",
            arch_learning_rate=0.02,
        ),
        # Lu 2022, Sec. 3.1: 40 epochs that tune the architecture, after as many of the weights alone; SGD from 0.01.
        # The paper calls lambda large and gives no value. At 10 the penalty rises by 10 a millisecond where the bound
        # is met, and the product, whose slope is the cross-entropy, by 1.4 at most: that of a guess among four classes.
        RelaxedMethod(
            name="rtdnas",
            relaxation="joint",
            latency_term="critical-path",
            decoder="genetic",
            loss="bounded",
            mixture="full",
            epochs=80,
            latency_weight=10.0,
            arch_optimizer="sgd",
            arch_learning_rate=0.01,
        ),
        RelaxedMethod(
            name="msnas",
            relaxation="separate",
            latency_term=NO_TERM,
            decoder="dijkstra",
            loss="weighted",
            mixture="full",
            epochs=60,
            latency_weight=1e-4,
            arch_optimizer="adam",
            arch_learning_rate=0.02,
        ),
        RelaxedMethod(
            name="cinert",
            relaxation="joint",
            latency_term="union",
            decoder="longest",
            loss="lagrangian",
            mixture="sampled",
            epochs=60,
            latency_weight=None,
            arch_optimizer="adam",
            arch_learning_rate=0.02,
        ),
    )
}
TRAINED: dict[str, CandidateMethod] = {
    name: CandidateMethod(name=name, epochs=HalvingSettings.epochs) for name in ("random", "evolution")
}
METHODS: dict[str, RelaxedMethod | CandidateMethod] = {**RELAXED, **TRAINED}
CELL_METHOD, USHAPE_METHOD = "zeng2020", "cinert"
"""What nas-search takes where the user names no method, by the family of the space."""
TRAINED_EPOCHS = HalvingSettings.epochs
SELECTION_EPOCHS = 24
"""Of the trainings that choose among what was decoded for several seeds or budgets, and of those of a sweep."""


def own(field: str) -> str:
    """A field of every differentiable method for an option's help, e.g. `zeng2020 separate, rtdnas joint, ...`."""
    values = [(name, getattr(method, field)) for name, method in RELAXED.items()]
    said = [(name, f"{value:g}" if isinstance(value, float) else str(value)) for name, value in values]
    return ", ".join(f"{name} {text}" for name, text in said if text != "None")
