"""One trial of a sweep: a search, and a training that says how accurate its network is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cinert.progress import Advance
from cinert.space import Space
from latency.lut import Lut
from search.candidate_run import run_candidate_search
from search.data import FoldData, halve_patients
from search.methods import CandidateMethod
from search.problem import RunContext, SearchProblem
from search.run import run_search
from search.sweep import Plan, SweepSettings, planned_method
from search.train_run import run_training
from search.training import TrainingSettings
from search.undecided import undecided


@dataclass(frozen=True)
class TrialResult:
    """What a trial found."""

    dice: float
    """Mean over classes and frames of the other half of the training patients, on the network's grid."""
    ms: float
    """Estimated."""
    budget_met: bool
    undecided: tuple[str, ...] = ()
    """Of alpha, gamma and beta, those that a relaxed search left near a coin toss (`search.undecided`)."""


def run_trial(
    plan: Plan,
    space: Space,
    lut: Lut,
    data: FoldData,
    settings: SweepSettings,
    *,
    folder: Path,
    device: torch.device,
    progress: Advance,
) -> TrialResult:
    """Search, train on one half of the training patients and score on the other, or continue where a trial stopped.

    The halves and the seed of the training are the same in all trials, so that networks compare.

    Args:
        plan: of the search.
        space: to search.
        lut: prices of the device that will run the network.
        data: of the fold; only its training patients are used.
        settings: of the sweep.
        folder: of the trial.
        device: where to compute.
        progress: called with (what, done, in all).

    Raises:
        CineRTError: the search or the training cannot go on.
    """
    budget_met = True

    problem = SearchProblem(space=space, lut=lut, data=data, budget_ms=plan.budget_ms)
    context = RunContext(folder=folder, device=device, progress=progress).called("searching")
    method = planned_method(plan, settings)
    told: dict[str, Any] = {
        "paths": plan.paths,
        "seed": plan.seed,
        "batch_size": settings.batch_size,
        "amp": settings.amp,
    }
    if isinstance(method, CandidateMethod):
        arch = run_candidate_search(problem, method.settings(**told), context, method=method.proposer).arch
    else:
        decoded = run_search(problem, method.settings(budget_ms=plan.budget_ms, **told), context).decoded
        arch, budget_met = decoded.arch, decoded.budget_met is True
    first, second = halve_patients(data.train, settings.seed)
    trained = run_training(
        arch,
        dataclasses.replace(data, train=first, validation=second),
        TrainingSettings(epochs=settings.train_epochs, seed=settings.seed, amp=settings.amp),
        folder=folder / "training",
        device=device,
        validate_every=settings.train_epochs,
        progress=lambda _, done, total: progress("training", done, total),
    )
    assert arch.estimate is not None
    return TrialResult(
        dice=float(trained.metrics["validation"]["mean"]["mean"]),
        ms=float(arch.estimate["ms"]),
        budget_met=budget_met,
        undecided=tuple(undecided(arch.provenance.get("entropy", {}))),
    )
