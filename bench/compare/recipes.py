"""How a network of a table is got: designed, searched, found by training candidates, or drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

from cinert.arch import Arch
from cinert.baselines.base import Baseline
from cinert.baselines.kinds import design, kind_with
from cinert.sampling import random_arch
from cinert.space import Space
from search.genetic import require_genes
from search.halving import HalvingSettings
from search.longest import require_paths
from search.methods import METHODS, Decoder, Proposer, reads_paths
from search.mixed_cell import require_ops


@dataclass(frozen=True, kw_only=True)
class Designed:
    """A baseline, as `cinert baseline` writes it."""

    kind: str
    widths: tuple[int, ...] | None = None
    """Channels at each level; None for those that `cinert baseline` takes."""
    components: int | None = None
    """Of ica-unet."""

    @property
    def words(self) -> str:
        """The command that writes it."""
        widths = "" if self.widths is None else f" --widths {','.join(map(str, self.widths))}"
        components = "" if self.components is None else f" --components {self.components}"
        return f"cinert baseline {self.kind}{widths}{components}"

    def build(self, space: Space) -> Baseline:
        """The baseline on the grid of a space.

        Raises:
            BadInputError: it does not fit.
        """
        widths = kind_with(self.kind, "published").widths_in(space) if self.widths is None else self.widths
        return design(self.kind, space, widths, components=self.components, cells="published")


@dataclass(frozen=True, kw_only=True)
class Searched:
    """The network of a differentiable search."""

    method: str
    paths: int
    """n: paths that are fused, at most."""
    decoder: Decoder | None = None
    """The method's own if None."""
    budgets: int = 1
    """That networks are decoded for; of more than one, half of the minutes go to trainings that choose among them."""

    @property
    def chosen_decoder(self) -> Decoder:
        """What decodes it."""
        return self.decoder or METHODS[self.method].decoder

    @property
    def words(self) -> str:
        """The command that finds it."""
        words = f"nas-search --method {self.method} --decoder {self.chosen_decoder} --paths {self.paths}"
        return words if self.budgets == 1 else f"{words} --pareto {self.budgets}"

    @property
    def search_reads_paths(self) -> bool:
        """Whether the number of paths matters before decoding; where not, one search serves any number."""
        method = METHODS[self.method]
        return reads_paths(method.mixture, method.latency_term)

    @property
    def search_name(self) -> str:
        """Networks of the same name come from one search."""
        name = f"{self.method}-n{self.paths}" if self.search_reads_paths else self.method
        return name if self.budgets == 1 else f"{name}-best-of-{self.budgets}"

    def require_fit(self, space: Space) -> None:
        """Refuse a space without so many paths, or with an op that the supernet does not compute.

        Raises:
            BadInputError: naming both numbers, or the op.
        """
        require_ops(space)
        require_paths(space, self.paths)
        if self.chosen_decoder == "genetic":
            require_genes(self.paths)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The best of several networks within the budget that were trained."""

    method: Proposer

    @property
    def words(self) -> str:
        """The command that finds it."""
        settings = HalvingSettings()
        return f"nas-search --method {self.method} --paths {settings.paths} --batch-size {settings.batch_size}"

    @property
    def search_name(self) -> str:
        """As of `Searched`."""
        return self.method


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A random network, whatever it costs: a grey point of the picture."""

    seed: int

    @property
    def words(self) -> str:
        """How it was drawn."""
        return f"random network of 1 to 4 paths, seed {self.seed}"

    def build(self, space: Space) -> Arch:
        """Draw it."""
        return random_arch(space, self.seed, cover=True)


Recipe = Designed | Searched | Trained | Drawn
