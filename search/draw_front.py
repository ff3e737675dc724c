"""A picture of the networks that a search found for several budgets (RUN/pareto/front.png)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cinert.files import atomic_path
from search.draw import PATH_COLOURS
from search.draw_curves import INK
from search.pareto import ParetoPoint


def draw_front(path: Path, front: Sequence[ParetoPoint], *, budget_ms: float, title: str, who: str) -> None:
    """Write latency against Dice as PNG.

    Args:
        path: PNG to write, whole or not at all.
        front: fastest first.
        budget_ms: drawn as a line.
        title: above the picture.
        who: was trained and scored on, `patients` or `phantoms`.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    times, scores = [point.ms for point in front], [point.dice for point in front]
    axes.plot(times, scores, drawstyle="steps-post", color=PATH_COLOURS[0], lw=1.2, alpha=0.6)
    axes.plot(times, scores, "o", ms=7, color=PATH_COLOURS[0])
    for number, point in enumerate(front, start=1):
        text = f"{number:02d}: {len(point.arch.paths)} path{'s' if len(point.arch.paths) > 1 else ''}"
        # Above the line on the right half, where text below would cross the budget.
        place, side = ((-6, 6), "right") if point.ms > budget_ms / 2 else ((6, -11), "left")
        axes.annotate(text, (point.ms, point.dice), place, textcoords="offset points", ha=side, fontsize=8, color=INK)
    axes.axvline(budget_ms, color=PATH_COLOURS[1], lw=1.2, ls="--", label=f"budget {budget_ms:g} ms")
    axes.set_xlim(0, 1.15 * max(budget_ms, *times))
    axes.margins(y=0.15)
    axes.set_xlabel("estimated latency, ms")
    axes.set_ylabel(f"mean Dice on the other half of the {who}")
    axes.set_title(title, fontsize=10)
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=130)
