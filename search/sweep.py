"""What a sweep varies: method, lambda, paths, budget and seed of searches, the networks of which are trained alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from search.methods import METHODS, RELAXED, CandidateMethod, RelaxedMethod
from search.settings import Amp

Objective = Literal["pareto", "dice"]
"""Dice and latency at once, or Dice of networks within their budget."""
_LAMBDA_SPREAD = 10.0


class Suggests(Protocol):
    """What of `optuna.Trial` is used: names and ranges go in, values come out."""

    def suggest_categorical(self, name: str, choices: tuple[str, ...]) -> Any:
        """One of the choices."""

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """A whole number, both ends included."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number; on a logarithmic scale if `log`."""


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """What a sweep is told, beside its space, data and LUT; a range whose ends are equal is a constant."""

    methods: tuple[str, ...]
    """Of nas-search."""
    paths: tuple[int, int]
    """Least and most."""
    budget_ms: tuple[float, float]
    """Least and most."""
    latency_weight: tuple[float, float] | None
    """Lambda, least and most; None for a tenth to ten times each method's own."""
    seeds: int
    """Seeds to choose from, from `seed` on."""
    seed: int
    """The first one; also of the trainings, the halves of the patients, and what the sweep tries."""
    objective: Objective
    """What is looked for."""
    epochs: int | None
    """Of each search; None for the method's own."""
    candidates: int
    """Networks in the first round of random and evolution."""
    train_epochs: int
    """Of the training that scores each network."""
    batch_size: int
    """Volumes in a step of a search."""
    amp: Amp
    """Precision of searches and trainings."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One search of a sweep."""

    method: str
    paths: int
    budget_ms: float
    seed: int
    latency_weight: float | None
    """Lambda; None for a method without."""


def suggest_plan(trial: Suggests, settings: SweepSettings) -> Plan:
    """Choose the next search.

    Args:
        trial: of optuna; one that is taken up again gives what it gave before.
        settings: of the sweep.
    """
    method = str(trial.suggest_categorical("method", settings.methods))
    weight = None
    if reads_lambda(method):
        low, high = settings.latency_weight or _spread(method)
        # A name of its own for each method: lambda of one is a thousand times that of another.
        weight = trial.suggest_float(f"lambda_{method}", low, high, log=True) if low < high else low
    return Plan(
        method=method,
        paths=trial.suggest_int("paths", *settings.paths),
        budget_ms=trial.suggest_float("budget_ms", *settings.budget_ms),
        seed=trial.suggest_int("seed", settings.seed, settings.seed + settings.seeds - 1),
        latency_weight=weight,
    )


def plan_of(params: Mapping[str, Any], settings: SweepSettings) -> dict[str, Any]:
    """What a trial's parameters say, lambda by one name; {} for a trial that has none yet."""
    if "method" not in params:
        return {}
    found = {name: value for name, value in params.items() if not name.startswith("lambda_")}
    if reads_lambda(params["method"]):
        low, _ = settings.latency_weight or _spread(params["method"])
        found["lambda"] = params.get(f"lambda_{params['method']}", low)
    return found


def reads_lambda(method: str) -> bool:
    """Whether a method weighs the latency by lambda."""
    return METHODS[method].reads_lambda


def planned_method(plan: Plan, settings: SweepSettings) -> RelaxedMethod | CandidateMethod:
    """The method of a plan, with what the plan and the sweep say in place of its own."""
    method = METHODS[plan.method]
    if isinstance(method, CandidateMethod):
        return method.choose({"epochs": settings.epochs, "candidates": settings.candidates})
    return method.choose({"epochs": settings.epochs, "latency_weight": plan.latency_weight})


def _spread(method: str) -> tuple[float, float]:
    own = RELAXED[method].latency_weight
    assert own is not None
    return own / _LAMBDA_SPREAD, own * _LAMBDA_SPREAD
