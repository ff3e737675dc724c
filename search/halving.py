"""Searches that train their candidates: successive halving (Jamieson & Talwalkar 2016) of networks that are proposed.

Candidates that fit the budget are trained for a few epochs on half of the training patients and scored on the other
half; the best go on to longer trainings. Each training starts from scratch, so that its learning rate falls to zero
and its score means something. Random candidates make the honest baseline of every search (Li & Talwalkar 2019);
`search.evolve` proposes children of the best ones, with the same trainings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cinert.arch import Arch
from cinert.data.dataset import Sample
from cinert.errors import BadInputError
from cinert.files import read_json, write_json
from cinert.resume import refuse_other_settings
from cinert.sampling import random_arch
from cinert.schema import check_keys, check_schema
from cinert.space import Space
from search.candidate_training import score_candidate
from search.data import FoldData, halve_patients
from search.problem import RunContext
from search.run_folder import CANDIDATE, CANDIDATES
from search.settings import HalvingSettings, Rounds
from search.training import TrainingSettings

SCHEMA, VERSION = "cinert.candidates", 1
_RECORD = ("schema", "version", "identity", "scores")
_DRAWS = 20_000

EstimateMs = Callable[[Arch], float]


@dataclass(frozen=True)
class Scored:
    """A candidate and its mean Dice on the other half, after the trainings of a round."""

    arch: Arch
    dice: float


Propose = Callable[[Sequence[Scored]], Arch]
"""The next candidate of the first round, given those before it; the same ones must lead to the same candidate."""


def candidate_training(settings: HalvingSettings, epochs: int) -> TrainingSettings:
    """How a candidate is trained for so many epochs."""
    return TrainingSettings(
        epochs=epochs,
        seed=settings.seed,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        amp=settings.amp,
    )


def fits(arch: Arch, settings: HalvingSettings, *, budget_ms: float, estimate_ms: EstimateMs) -> bool:
    """Whether a network's estimate lies between the least share of the budget and the budget."""
    return settings.least_share * budget_ms <= estimate_ms(arch) <= budget_ms


def draw_candidates(
    space: Space, settings: HalvingSettings, count: int, *, budget_ms: float, estimate_ms: EstimateMs
) -> list[Arch]:
    """Draw `count` different networks whose estimate lies between the least share of the budget and the budget.

    Raises:
        BadInputError: too few of many random networks fit.
    """
    rng = np.random.default_rng([settings.seed, 7])
    found: dict[str, Arch] = {}
    for _ in range(_DRAWS):
        seed = int(rng.integers(2**31))
        arch = random_arch(space, seed, paths=int(rng.integers(1, settings.paths + 1)), cover=True)
        if fits(arch, settings, budget_ms=budget_ms, estimate_ms=estimate_ms):
            found.setdefault(arch.digest, arch)
        if len(found) == count:
            return list(found.values())
    raise BadInputError(
        f"{len(found)} of {_DRAWS} random networks of {space.name} are estimated between"
        f" {settings.least_share * budget_ms:g} and {budget_ms:g} ms, and {count} are needed.",
        hint="give another --budget-ms.",
    )


@dataclass(frozen=True)
class HalvingResult:
    """The best network, and what every candidate scored."""

    arch: Arch
    scored: list[Scored]
    """Candidates of the last round, best first."""
    trained_on: list[Sample]
    """Frames of the half that weights were learnt on."""
    scored_on: list[Sample]
    """Frames of the other half."""

    @property
    def score(self) -> float:
        """Mean Dice of the best on the held-out half of the training patients, after the last round."""
        return self.scored[0].dice


def successive_halving(
    propose: Propose,
    data: FoldData,
    settings: HalvingSettings,
    context: RunContext,
    *,
    rounds: Rounds,
    identity: dict[str, Any],
) -> HalvingResult:
    """Train, score and drop candidates, round by round.

    What candidates.json holds is not trained again, and a training that was killed goes on after its last epoch.

    Args:
        propose: gives the candidates of the first round, all different.
        data: of the fold; only its training patients are used.
        settings: how.
        context: where it runs.
        rounds: (networks, epochs) of each, fewer networks in each.
        identity: what a run that continues this one has to share.

    Raises:
        BadInputError: the folder holds a search with other settings.
    """
    folder, ranks = context.folder, context.ranks
    path = folder / CANDIDATES
    record = ranks.from_main(lambda: read_candidates(folder, identity))
    known = {(entry["arch"], entry["epochs"]): entry["dice"] for entry in record["scores"]}
    first, second = halve_patients(data.train, settings.seed)
    halves = dataclasses.replace(data, train=first, validation=second)
    total, done = sum(count * epochs for count, epochs in rounds), 0

    def show(more: int) -> None:
        context.progress("searching", done + more, total)

    def train(arch: Arch, epochs: int) -> Scored:
        nonlocal done
        if (arch.digest, epochs) not in known:
            known[arch.digest, epochs] = score_candidate(
                arch,
                halves,
                candidate_training(settings, epochs),
                checkpoint=folder / CANDIDATE,
                identity={**identity, "arch": arch.digest, "epochs": epochs},
                device=context.device,
                on_epoch=show,
                ranks=ranks,
            )
            record["scores"].append({"arch": arch.digest, "epochs": epochs, "dice": known[arch.digest, epochs]})
            if ranks.is_main:
                write_json(path, record)
        done += epochs
        show(0)
        return Scored(arch, known[arch.digest, epochs])

    alive: list[Scored] = []
    for number, (count, epochs) in enumerate(rounds):
        if number == 0:
            for _ in range(count):
                alive.append(train(propose(alive), epochs))
        else:
            alive = [train(scored.arch, epochs) for scored in alive[:count]]
        alive.sort(key=lambda scored: -scored.dice)
    if ranks.is_main:
        (folder / CANDIDATE).unlink(missing_ok=True)
    return HalvingResult(alive[0].arch, alive, first, second)


def read_candidates(folder: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """What was scored before in a run folder, if anything was.

    Raises:
        BadInputError: by another search, or the file is no record.
    """
    path = folder / CANDIDATES
    if not path.exists():
        return {"schema": SCHEMA, "version": VERSION, "identity": identity, "scores": []}
    record = read_json(path, "the candidates")
    check_schema(record, schema=SCHEMA, version=VERSION, source=str(path))
    check_keys(record, required=list(_RECORD), source=str(path))
    refuse_other_settings(folder, record["identity"], identity)
    return record
