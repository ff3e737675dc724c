"""How a network of a table is got: designed, searched, found by training candidates, or drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

from cinert.arch import Arch
from cinert.baselines.base import Baseline
from cinert.baselines.kinds import design, kind_with
from cinert.sampling import random_arch
from cinert.space import Space
from search.choose import require_fit
from search.methods import RELAXED, TRAINED, CandidateMethod, RelaxedMethod
from search.words import DecoderName, Proposer


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
    decoder: DecoderName | None = None
    """The method's own if None."""
    budgets: int = 1
    """That networks are decoded for; of more than one, half of the minutes go to trainings that choose among them."""

    @property
    def searched_by(self) -> RelaxedMethod:
        """The method of the search, which networks that other decoders find share."""
        return RELAXED[self.method]

    @property
    def chosen(self) -> RelaxedMethod:
        """The method, with the recipe's decoder."""
        return RELAXED[self.method].choose({"decoder": self.decoder})

    @property
    def words(self) -> str:
        """The command that finds it."""
        words = f"nas-search --method {self.method} --decoder {self.chosen.decoder} --paths {self.paths}"
        return words if self.budgets == 1 else f"{words} --pareto {self.budgets}"

    @property
    def search_reads_paths(self) -> bool:
        """Whether the number of paths matters before decoding; where not, one search serves any number."""
        return self.chosen.reads_paths

    @property
    def search_name(self) -> str:
        """Networks of the same name come from one search."""
        name = f"{self.method}-n{self.paths}" if self.search_reads_paths else self.method
        return name if self.budgets == 1 else f"{name}-best-of-{self.budgets}"

    def require_fit(self, space: Space) -> None:
        """Refuse a space without so many paths, or with an op of another package that is not what it says.

        Raises:
            BadInputError: naming both numbers, or the op.
        """
        require_fit(self.chosen, space, self.paths)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The best of several networks within the budget that were trained."""

    method: Proposer
    paths: int
    """Paths to fuse, at most."""
    batch_size: int
    """Volumes in a step."""

    @property
    def chosen(self) -> CandidateMethod:
        """The method."""
        return TRAINED[self.method]

    @property
    def words(self) -> str:
        """The command that finds it."""
        return f"nas-search --method {self.method} --paths {self.paths} --batch-size {self.batch_size}"

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


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """A baseline whose widths are scaled until its measured p50 is what the row asks for."""

    kind: str
    latency_ms: float
    seed: int
    """Of its training."""

    @property
    def words(self) -> str:
        """The command that writes it."""
        return f"cinert baseline {self.kind} --budget-ms {self.latency_ms:g}"


@dataclass(frozen=True, kw_only=True)
class OneShot:
    """The best network of a search with shared weights; its training begins with what it learnt there."""

    latency_ms: float
    seed: int
    """Of search and training."""

    @property
    def words(self) -> str:
        """The commands that find and train it."""
        return f"nas-search --budget-ms {self.latency_ms:g}, train-arch --init"

    @property
    def search_name(self) -> str:
        """As of `Searched`."""
        return f"one-shot-{self.latency_ms:g}ms-seed{self.seed}"


Recipe = Designed | Searched | Trained | Drawn | Scaled | OneShot
