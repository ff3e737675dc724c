"""The vocabulary of a search: a few words that combine freely, and the methods as presets over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from cinert.space import Relaxation

LatencyTerm = Literal["none", "path-wise", "critical-path", "union"]
"""What is held against the accuracy: nothing, each of n paths whole (Zeng 2020, Eq. 7-9), one path by the critical path
of its cells (Lu 2022, Eq. 3-5), or the union of n paths with what they share paid once (`latency.cost_union`)."""
Decoder = Literal["longest", "dijkstra", "genetic"]
"""How paths are chosen at the end: the n most probable whose union fits the budget, the n most probable whatever they
cost (MS-NAS), or the n of the 10 most probable whose union is fastest (Lu 2022, Sec. 2.3)."""
Loss = Literal["weighted", "bounded", "lagrangian"]
"""How both are put together: CE + lambda LAT (Zeng 2020, Eq. 6), CE x LAT + lambda exp(LAT - bound) (Lu 2022, Eq. 2),
or CE alone, with probabilities charged for their latency until LAT <= budget (`search.lagrangian`)."""
Mixture = Literal["full", "sampled", "sampled-ops"]
"""What a step of the search computes: all edges of the grid, weighted, a sampled set of paths, or those with one op
sampled for each node of their cells."""
Optimizer = Literal["adam", "sgd"]
ActivationCheckpointing = Literal["auto", "on", "off"]
"""Whether a cell of the supernet keeps its input alone and is run again for its gradient: less memory, more time.
`auto` is on where a step computes the whole grid."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A differentiable method: what it takes where the user names nothing else."""

    relaxation: Relaxation
    latency_term: LatencyTerm
    decoder: Decoder
    loss: Loss
    mixture: Mixture
    epochs: int
    """Both phases together."""
    latency_weight: float | None
    """Lambda; None where the loss has none."""
    arch_optimizer: Optimizer
    arch_learning_rate: float


METHODS: dict[str, Method] = {
    "zeng2020": Method(
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
    # Lu 2022, Sec. 3.1: 40 epochs that tune the architecture, after as many of the weights alone; SGD from 0.01. The
    # paper calls lambda large and gives no value. At 10 the penalty rises by 10 a millisecond where the bound is met,
    # and the product, whose slope is the cross-entropy, by 1.4 at most: that of a guess among four classes.
    "rtdnas": Method(
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
    "msnas": Method(
        relaxation="separate",
        latency_term="none",
        decoder="dijkstra",
        loss="weighted",
        mixture="full",
        epochs=60,
        latency_weight=1e-4,
        arch_optimizer="adam",
        arch_learning_rate=0.02,
    ),
    "cinert": Method(
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
}
CELL_METHOD, USHAPE_METHOD = "zeng2020", "cinert"
"""What nas-search takes where the user names no method, by the family of the space."""
Proposer = Literal["random", "evolution"]
TRAINED: tuple[Proposer, ...] = get_args(Proposer)
"""Methods that train candidates one by one (`search.halving`), and relax nothing."""
TRAINED_EPOCHS = 60
SELECTION_EPOCHS = 24
"""Of the trainings that choose among what was decoded for several seeds or budgets, and of those of a sweep."""


def reads_paths(mixture: Mixture, latency_term: LatencyTerm) -> bool:
    """Whether a search depends on the number of paths; where not, one search serves any number."""
    return mixture != "full" or latency_term in {"path-wise", "union"}


def own(field: str) -> str:
    """A field of every method for an option's help, e.g. `zeng2020 separate, rtdnas joint, ...`."""
    values = [(name, getattr(method, field)) for name, method in METHODS.items()]
    said = [(name, f"{value:g}" if isinstance(value, float) else str(value)) for name, value in values]
    return ", ".join(f"{name} {text}" for name, text in said if text != "None")
