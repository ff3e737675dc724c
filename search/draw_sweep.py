"""A picture of a sweep's trials: estimated latency against Dice (sweep.png)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cinert.files import atomic_path
from search.draw_curves import INK

LOOKS = {
    "zeng2020": ("#0072B2", "o"),
    "rtdnas": ("#D55E00", "s"),
    "msnas": ("#009E73", "^"),
    "cinert": ("#CC79A7", "D"),
    "random": ("#666666", "x"),
    "evolution": ("#E69F00", "P"),
}
"""Of each method: one of Okabe and Ito's hues, and a marker that says the same without colour."""


def draw_sweep(path: Path, record: Mapping[str, Any], *, title: str) -> None:
    """Write the complete trials as PNG, those that nothing beats joined and numbered.

    Args:
        path: PNG to write, whole or not at all.
        record: as sweep.json holds it, with a complete trial at least.
        title: above the picture.
    """
    trials = [trial for trial in record["trials"] if trial["state"] == "complete"]
    best = {number: place for place, number in enumerate(record["best"])}
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    front = sorted((trial for trial in trials if trial["number"] in best), key=lambda trial: best[trial["number"]])
    if len(front) > 1:
        axes.plot(
            [trial["ms"] for trial in front],
            [trial["dice"] for trial in front],
            drawstyle="steps-post",
            color=INK,
            lw=1,
            alpha=0.6,
            label="no other is faster and as accurate",
        )
    for method, (colour, marker) in LOOKS.items():
        of = [trial for trial in trials if trial["method"] == method]
        if of:
            axes.plot(
                [trial["ms"] for trial in of], [trial["dice"] for trial in of], marker, color=colour, label=method, ms=6
            )
    for trial in front:
        axes.annotate(
            str(trial["number"]),
            (trial["ms"], trial["dice"]),
            (-4, 5),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=INK,
        )
    budgets = {trial["budget_ms"] for trial in trials}
    if len(budgets) == 1:
        axes.axvline(budgets.pop(), color="#D55E00", lw=1.2, ls="--", label="budget")
    failed = sum(trial["state"] == "failed" for trial in record["trials"])
    axes.margins(x=0.08, y=0.12)
    axes.set_xlabel("estimated latency, ms")
    axes.set_ylabel(f"mean Dice of {record['subjects']} after a short training")
    axes.set_title(f"{title}\n{len(trials)} trials" + (f", {failed} failed" if failed else ""), fontsize=10)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=130)
