"""How many epochs fit into the minutes that every network, and every search, is given."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.compare.clock import Clock, StepTimer, now_s
from bench.compare.setting import Setting
from cinert.architecture import Architecture
from cinert.files import read_json, write_json
from cinert.schema import check_keys, check_schema
from cinert.space import Space
from latency.cost import SpaceCosts
from latency.estimate import estimate
from latency.lut import Lut
from search.data import FoldData, halve_patients, patients_of
from search.halving import draw_candidates
from search.loop import Search
from search.oneshot.loop import OneShotSearch
from search.settings import HalvingSettings, SearchSettings
from search.sources import NOTHING, Sources
from search.training import Training, TrainingSettings

SCHEMA, VERSION = "cinert.comparison-plan", 1
PLAN = "plan.json"
PROBE_STEPS = 6
"""Steps that are timed; the first of them does not count."""
_PROBE_CANDIDATES = 3
"""Random networks that stand for all candidates of a search that trains them."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Epochs, and what they were fixed from."""

    epochs: int
    minutes: float
    """That they fill; one epoch is the least, and may take longer."""
    steps: int
    """In an epoch."""
    step_s: tuple[float, ...]
    """Seconds of a step by the comparison's clock: of a training, of both phases of a search, or of some candidates."""


def stored_plan(folder: Path, make: Callable[[], Plan]) -> Plan:
    """Read the plan of a folder, or make it and write it: a run that continues trains for as many epochs.

    Raises:
        BadInputError: what lies there is no plan.
    """
    path = folder / PLAN
    if not path.exists():
        plan = make()
        write_json(path, {"schema": SCHEMA, "version": VERSION, **dataclasses.asdict(plan)})
        return plan
    document = read_json(path, "the plan")
    fields = [field.name for field in dataclasses.fields(Plan)]
    check_schema(document, schema=SCHEMA, version=VERSION, source=str(path))
    check_keys(document, required=["schema", "version", *fields], source=str(path))
    return Plan(**{**{name: document[name] for name in fields}, "step_s": tuple(document["step_s"])})


def most_epochs(seconds: Callable[[int], float], limit_s: float, *, least: int) -> int:
    """The largest number of epochs that takes at most `limit_s`, and no fewer than `least`.

    Args:
        seconds: that a number of epochs takes; grows with it.
        limit_s: to stay within.
        least: to return at least.
    """
    most = least
    while seconds(2 * most) <= limit_s:
        most *= 2
    step = most
    while step:
        if seconds(most + step) <= limit_s:
            most += step
        step //= 2
    return most


def plan_training(
    arch: Architecture,
    setting: Setting,
    settings: TrainingSettings | None = None,
    *,
    minutes: float | None = None,
    sources: Sources = NOTHING,
) -> Plan:
    """Time a few steps of a training on the setting's data, and fill the minutes with epochs.

    Args:
        arch: to train.
        setting: of the comparison.
        settings: of the training; its epochs are not read. None takes the usual ones with the comparison's seed.
        minutes: to fill; all that a network has if None.
        sources: weights that the training reads.
    """
    settings = dataclasses.replace(settings or TrainingSettings(seed=setting.terms.seed), epochs=1)
    data = setting.data_on(arch.grid)
    step_s = training_step_s(arch, data, settings, setting.device, setting.terms.clock, sources=sources)
    steps = math.ceil(len(data.train) / settings.batch_size)
    minutes = setting.terms.minutes if minutes is None else minutes
    epochs = most_epochs(lambda count: count * steps * step_s, 60 * minutes, least=1)
    return Plan(epochs=epochs, minutes=minutes, steps=steps, step_s=(step_s,))


def training_step_s(
    arch: Architecture,
    data: FoldData,
    settings: TrainingSettings,
    device: torch.device,
    clock: Clock,
    *,
    sources: Sources = NOTHING,
) -> float:
    """Seconds of a step of a training by a clock, from a few steps.

    Args:
        arch: to train.
        data: of which a few frames are taken.
        settings: of one epoch.
        device: where to compute.
        clock: to read.
        sources: weights that the training reads.
    """
    few = dataclasses.replace(data, train=list(data.train[: PROBE_STEPS * settings.batch_size]), validation=[])
    training = Training(arch, few, settings, device, sources=sources)
    timer = StepTimer(clock)
    training.run_epoch(timer)
    return timer.step_s


