"""All networks of a comparison through all stages; one that fails is recorded, and the rest goes on."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from bench.compare.recipes import Designed, Searched, Trained
from bench.compare.stages import STAGES, Job, Stage, run_stage, train_localiser
from cinert.device_lock import Use, device_of
from cinert.errors import BadInputError, CineRTError
from cinert.files import read_json, write_json
from cinert.progress import Advance
from search.choose import require_in_time
from search.fastest import require_budget

FAILED = "failed.json"

Hold = Callable[[str, Use], AbstractContextManager[None]]
"""Holds a device while computing or measuring there."""


class Watch(Protocol):
    """Who follows a comparison: progress bars, and the report that is written again after each network."""

    def stage(self, title: str) -> AbstractContextManager[Advance]:
        """A stage begins; gives what to tell its progress."""

    def network_done(self, job: Job) -> None:
        """All stages of a network up to its measurement are over, or its measurement is."""


def reason_not_to_run(job: Job, *, restart: bool = False) -> str | None:
    """Why a network cannot be built on the comparison's space, or cannot meet its budget; None where it can.

    A network whose arch.yaml is there is taken as it is, unless a restart is about to throw it away.
    """
    recipe, setting = job.recipe, job.setting
    if job.done("arch") and not restart:
        return None
    try:
        if isinstance(recipe, Designed):
            recipe.build(setting.space)
        elif isinstance(recipe, Searched):
            recipe.require_fit(setting.space)
            if setting.lut is not None and recipe.chosen.holds_upper:
                require_in_time(recipe.chosen, setting.space, setting.lut, setting.terms.budget_ms)
    except BadInputError as error:
        return error.message
    return None


def require_prices(jobs: Sequence[Job], *, restart: bool = False) -> None:
    """Refuse searches without prices, and a budget that no network of the space meets.

    A network whose arch.yaml is there needs none, unless a restart is about to throw it away.

    Raises:
        BadInputError: naming the networks, or the fastest network of the space.
    """
    searched = [job for job in jobs if isinstance(job.recipe, Searched | Trained) and (restart or not job.done("arch"))]
    if not searched:
        return
    setting = searched[0].setting
    if setting.lut is None:
        raise BadInputError(
            f"{', '.join(job.name for job in searched)} are searched, and there are no prices.",
            hint="measure them with bench-ops and give --lut, or choose others with --networks.",
        )
    require_budget(setting.space, setting.lut, setting.terms.budget_ms, upper=False)


def run_all(jobs: Sequence[Job], *, until: Stage, hold: Hold, watch: Watch) -> None:
    """Take every network through the stages, or on from where an earlier run stopped.

    Measuring comes last, all networks in a row, so that they meet the machine in the same state.

    Args:
        jobs: networks that can be run.
        until: last stage to do.
        hold: takes a device for computing or measuring.
        watch: is told what happens.

    Raises:
        CineRTError: the localiser could not be trained.
    """
    if not jobs:
        return
    setting, wanted = jobs[0].setting, STAGES[: STAGES.index(until) + 1]
    computing = [stage for stage in wanted if stage != "verify"]
    engine_device = device_of(setting.backend, setting.engine_device)
    if "bundle" in wanted and not setting.localiser.exists():
        with hold(str(setting.device), "compute"), watch.stage("localiser") as show:
            train_localiser(setting, show)
    for number, job in enumerate(jobs, start=1):
        title = f"{number}/{len(jobs)} {job.name}"
        if not all(job.done(stage) for stage in computing):
            with hold(str(setting.device), "compute"), watch.stage(title) as show, _recorded(job) as attempt:
                for stage in computing:
                    attempt(stage, show)
            watch.network_done(job)
    if until == "verify":
        ready = [job for job in jobs if job.done("accuracy") and not job.done("verify")]
        for number, job in enumerate(ready, start=1):
            title = f"{number}/{len(ready)} {job.name}"
            with hold(engine_device, "measure"), watch.stage(title) as show, _recorded(job) as attempt:
                attempt("verify", show)
            watch.network_done(job)


@contextmanager
def _recorded(job: Job) -> Iterator[Callable[[Stage, Advance], None]]:
    """Gives what does a stage unless it is done; what a stage raises is written to failed.json, and ends the block."""
    now: list[Stage] = []

    def attempt(stage: Stage, show: Advance) -> None:
        now.append(stage)
        if not job.done(stage):
            run_stage(stage, job, show)

    path = job.folder / FAILED
    try:
        yield attempt
    except CineRTError as error:
        write_json(path, {"stage": now[-1], "reason": str(error), "traceback": None})
    except Exception as error:  # whatever it is, the other networks are no worse for it
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        write_json(path, {"stage": now[-1], "reason": text, "traceback": traceback.format_exc()})
    else:
        path.unlink(missing_ok=True)


def read_failure(folder: Path) -> str | None:
    """Stage and reason of what failed in a network's folder; None where nothing did."""
    path = folder / FAILED
    if not path.exists():
        return None
    record = read_json(path, "the failure")
    return f"{record['stage']}: {record['reason']}"
