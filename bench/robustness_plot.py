"""The picture of bench-robustness: Dice and score against strength, and how far the score can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.corruptions import CORRUPTIONS
from bench.plots import BAD, GOOD, INK
from bench.quality_fit import Aim
from bench.quality_worth import ScoredMask, by_strength, reliability
from bench.robustness import CLEAN
from cinert.files import atomic_path

_COLUMNS = 4


def save_robustness_plot(path: Path, scored: Sequence[ScoredMask], aim: Aim, *, title: str) -> None:
    """Draw a panel per corruption, the reliability of the score, and the scores of good and bad masks.

    Args:
        path: of the picture; its suffix chooses the format.
        scored: masks, clean ones among them.
        aim: what a good mask is.
        title: what was scored.

    Raises:
        BadInputError: the picture cannot be written.
    """
    # Slow to import, and only pictures need it. Figure without pyplot: no window system is looked for.
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import: matplotlib

    names = [name for name in CORRUPTIONS if any(mask.sample.corruption == name for mask in scored)]
    rows = -(-(len(names) + 2) // _COLUMNS)
    figure = Figure(figsize=(15, 3.7 * rows), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    panels = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    table = by_strength(scored)
    for axes, name in zip(panels, names, strict=False):
        _strengths(axes, name, table, aim)
    handles, words = panels[0].get_legend_handles_labels()
    figure.legend(handles, words, loc="outside upper right", ncols=len(words), fontsize=9, frameon=False)
    _reliability(panels[len(names)], scored)
    _scores(panels[len(names) + 1], scored, aim)
    for axes in panels[len(names) + 2 :]:
        axes.set_axis_off()
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=100)


def _strengths(axes: Any, name: str, table: list[dict[str, Any]], aim: Aim) -> None:
    rows = [row for row in table if row["corruption"] in (CLEAN, name)]
    strength = [CORRUPTIONS[name].none if row["corruption"] == CLEAN else row["strength"] for row in rows]
    axes.plot(strength, [row["mean_dice"] for row in rows], "o-", color=GOOD, label="mean Dice")
    axes.plot(strength, [row["score"] for row in rows], "s--", color=BAD, label="quality score")
    axes.bar(
        strength,
        [row["unsure"] for row in rows],
        width=max(strength) / 16,
        color="#cccccc",
        zorder=0,
        label="share of masks unsure",
    )
    axes.axhline(aim.good_dice, color=INK, linewidth=0.8, linestyle=":", label=f"good: Dice {aim.good_dice:g}")
    axes.set(title=CORRUPTIONS[name].words, xlabel=CORRUPTIONS[name].meaning, ylabel="0 to 1", ylim=(0, 1.02))
    axes.title.set_fontsize(10.5)


def _reliability(axes: Any, scored: Sequence[ScoredMask]) -> None:
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label="score = Dice")
    for clean, words, colour, size in ((False, "corrupted", "#9a9a9a", 2.5), (True, "clean", GOOD, 4)):
        masks = [mask for mask in scored if (mask.sample.corruption == CLEAN) == clean]
        axes.plot(
            [m.score for m in masks], [m.sample.mean_dice for m in masks], "o", color=colour, ms=size, label=words
        )
    bins = reliability(scored)
    axes.plot(
        [row["score"] for row in bins], [row["mean_dice"] for row in bins], "s-", color=BAD, ms=6, label="mean of a bin"
    )
    axes.set(
        title="Reliability, a point per mask", xlabel="quality score", ylabel="mean Dice", xlim=(0, 1), ylim=(0, 1)
    )
    axes.title.set_fontsize(10.5)
    axes.legend(loc="upper left", fontsize=9, frameon=False)


def _scores(axes: Any, scored: Sequence[ScoredMask], aim: Aim) -> None:
    edges = np.linspace(0, 1, 26)
    bad = [mask.score for mask in scored if mask.sample.mean_dice < aim.good_dice]
    good = [mask.score for mask in scored if mask.sample.mean_dice >= aim.good_dice]
    axes.hist(good, edges, color=GOOD, alpha=0.75, label=f"{len(good)} good masks")
    axes.hist(bad, edges, histtype="step", color=BAD, linewidth=2, hatch="//", label=f"{len(bad)} bad masks")
    lowest = [mask.score for mask in scored if not mask.unsure]
    if lowest:
        axes.axvline(min(lowest), color=INK, linewidth=1, linestyle="--", label="unsure below")
    axes.set(title=f"Masks below and above Dice {aim.good_dice:g}", xlabel="quality score", ylabel="masks", xlim=(0, 1))
    axes.title.set_fontsize(10.5)
    axes.legend(loc="upper left", fontsize=9, frameon=False)
