"""A sweep: trial after trial until there are enough, beside other processes that do the same."""

from __future__ import annotations

import errno
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from optuna.storages import BaseStorage
from optuna.trial import Trial

from cinert.errors import CineRTError
from cinert.files import check_writable, read_json, write_json
from cinert.progress import Advance
from cinert.resume import refuse_other_settings
from cinert.space import Space
from latency.lut import Lut
from search.data import FoldData
from search.records import search_identity
from search.run_folder import ARCH, CONFIG, FRONT
from search.sweep import SweepSettings, suggest_plan
from search.sweep_report import PICTURE, SWEEP, keep_best, sweep_record
from search.sweep_study import TRIALS, SweepStudy
from search.sweep_trial import TrialResult, run_trial

# What ails the machine would fail every trial to come: the sweep stops, and the trial is taken up again.
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE}


def run_sweep(
    space: Space,
    lut: Lut,
    data: FoldData,
    settings: SweepSettings,
    *,
    trials: int,
    storage: BaseStorage,
    folder: Path,
    device: torch.device,
    progress: Advance,
    on_trial: Callable[[dict[str, Any]], None] = lambda _: None,
    restart: bool = False,
) -> dict[str, Any]:
    """Run trials until the sweep has so many, those of other processes included.

    A trial that fails is recorded with its reason, and the sweep goes on. A trial whose process was killed is taken up
    where it stopped.

    Args:
        space: to search.
        lut: prices of the device that will run the networks.
        data: of the fold; only its training patients are used.
        settings: of the sweep.
        trials: in all.
        storage: where they are recorded.
        folder: of the run, which all processes of the sweep share.
        device: where to compute.
        progress: called with (what, done, in all).
        on_trial: called with the record of the sweep after each trial.
        restart: throw away what the folder and the storage hold of this sweep.

    Returns:
        What sweep.json holds.

    Raises:
        BadInputError: the folder holds another sweep, or cannot be written.
    """
    identity = search_identity(space, lut, data, settings.to_dict())
    subjects = data.kind(data.train)
    check_writable(folder / SWEEP)
    if not restart:
        # Before it is entered in the storage, which may be a database that others use.
        _refuse_another(folder, identity)
    study = SweepStudy(
        storage,
        folder,
        identity=json.dumps(identity, sort_keys=True),
        objective=settings.objective,
        seed=settings.seed,
    )
    with study.alone():
        _prepare(study, identity, restart=restart)
    while (claimed := study.next(trials)) is not None:
        trial, claim = claimed
        with claim:
            _work(study, trial, space, lut, data, settings, device, progress)
        with study.alone():
            record = sweep_record(study, identity, settings, subjects)
            write_json(folder / SWEEP, record)
        on_trial(record)
    with study.alone():
        record = sweep_record(study, identity, settings, subjects)
        write_json(folder / SWEEP, record)
        keep_best(study, record, title=f"{space.name}: searches for {lut.title}")
    return record


def _prepare(study: SweepStudy, identity: dict[str, Any], *, restart: bool) -> None:
    config = study.folder / CONFIG
    if restart:
        study.forget()
        for name in (SWEEP, CONFIG, PICTURE, ARCH):
            (study.folder / name).unlink(missing_ok=True)
        for name in (TRIALS, FRONT):
            shutil.rmtree(study.folder / name, ignore_errors=True)
    if config.exists():
        _refuse_another(study.folder, identity)
    else:
        write_json(config, {"schema": "cinert.sweep-config", "version": 1, "identity": identity})


def _refuse_another(folder: Path, identity: dict[str, Any]) -> None:
    if (folder / CONFIG).exists():
        refuse_other_settings(folder, read_json(folder / CONFIG, "the sweep").get("identity", {}), identity)


def _work(
    study: SweepStudy,
    trial: Trial,
    space: Space,
    lut: Lut,
    data: FoldData,
    settings: SweepSettings,
    device: torch.device,
    progress: Advance,
) -> None:
    """Run a trial to its end, good or bad."""
    start = time.monotonic()
    try:
        plan = suggest_plan(trial, settings)
        if (twin := study.twin(trial)) is not None:
            trial.set_user_attr("same_as", twin.number)
            found = TrialResult(
                **{name: twin.user_attrs[name] for name in ("dice", "ms", "budget_met")},
                undecided=tuple(twin.user_attrs.get("undecided", ())),
            )
        else:
            found = run_trial(
                plan,
                space,
                lut,
                data,
                settings,
                folder=study.trial_folder(trial.number),
                device=device,
                progress=lambda what, done, total: progress(f"trial {trial.number}, {what}", done, total),
            )
        trial.set_user_attr("seconds", round(time.monotonic() - start, 1))
        if found.undecided:
            trial.set_user_attr("undecided", list(found.undecided))
        study.finish(trial, dice=found.dice, ms=found.ms, budget_met=found.budget_met)
    except Exception as error:
        if _is_of_the_machine(error):
            raise
        study.fail(trial, error.message if isinstance(error, CineRTError) else _one_line(error))
        if device.type == "cuda":
            # What ran out of memory must not take the next one along.
            torch.cuda.empty_cache()


def _is_of_the_machine(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _MACHINE:
            return True
        error = error.__cause__
    return False


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
