"""What nas-search, nas-sweep and train-arch tell their user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from cinert.architecture import Architecture
from cinert.cli import console, print_verdict
from cinert.provenance import counted, kind
from cinert.quiet import BUSY
from cinert.scores import in_digits
from search.table import print_table
from search.undecided import COIN_TOSS, undecided_words

if TYPE_CHECKING:
    from search.data import FoldData
    from search.decode import Decoded
    from search.halving import HalvingResult
    from search.selection import Selection
    from search.sweep import Objective
    from search.train_run import TrainingResult


def report_candidates(best: HalvingResult, candidates: int, folder: Path, who: str) -> None:
    """Say which candidate was the best, and on whom: `patients` or `phantoms`."""
    for path in best.arch.paths:
        say(f"  path [{', '.join(path)}]")
    found = estimate_words(best.arch.estimate or {})
    say_wrapped(f"{found}; the best of {candidates}, Dice {best.score:.3f} on the other half of the {who}.")
    say(f"Wrote {folder / 'arch.yaml'} and arch.png beside it. Next: train-arch {folder / 'arch.yaml'}")


def warn_of_seen(arch: Architecture, found: FoldData) -> None:
    """Say so when the search has already seen patients that this training holds out."""
    seen = {record["id"] for record in arch.provenance.get("seen_patients", [])}
    both = sorted(seen & {sample.patient_id for sample in found.validation})
    if both:
        say(
            f"Note: the search of {arch.source} saw {len(both)} of the held-out patients ({', '.join(both[:3])}"
            f"{', ...' if len(both) > 3 else ''}): their Dice flatters. Use the search's --fold."
        )


def report_search(selection: Selection, epochs: int, budget_ms: float, folder: Path, who: str) -> None:
    """Say what was found by each search, what was kept of it, whether that fits the budget, and whose Dice it is."""
    results = selection.results
    for number, result in enumerate(results):
        if result.resumed_at:
            say(f"Continued after epoch {result.resumed_at} of {epochs}.")
        if len(results) > 1:
            seed = result.decoded.arch.provenance["seed"]
            more = f" and {len(result.cheaper)} of smaller budgets" if result.cheaper else ""
            kept = "; the kept one is of this seed" if number == selection.best else ""
            say(f"seed {seed}: {estimate_words(result.decoded.arch.estimate or {})}{more}{kept}")
    decoded = selection.decoded
    for path, probability in zip(decoded.arch.paths, decoded.probabilities, strict=True):
        say(f"  path [{', '.join(path)}], probability {probability:.3g}")
    say_wrapped(_against_the_budget(decoded, budget_ms))
    if (words := undecided_words(decoded.arch.provenance.get("entropy", {}))) is not None:
        say_wrapped(f"Note: {words} More --epochs or a higher --arch-learning-rate let it decide.")
    if selection.dice is not None:
        say(f"Dice {selection.dice:.3f} on the other half of the {who}, the best of {selection.trained}.")
    if selection.front:
        say(f"{selection.front} of them are beaten by no other: {folder / 'pareto'}.")
    say(f"Wrote {folder / 'arch.yaml'} and arch.png beside it. Next: train-arch {folder / 'arch.yaml'}")


def estimate_words(estimate: Mapping[str, Any]) -> str:
    """An estimate's milliseconds, and BUSY where the LUT behind it was taken with --allow-busy."""
    return f"{estimate['ms']:.1f} ms estimated{f' ({BUSY} LUT)' if estimate.get('busy') else ''}"


def _against_the_budget(decoded: Decoded, budget_ms: float) -> str:
    hard = decoded.arch.provenance["loss"] == "lagrangian"
    estimate = decoded.arch.estimate or {}
    said = estimate_words(estimate) + (f", at most {estimate['high_ms']:.1f} ms" if hard else "")
    over = {"paths": decoded.paths_passed_over, "sets of cells": decoded.cells_passed_over}
    more = " and ".join(f"{count} more probable {what}" for what, count in over.items() if count)
    decoder = decoded.arch.provenance["decoder"]
    if decoded.is_fastest:
        return f"{said}: the fastest network of the space; nothing more probable is within {budget_ms:g} ms."
    if decoded.budget_met:
        decoded_ms = decoded.arch.provenance["budget_ms"]
        of_smaller = "" if decoded_ms == budget_ms else f", decoded for {decoded_ms:.3g} ms"
        passed = f"; {more} would have {'missed it' if decoder == 'longest' else 'been slower'}." if more else "."
        return f"{said}, within the budget of {budget_ms:g} ms{of_smaller}{passed}"
    if decoder == "longest":
        return (
            f"{said}: nothing probable fits the budget of {budget_ms:g} ms, and the most probable path is kept."
            " Search with a larger --lambda, or by --method cinert."
        )
    return f"{said}: over the budget of {budget_ms:g} ms. Keep fewer --paths, or take --decoder longest."


