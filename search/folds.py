"""Trainings of one architecture on all five folds, and what they say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cinert.files import write_json
from cinert.scores import Score, mean_of, spread_of
from search.train_run import FOREGROUND, TrainingResult

SCHEMA, VERSION = "cinert.folds", 1
FILE = "folds.json"
_SCORES = (*FOREGROUND, "mean")


def fold_folder(folder: Path, fold: int) -> Path:
    """Run folder of a fold's training."""
    return folder / f"fold-{fold}"


def summarise_folds(results: Sequence[TrainingResult]) -> dict[str, Any]:
    """Mean and standard deviation of the Dice on held-out patients.

    Two deviations, both of the sample (n - 1): `std` over the means of the folds, which tells how much the training
    data matter, and `patients` over all patients, each held out once, which tells how much patients differ.

    Args:
        results: of the folds in order, with patients held out.

    Returns:
        What folds.json holds.
    """
    folds = [result.metrics for result in results]
    means = [[metrics["validation"]["mean"][name] for name in _SCORES] for metrics in folds]
    patients = [scores for metrics in folds for scores in _by_patient(metrics).values()]
    settings = {name: value for name, value in folds[0]["settings"].items() if name != "fold"}
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "grid": "network",
        "settings": settings,
        "folds": [
            {
                "fold": metrics["settings"]["fold"],
                "patients": metrics["patients"],
                "dice": metrics["validation"]["mean"],
                "seconds": metrics["seconds"],
            }
            for metrics in folds
        ],
        **_mean_and_std(means),
        "patients": {"n": len(patients), **_mean_and_std(patients)},
        "phantoms": sum(metrics["phantoms"]["validation"] for metrics in folds),
    }


def write_folds(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write RUN/folds.json."""
    write_json(folder / FILE, summary)


def _by_patient(metrics: Mapping[str, Any]) -> dict[str, list[Score]]:
    """Mean over the frames of each held-out patient."""
    frames: dict[str, list[list[Score]]] = {}
    for frame in metrics["validation"]["frames"]:
        frames.setdefault(frame["id"], []).append([frame["dice"][name] for name in _SCORES])
    return {id_: [mean_of(column) for column in zip(*scores, strict=True)] for id_, scores in frames.items()}


def _mean_and_std(rows: Sequence[Sequence[Score]]) -> dict[str, dict[str, Score]]:
    columns = list(zip(*rows, strict=True))
    return {
        "mean": dict(zip(_SCORES, map(mean_of, columns), strict=True)),
        "std": dict(zip(_SCORES, map(spread_of, columns), strict=True)),
    }
