"""What a search is of, and where it runs: what every stage from the command to arch.yaml is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from cinert.arch import Arch
from cinert.errors import BadInputError
from cinert.progress import Advance, unheard
from cinert.space import Space
from latency.estimate import EstimatedArch, LatencyEstimate, estimate
from latency.lut import Lut
from search.data import FoldData
from search.ranks import ALONE, Ranks
from search.settings import SearchSettings


@dataclass(frozen=True, kw_only=True)
class SearchProblem:
    """What is looked for: the best network of a space on some data, within a budget on a device."""

    space: Space
    """To search."""
    lut: Lut
    """Prices of the device that will run the network."""
    data: FoldData
    """Of the fold; only its training patients are used."""
    budget_ms: float
    """Latency of the network."""
    _known: dict[str, LatencyEstimate] = field(default_factory=dict, repr=False, compare=False)
    """Estimates by digest of what was asked for before."""

    def estimated(self, arch: Arch) -> EstimatedArch:
        """A network of the space with its estimate, which is worked out once."""
        if arch.digest not in self._known:
            self._known[arch.digest] = estimate(arch, self.lut)
        return EstimatedArch(arch, self._known[arch.digest])

    def ms(self, arch: Arch) -> float:
        """Estimated milliseconds of a network."""
        return self.estimated(arch).latency.ms

    def high_ms(self, arch: Arch) -> float:
        """Upper end of its interval."""
        return self.estimated(arch).latency.high_ms

    def held_ms(self, settings: SearchSettings) -> Callable[[Arch], float]:
        """What of a network is held against the budget: the estimate, or its upper end where the budget is hard."""
        return self.high_ms if settings.loss == "lagrangian" else self.ms

    def relaxed_as(self, settings: SearchSettings) -> SearchProblem:
        """The problem with the space as a search relaxes it.

        Raises:
            BadInputError: the search aims at another budget.
        """
        if settings.bound_ms not in {None, self.budget_ms}:
            raise BadInputError(
                f"the search by {settings.method} aims at {settings.bound_ms:g} ms, and the budget is"
                f" {self.budget_ms:g} ms.",
                hint="take the settings of the method for this budget.",
            )
        return dataclasses.replace(self, space=dataclasses.replace(self.space, relaxation=settings.relaxation))


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Where a search runs, and who follows it."""

    folder: Path
    """Of the run."""
    device: torch.device
    """Where to compute."""
    ranks: Ranks = ALONE
    """Processes that share the work; the first alone writes."""
    restart: bool = False
    """Throw away what the folder holds."""
    progress: Advance = unheard
    """Called with (what, done, in all)."""

    def called(self, what: str) -> RunContext:
        """The same, whose progress is told by another name."""

        def renamed(_: str, done: int, total: int) -> None:
            self.progress(what, done, total)

        return dataclasses.replace(self, progress=renamed)
