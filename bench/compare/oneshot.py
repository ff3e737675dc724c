"""Searches with shared weights in a comparison: for the minutes that every search has."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bench.compare.plan import plan_oneshot, stored_plan
from bench.compare.recipes import OneShot
from bench.compare.searches import Spent, search_folder
from bench.compare.setting import Setting
from cinert.data.dataset import Sample
from cinert.errors import BadInputError
from cinert.progress import Advance
from cinert.ushape.arch import UShapeArch
from cinert.ushape.space import UShapeSpace
from search.oneshot.loop import OneShotSearch, OneShotSettings
from search.oneshot.prices import upper_ms_of
from search.oneshot.run import grid_of, run_oneshot, split_patients


def found_ushape(recipe: OneShot, setting: Setting, show: Advance) -> UShapeArch:
    """Search, or continue a search, for the network of a recipe.

    Raises:
        BadInputError: no LUT of a space of U-shapes, or nothing within the budget.
    """
    lut = setting.lut
    if lut is None or not isinstance(lut.space, UShapeSpace):
        raise BadInputError(
            f"{recipe.words} reads prices of a space of U-shapes.", hint="give a LUT of cardiac-small with --lut."
        )
    space, folder = lut.space, search_folder(recipe, setting)
    folds = {number: setting.data_on(grid_of(space, number)) for number in range(len(space.grids))}
    draft = OneShotSettings(seed=recipe.seed)
    for_weights, _ = split_patients(folds[0].train, recipe.seed)

    def make(ids: Sequence[str]) -> OneShotSearch:
        few = {n: [sample for sample in fold.train if sample.patient_id in set(ids)] for n, fold in folds.items()}
        # No generation ends within the probe.
        probe = dataclasses.replace(draft, epochs=1)
        return OneShotSearch(
            space,
            upper_ms_of(space, lut),
            budget_ms=recipe.latency_ms,
            train=few,
            other=few,
            settings=probe,
            device=setting.device,
        )

    def frames_of(samples: Sequence[Sample]) -> int:
        return sum(sample.patient_id in for_weights for sample in samples)

    show("timing a step of the search", 0, 1)
    plan = stored_plan(folder, lambda: plan_oneshot(make, sorted(for_weights), frames_of(folds[0].train), setting))
    spent = Spent(folder)

    def advance(what: str, done: int, total: int) -> None:
        if done % plan.steps == 0:
            spent.note()
        show(f"{what}, {recipe.search_name}", done, total)

    result = run_oneshot(
        space,
        lut,
        folds,
        dataclasses.replace(draft, epochs=plan.epochs),
        budget_ms=recipe.latency_ms,
        folder=folder,
        device=setting.device,
        progress=advance,
    )
    spent.note()
    return result.arch
