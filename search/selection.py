"""Searches with several seeds, decoded at several budgets, out of which the best network is kept.

Whatever they decode is trained on one half of the training patients and scored on the other half, all alike. Dice with
a supernet's weights does not compare: between supernets it means nothing, and within one it says little about a network
whose weights are its own.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cinert.arch import save_arch
from cinert.files import atomic_folder, read_json, write_json
from search.decode import Decoded
from search.draw import draw_arch
from search.draw_front import draw_front
from search.halving import read_candidates, successive_halving
from search.methods import SELECTION_EPOCHS
from search.pareto import ParetoPoint, unbeaten, write_front
from search.problem import RunContext, SearchProblem
from search.records import picture_title, problem_identity
from search.run import SearchResult, prepare_run, run_identity, run_search
from search.run_folder import (
    ARCH,
    CANDIDATES,
    CONFIG,
    FRONT,
    PICTURE,
    TENSORBOARD,
    clear_run,
    refuse_foreign_arch,
    refuse_supernet,
    seed_folder,
)
from search.settings import HalvingSettings, SearchSettings


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The network that was kept, and what it was chosen from."""

    results: list[SearchResult]
    """By seed."""
    best: int
    """Position of the search that the network comes from."""
    decoded: Decoded
    """What was kept."""
    dice: float | None = None
    """Its mean Dice on the other half of the training patients; None where there was nothing to choose from."""
    trained: int = 0
    """Networks that were compared."""
    front: int = 0
    """Networks in RUN/pareto."""


def search_and_select(
    problem: SearchProblem, settings: SearchSettings, context: RunContext, *, seeds: int = 1, pareto: int = 0
) -> Selection:
    """Search with the settings' seed and those that follow it, or continue, and keep the best network.

    One seed without a front is a search like any other: nothing is trained.

    Args:
        problem: as in `run_search`.
        settings: of the first search.
        context: where it runs.
        seeds: number of searches; of more than one, each has a run folder of its own, RUN/seed-K.
        pareto: budgets up to the problem's that networks are decoded for (`search.pareto`); 0 for that one alone.

    Raises:
        BadInputError: as `run_search`, or the folder holds another search.
    """
    problem = problem.relaxed_as(settings)
    folder, ranks = context.folder, context.ranks
    compares = seeds > 1 or pareto > 0
    each = [dataclasses.replace(settings, seed=seed) for seed in range(settings.seed, settings.seed + seeds)]
    folders = [folder] if seeds == 1 else [seed_folder(folder, one.seed) for one in each]

    def prepare() -> None:
        # All of it first: what cannot be continued should not come to light after hours of searching.
        if context.restart:
            clear_run(folder)
        if compares:
            read_candidates(folder, _identity(problem, _training(settings, SELECTION_EPOCHS)))
        if seeds > 1:
            refuse_supernet(folder)
            refuse_foreign_arch(folder, CANDIDATES)
        for one, where in zip(each, folders, strict=True):
            prepare_run(where, run_identity(problem, one), restart=False)

    ranks.from_main(prepare)
    results = [
        run_search(
            problem,
            one,
            dataclasses.replace(
                context.called("searching" if seeds == 1 else f"searching, seed {one.seed}"),
                folder=where,
                restart=False,
            ),
            cheaper=max(0, pareto - 1),
            write=where != folder or not compares,
        )
        for one, where in zip(each, folders, strict=True)
    ]
    if not compares:
        return Selection(results=results, best=0, decoded=results[0].decoded)
    return select_best(results, problem, settings, context, epochs=SELECTION_EPOCHS, front=pareto > 0)


def decoded_by(results: Sequence[SearchResult]) -> dict[str, tuple[int, Decoded]]:
    """Different networks of some searches by digest, each with the position of its search.

    Those that miss the budget are left out, unless all do.
    """
    found: dict[str, tuple[int, Decoded]] = {}
    for number, result in enumerate(results):
        for decoded in (result.decoded, *result.cheaper):
            found.setdefault(decoded.arch.digest, (number, decoded))
    return {digest: one for digest, one in found.items() if one[1].budget_met} or found


def select_best(
    results: list[SearchResult],
    problem: SearchProblem,
    settings: SearchSettings,
    context: RunContext,
    *,
    epochs: int,
    front: bool,
) -> Selection:
    """Train what some searches decoded, all alike, and write the best network and its picture.

    Args:
        results: by seed.
        problem: that was searched.
        settings: of the first search.
        context: where it runs.
        epochs: of each training.
        front: write RUN/pareto as well: what no other network beats in both latency and Dice.

    Raises:
        BadInputError: the folder holds a comparison with other settings.
    """
    problem = problem.relaxed_as(settings)
    folder, lut, data = context.folder, problem.lut, problem.data
    found = decoded_by(results)
    networks = [decoded.arch for _, decoded in found.values()]
    training = _training(settings, epochs)
    scored = successive_halving(
        lambda scored: networks[len(scored)],
        data,
        training,
        context.called("comparing"),
        rounds=((len(networks), epochs),),
        identity=_identity(problem, training),
    ).scored
    best, decoded = found[scored[0].arch.digest]
    provenance = {"seeds": len(results), "dice_on_the_other_half": round(scored[0].dice, 4)}
    kept = dataclasses.replace(decoded.arch, provenance={**decoded.arch.provenance, **provenance})
    points = [ParetoPoint(one.arch, problem.ms(one.arch), one.dice) for one in scored]
    beaten_by_none = unbeaten(points, cost=lambda point: point.ms, dice=lambda point: point.dice) if front else []
    if context.ranks.is_main:
        if results[best].folder != folder:
            _copy_records(results[best].folder, folder)
        if front:
            with atomic_folder(folder / FRONT) as partial:
                write_front(partial, beaten_by_none)
                title = f"{problem.space.name}: found for {lut.title}"
                draw_front(
                    partial / "front.png",
                    beaten_by_none,
                    budget_ms=problem.budget_ms,
                    title=title,
                    who=data.kind(data.train),
                )
        else:
            shutil.rmtree(folder / FRONT, ignore_errors=True)
        draw_arch(folder / PICTURE, kept, title=picture_title(kept, problem))
        save_arch(folder / ARCH, kept)
    return Selection(
        results=results,
        best=best,
        decoded=dataclasses.replace(decoded, arch=kept),
        dice=scored[0].dice,
        trained=len(scored),
        front=len(beaten_by_none),
    )


def _training(settings: SearchSettings, epochs: int) -> HalvingSettings:
    return HalvingSettings(
        epochs=epochs,
        seed=settings.seed,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        amp=settings.amp,
    )


def _identity(problem: SearchProblem, training: HalvingSettings) -> dict[str, Any]:
    """Which networks are trained is no part of it: more seeds or budgets take over what was trained."""
    told = {name: getattr(training, name) for name in ("epochs", "seed", "batch_size", "learning_rate", "amp")}
    return problem_identity(problem, {"trains": "decoded networks", **told})


def _copy_records(source: Path, folder: Path) -> None:
    """Put how the kept network was searched into the run folder."""
    write_json(folder / CONFIG, read_json(source / CONFIG, "the search's set-up"))
    with atomic_folder(folder / TENSORBOARD) as partial:
        shutil.copytree(source / TENSORBOARD, partial, dirs_exist_ok=True)
