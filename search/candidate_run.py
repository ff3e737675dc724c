"""A random or evolutionary search from its data to RUN/arch.yaml, with its run folder and resumption."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from cinert.arch import Arch, save_arch
from cinert.files import check_writable, write_json
from search.data import patients_of
from search.draw import draw_arch
from search.evolve import Evolution
from search.halving import HalvingResult, Propose, draw_candidates, successive_halving
from search.problem import RunContext, SearchProblem
from search.records import picture_title, problem_identity, search_config, search_versions
from search.run_folder import (
    ARCH,
    CANDIDATES,
    CONFIG,
    PICTURE,
    clear_run,
    refuse_foreign_arch,
    refuse_supernet,
)
from search.run_log import RunLog
from search.settings import HalvingSettings
from search.words import Proposer


def run_candidate_search(
    problem: SearchProblem, settings: HalvingSettings, context: RunContext, *, method: Proposer
) -> HalvingResult:
    """Search by training candidates, or continue such a search.

    Args:
        problem: every candidate's estimate stays within its budget.
        settings: of the search.
        context: where it runs.
        method: where candidates come from: drawn at random, or by regularised evolution.

    Raises:
        BadInputError: too few networks fit the budget, or the folder holds another search.
    """
    folder, ranks, budget_ms = context.folder, context.ranks, problem.budget_ms
    ranks.from_main(lambda: prepare_candidates(folder, restart=context.restart))
    propose = _proposer(problem, settings, method)
    identity = problem_identity(problem, {"method": method, "budget_ms": budget_ms, **settings.to_dict()})
    start = time.monotonic()
    with RunLog(folder, first_epoch=0, name="search", write=ranks.is_main) as log:
        log.line(f"{method} search among {settings.candidates} networks within {budget_ms:g} ms")
        result = successive_halving(propose, problem.data, settings, context, rounds=settings.rounds, identity=identity)
        arch = _with_records(result, problem, settings, method)
        config = search_config(
            problem.space,
            problem.lut,
            identity,
            budget_ms=budget_ms,
            device=context.device,
            weight_patients=patients_of(result.trained_on),
            arch_patients=patients_of(result.scored_on),
        )
        if ranks.is_main:
            write_json(folder / CONFIG, config)
            draw_arch(folder / PICTURE, arch, title=picture_title(arch, problem))
            save_arch(folder / ARCH, arch)
        data = problem.data
        log.line(
            f"kept {arch.digest}, Dice {result.score:.3f} on the other half of the {data.kind(data.train)},"
            f" {time.monotonic() - start:.0f} s"
        )
    return dataclasses.replace(result, arch=arch)


def prepare_candidates(folder: Path, *, restart: bool) -> None:
    """Make sure that a run folder, whose record is candidates.json, can be begun or continued.

    Raises:
        BadInputError: it cannot be written, or holds another search or its network.
    """
    check_writable(folder / ARCH)
    if restart:
        clear_run(folder)
    refuse_supernet(folder)
    refuse_foreign_arch(folder, CANDIDATES)


def _proposer(problem: SearchProblem, settings: HalvingSettings, method: Proposer) -> Propose:
    held: dict[str, Any] = {"budget_ms": problem.budget_ms, "estimate_ms": problem.ms}
    if method == "evolution":
        return Evolution(problem.space, settings, **held).propose
    drawn = draw_candidates(problem.space, settings, settings.candidates, **held)
    return lambda scored: drawn[len(scored)]


def _with_records(result: HalvingResult, problem: SearchProblem, settings: HalvingSettings, method: Proposer) -> Arch:
    data = problem.data
    provenance: dict[str, Any] = {
        "method": method,
        "seed": settings.seed,
        "versions": search_versions(result.arch.space.ops),
        "rounds": [list(one) for one in settings.rounds],
        "candidate": dict(result.arch.provenance),
        "dice_on_the_other_half": round(result.score, 4),
        "budget_ms": problem.budget_ms,
        "budget_met": True,
        "data": data.digest,
        "fold": "all" if data.fold is None else data.fold,
        "seen_patients": [record.to_dict() for record in data.seen],
    }
    record = problem.estimated(result.arch).record(problem.lut)
    return dataclasses.replace(result.arch, estimate=record, provenance=provenance)