def plan_search(
    space: Space, lut: Lut, settings: SearchSettings, setting: Setting, *, minutes: float | None = None
) -> Plan:
    """Time a few steps of both phases of a search, and fill the minutes with epochs.

    Args:
        space: with the method's relaxation.
        lut: prices.
        settings: of the search; its epochs are not read.
        setting: of the comparison.
        minutes: to fill; all that a search has if None.
    """
    # Two epochs are one of either phase.
    probe = dataclasses.replace(settings, epochs=2)
    ids = set(patients_of(setting.data.train)[: 2 * PROBE_STEPS])
    few = [sample for sample in setting.data.train if sample.patient_id in ids]
    search = Search(space, SpaceCosts.from_lut(lut, space), few, probe, setting.device)
    step_s = []
    while not search.finished:
        timer = StepTimer(setting.terms.clock)
        search.run_epoch(timer)
        step_s.append(timer.step_s)
    for_weights, _ = halve_patients(setting.data.train, settings.seed)
    steps = math.ceil(len(for_weights) / settings.batch_size)

    def seconds(epochs: int) -> float:
        return steps * (epochs // 2 * step_s[0] + (epochs - epochs // 2) * step_s[1])

    minutes = setting.terms.search_minutes if minutes is None else minutes
    epochs = most_epochs(seconds, 60 * minutes, least=2)
    return Plan(epochs=epochs, minutes=minutes, steps=steps, step_s=tuple(step_s))


def plan_candidates(space: Space, lut: Lut, settings: HalvingSettings, setting: Setting) -> Plan:
    """Time a few steps of random candidates, and fill the minutes with the trainings of a search that trains them.

    Args:
        space: to search.
        lut: prices.
        settings: of the search; its epochs are not read.
        setting: of the comparison.

    Returns:
        A plan whose epochs are those of the last round (`HalvingSettings.rounds`).

    Raises:
        BadInputError: too few random networks fit the budget.
    """
    candidates = draw_candidates(
        space,
        settings,
        min(_PROBE_CANDIDATES, settings.candidates),
        budget_ms=setting.terms.budget_ms,
        estimate_ms=lambda arch: estimate(arch, lut).ms,
    )

    def trained(epochs: int) -> int:
        return sum(count * each for count, each in dataclasses.replace(settings, epochs=epochs).rounds)

    return _plan_trainings(candidates, settings, setting, trained=trained, minutes=setting.terms.search_minutes)


def plan_selection(
    archs: Sequence[Architecture], settings: SearchSettings, setting: Setting, *, minutes: float
) -> Plan:
    """Time a few steps of each network, and fill the minutes with the trainings that choose among them.

    Args:
        archs: that are trained alike (`search.selection`).
        settings: of the search that decoded them.
        setting: of the comparison.
        minutes: to fill.
    """
    return _plan_trainings(archs, settings, setting, trained=lambda epochs: len(archs) * epochs, minutes=minutes)


def _plan_trainings(
    archs: Sequence[Architecture],
    settings: HalvingSettings | SearchSettings,
    setting: Setting,
    *,
    trained: Callable[[int], int],
    minutes: float,
) -> Plan:
    """Fill the minutes with trainings on half of the patients.

    Args:
        archs: to time; their mean stands for all that will be trained.
        settings: seed and size of the batches.
        setting: of the comparison.
        trained: epochs of all trainings together, by the plan's epochs.
        minutes: to fill.
    """
    samples, _ = halve_patients(setting.data.train, settings.seed)
    training = TrainingSettings(epochs=1, seed=settings.seed, batch_size=settings.batch_size)
    half = dataclasses.replace(setting.data, train=samples)
    taken = [training_step_s(arch, half, training, setting.device, setting.terms.clock) for arch in archs]
    step_s, steps = math.fsum(taken) / len(taken), math.ceil(len(samples) / settings.batch_size)
    epochs = most_epochs(lambda epochs: trained(epochs) * steps * step_s, 60 * minutes, least=1)
    return Plan(epochs=epochs, minutes=minutes, steps=steps, step_s=tuple(taken))


def plan_oneshot(
    make: Callable[[Sequence[str]], OneShotSearch], ids: Sequence[str], frames: int, setting: Setting
) -> Plan:
    """Time a few steps of a search with shared weights and the scoring of a network, and fill the minutes with epochs.

    Args:
        make: the search on some patients.
        ids: patients that weights are learnt on.
        frames: of theirs.
        setting: of the comparison.
    """
    search = make(ids[: 2 * PROBE_STEPS])
    settings = search.settings
    timer = StepTimer(setting.terms.clock)
    search.run_epoch(timer)
    begun = now_s(setting.terms.clock)
    search.score(search.population.members[0], search.averaged(), frames=settings.scored_frames)
    score_s = now_s(setting.terms.clock) - begun
    steps = math.ceil(frames / settings.batch_size)

    def seconds(epochs: int) -> float:
        scorings = dataclasses.replace(settings, epochs=epochs).generations + 1
        return epochs * steps * timer.step_s + scorings * settings.population * score_s

    minutes = setting.terms.search_minutes
    epochs = most_epochs(seconds, 60 * minutes, least=2)
    return Plan(epochs=epochs, minutes=minutes, steps=steps, step_s=(timer.step_s, score_s))
