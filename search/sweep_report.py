"""What a sweep found: sweep.json, the networks that nothing beats, and a picture of all trials."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import TrialState

from cinert.arch import Arch, load_arch, save_arch
from search.draw_sweep import draw_sweep
from search.pareto import unbeaten
from search.run_folder import ARCH, FRONT
from search.sweep import SweepSettings, plan_of
from search.sweep_study import TRIALS, SweepStudy

SWEEP, PICTURE = "sweep.json", "sweep.png"
_STATES = {TrialState.COMPLETE: "complete", TrialState.FAIL: "failed", TrialState.RUNNING: "running"}
_FOUND = ("dice", "ms", "budget_met", "undecided", "seconds", "same_as", "reason")


def sweep_record(
    study: SweepStudy, identity: Mapping[str, Any], settings: SweepSettings, subjects: str
) -> dict[str, Any]:
    """What sweep.json holds: every trial, and the best ones; `subjects` says whose Dice that is."""
    trials = [
        {
            "number": trial.number,
            "state": _STATES[trial.state],
            "folder": f"{TRIALS}/{trial.number:04d}",
            **plan_of(trial.params, settings),
            **{name: trial.user_attrs[name] for name in _FOUND if name in trial.user_attrs},
        }
        for trial in study.trials()
        if trial.state in _STATES
    ]
    return {
        "schema": "cinert.sweep",
        "version": 1,
        "identity": dict(identity),
        "subjects": subjects,
        "trials": trials,
        "best": best_trials(trials, pareto=study.objective == "pareto"),
    }


def best_trials(trials: Sequence[Mapping[str, Any]], *, pareto: bool) -> list[int]:
    """Numbers of the trials that no other beats.

    Args:
        trials: as sweep.json holds them.
        pareto: all that no other beats in both Dice and latency, fastest first; else the most accurate one within its
            budget, if there is one.
    """
    complete = [trial for trial in trials if trial["state"] == "complete"]
    if not pareto:
        able = [trial for trial in complete if trial["budget_met"]]
        return [max(able, key=lambda trial: (trial["dice"], -trial["ms"]))["number"]] if able else []
    front = unbeaten(complete, cost=lambda trial: trial["ms"], dice=lambda trial: trial["dice"])
    return [trial["number"] for trial in front]


def keep_best(study: SweepStudy, record: Mapping[str, Any], *, title: str) -> None:
    """Copy the best networks into the run folder, and draw all trials.

    Writes RUN/pareto/NN.yaml, fastest first, or RUN/arch.yaml, and RUN/sweep.png where a trial is complete.
    """
    trials = {trial["number"]: trial for trial in record["trials"]}
    if study.objective == "pareto":
        shutil.rmtree(study.folder / FRONT, ignore_errors=True)
    for place, number in enumerate(record["best"], start=1):
        trial = trials[number]
        # A repeated trial has no files of its own.
        arch = load_arch(study.trial_folder(trial.get("same_as", number)) / ARCH)
        assert isinstance(arch, Arch)
        provenance = {**arch.provenance, "sweep_trial": number, "dice_on_the_other_half": round(trial["dice"], 4)}
        into = study.folder / ARCH
        if study.objective == "pareto":
            into = study.folder / FRONT / f"{place:02d}.yaml"
            into.parent.mkdir(parents=True, exist_ok=True)
        save_arch(into, dataclasses.replace(arch, provenance=provenance))
    if any(trial["state"] == "complete" for trial in record["trials"]):
        draw_sweep(study.folder / PICTURE, record, title=title)
