"""Searches of a comparison: each method once, for the same minutes, and as many networks decoded as tables ask for."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from bench.compare.plan import plan_candidates, plan_search, plan_selection, stored_plan
from bench.compare.recipes import OneShot, Searched, Trained
from bench.compare.setting import SEARCHES, Setting
from cinert.arch import Arch
from cinert.errors import BadInputError
from cinert.files import read_json, write_json
from cinert.progress import Advance
from latency.cost import SpaceCosts
from latency.lut import Lut
from search.candidate_run import run_candidate_search
from search.loop import Search, read_supernet
from search.problem import RunContext, SearchProblem
from search.run import SearchResult, decode_search, run_search
from search.run_folder import SUPERNET
from search.selection import decoded_by, select_best
from search.settings import SearchSettings

SPENT = "spent.json"
SELECTION = "selection"
"""Folder of the plan for the trainings that choose among what a search decoded."""


def search_folder(recipe: Searched | Trained | OneShot, setting: Setting) -> Path:
    """Where the search of a recipe lies; recipes of one search share it."""
    return setting.folder / SEARCHES / recipe.search_name


def found_arch(recipe: Searched | Trained, setting: Setting, show: Advance) -> Arch:
    """Search, or continue a search, and decode the network of a recipe.

    Raises:
        BadInputError: no LUT, too few networks within the budget, or the folder holds another search.
    """
    if setting.lut is None:
        raise BadInputError(f"{recipe.words} reads prices, and there is no LUT.", hint="give one with --lut.")
    if isinstance(recipe, Trained):
        return _best_candidate(recipe, setting.lut, setting, show)
    return _decoded(recipe, setting.lut, setting, show)


def _decoded(recipe: Searched, lut: Lut, setting: Setting, show: Advance) -> Arch:
    method, budget_ms = recipe.searched_by, setting.terms.budget_ms
    space = method.searched(setting.space)
    folder = search_folder(recipe, setting)
    told = {"paths": recipe.paths if recipe.search_reads_paths else 1, "seed": setting.terms.seed}
    draft = method.settings(budget_ms=budget_ms, **told)
    minutes = setting.terms.search_minutes / (1 if recipe.budgets == 1 else 2)
    show("timing a step of the search", 0, 1)
    plan = stored_plan(folder, lambda: plan_search(space, lut, draft, setting, minutes=minutes))
    settings = dataclasses.replace(draft, epochs=plan.epochs)
    spent = Spent(folder)
    problem = SearchProblem(space=space, lut=lut, data=setting.data, budget_ms=budget_ms)
    context = RunContext(folder=folder, device=setting.device, progress=show).called(f"searching, {recipe.search_name}")
    result = run_search(
        problem,
        settings,
        context,
        cheaper=recipe.budgets - 1,
        write=recipe.budgets == 1,
        on_epoch=lambda _: spent.note(),
    )
    if recipe.budgets > 1:
        return _best_of_budgets(recipe, result, problem, settings, setting, show, minutes=minutes)
    search = Search(space, SpaceCosts.from_lut(lut, space), setting.data.train, settings, setting.device)
    search.restore(read_supernet(folder / SUPERNET))
    decoding = dataclasses.replace(settings, paths=recipe.paths, decoder=recipe.chosen.decoder)
    search.settings = decoding
    return decode_search(search, problem, decoding, budget_ms).arch


def _best_of_budgets(
    recipe: Searched,
    result: SearchResult,
    problem: SearchProblem,
    settings: SearchSettings,
    setting: Setting,
    show: Advance,
    *,
    minutes: float,
) -> Arch:
    folder = search_folder(recipe, setting)
    archs = [decoded.arch for _, decoded in decoded_by([result]).values()]
    show("timing a step of each network", 0, 1)
    plan = stored_plan(folder / SELECTION, lambda: plan_selection(archs, settings, setting, minutes=minutes))
    spent = Spent(folder)

    def progress(what: str, done: int, total: int) -> None:
        spent.note()
        show(f"{what}, {recipe.search_name}", done, total)

    context = RunContext(folder=folder, device=setting.device, progress=progress)
    return select_best([result], problem, settings, context, epochs=plan.epochs, front=True).decoded.arch


def _best_candidate(recipe: Trained, lut: Lut, setting: Setting, show: Advance) -> Arch:
    folder = search_folder(recipe, setting)
    draft = recipe.chosen.settings(paths=recipe.paths, batch_size=recipe.batch_size, seed=setting.terms.seed)
    show("timing a step of some candidates", 0, 1)
    plan = stored_plan(folder, lambda: plan_candidates(setting.space, lut, draft, setting))
    spent = Spent(folder)

    def progress(what: str, done: int, total: int) -> None:
        spent.note()
        show(f"{what}, {recipe.search_name}", done, total)

    problem = SearchProblem(space=setting.space, lut=lut, data=setting.data, budget_ms=setting.terms.budget_ms)
    context = RunContext(folder=folder, device=setting.device, progress=progress)
    settings = dataclasses.replace(draft, epochs=plan.epochs)
    return run_candidate_search(problem, settings, context, method=recipe.method).arch


class Spent:
    """Adds up what a search took, over all runs that continued it, in spent.json beside it.

    Args:
        folder: of the search.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / SPENT
        before = read_spent(folder) or {"seconds": 0.0, "cpu_seconds": 0.0}
        self._seconds = before["seconds"] - time.monotonic()
        self._cpu_seconds = before["cpu_seconds"] - time.process_time()

    def note(self) -> None:
        """Write down what was spent until now."""
        document = {
            "seconds": round(self._seconds + time.monotonic(), 2),
            "cpu_seconds": round(self._cpu_seconds + time.process_time(), 2),
        }
        write_json(self._path, document)


def read_spent(folder: Path) -> dict[str, Any] | None:
    """{seconds, cpu_seconds} of a search; None where it has not begun."""
    path = folder / SPENT
    return read_json(path, "what the search took") if path.exists() else None