def report_training(result: TrainingResult, epochs: int) -> None:
    """Say how accurate the network is on held-out patients."""
    if result.resumed_at:
        say(f"Continued after epoch {result.resumed_at} of {epochs}.")
    mean = result.metrics["validation"]["mean"]
    if mean is None:
        say("No patient was held out, so there is no validation Dice.")
    else:
        classes = ", ".join(f"{name.upper()} {in_digits(mean[name])}" for name in ("rv", "myo", "lv"))
        held_out, phantoms = (result.metrics[key]["validation"] for key in ("patients", "phantoms"))
        who = counted(held_out - phantoms, phantoms, adjective="held-out")
        say(f"Dice on {who}, network grid: {classes}, mean {in_digits(mean['mean'])}.")
    say(f"Wrote {result.folder / 'weights.safetensors'}. Next: export-engine {result.folder / 'arch.yaml'}")


def report_folds(summary: dict[str, Any], folder: Path) -> None:
    """Print the Dice of each fold, and their mean and standard deviation."""
    names = ("rv", "myo", "lv", "mean")
    phantoms = summary["phantoms"]
    who = kind(summary["patients"]["n"] - phantoms, phantoms)
    rows = [
        [str(one["fold"]), str(one["patients"]["validation"]), *(in_digits(one["dice"][name]) for name in names)]
        for one in summary["folds"]
    ]
    held_out = str(summary["patients"]["n"])
    rows.append(["mean", held_out, *(in_digits(summary["mean"][name]) for name in names)])
    rows.append(["std", "", *(in_digits(summary["std"][name]) for name in names)])
    print_table(
        f"Dice on held-out {who}, network grid",
        ["fold", who, "RV", "MYO", "LV", "mean"],
        rows,
    )
    say(f"Wrote {folder / 'folds.json'}.")


def report_sweep(record: dict[str, Any], folder: Path, objective: Objective, *, busy: bool) -> None:
    """Print a sweep's trials, the best ones first, and say where their networks are.

    Args:
        record: sweep.json.
        folder: of the run.
        objective: what was looked for.
        busy: whether the LUT behind the latencies was taken with --allow-busy.
    """
    best = {number: place for place, number in enumerate(record["best"])}
    trials = sorted(record["trials"], key=lambda trial: (best.get(trial["number"], len(best)), trial["number"]))
    rows = [
        [
            f"{trial['number']}{' *' if trial['number'] in best else ''}",
            trial.get("method", ""),
            *(_number(trial.get(name)) for name in ("lambda", "paths", "budget_ms", "seed", "ms")),
            "" if "dice" not in trial else f"{trial['dice']:.3f}",
            trial.get("reason") or _remark(trial),
        ]
        for trial in trials
    ]
    header = ["trial", "method", "lambda", "paths", "budget ms", "seed", "ms", "Dice", ""]
    latency = f"latency estimated by a {BUSY} LUT" if busy else "estimated latency"
    print_table(f"Trials (*: no other is better; ms: {latency}; Dice of {record['subjects']})", header, rows)
    if any("undecided" in trial for trial in trials):
        say_wrapped(
            f"Undecided: choices whose entropy was above {COIN_TOSS:g} at the end of the search; 1 is a coin toss."
        )
    running = sum(trial["state"] == "running" for trial in trials)
    if running:
        say(f"{running} trials still run in other processes; the last one to end writes the picture with all of them.")
    if best:
        where = folder / "pareto" if objective == "pareto" else folder / "arch.yaml"
        say(f"Wrote {folder / 'sweep.json'}, {folder / 'sweep.png'} and {where}. Next: train-arch.")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _remark(trial: dict[str, Any]) -> str:
    if "same_as" in trial:
        return f"as trial {trial['same_as']}"
    remarks = ["over its budget"] if trial.get("budget_met") is False else []
    if "undecided" in trial:
        remarks.append(f"undecided {', '.join(trial['undecided'])}")
    if trial["state"] != "complete":
        remarks.append(str(trial["state"]))
    return "; ".join(remarks)


def say(text: str) -> None:
    """Print a line as it is."""
    console.print(text, markup=False)


def say_wrapped(text: str) -> None:
    """Print a line of several figures, wrapped between words."""
    print_verdict(escape(text))
