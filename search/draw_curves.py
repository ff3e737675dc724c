"""Curves of a training and of a search, over their epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator

from cinert.colours import hexadecimal
from cinert.files import atomic_path
from cinert.scores import Score
from cinert.space import CLASSES
from search.draw import PATH_COLOURS

INK = "#333333"
# Markers tell them apart without colour, and a dark rim lifts yellow off white.
_MARKERS = {"rv": "o", "myo": "s", "lv": "^"}
_RIM = [Stroke(linewidth=2, foreground=INK), Normal()]
Curve = Sequence[tuple[int, float]]
"""(epoch counted from 1, value)."""


def draw_training(path: Path, epochs: Sequence[Mapping[str, Any]], *, who: str) -> None:
    """Write the picture of a training as PNG: loss, Dice on held-out patients, learning rate.

    Args:
        path: PNG to write, whole or not at all.
        epochs: as metrics.json has them: epoch and loss; what none has of dice and learning_rate is not drawn.
        who: was held out, `patients` or `phantoms`.
    """
    scores = [(record["epoch"], record["dice"]) for record in epochs if "dice" in record]
    rates = [(record["epoch"], record["learning_rate"]) for record in epochs if "learning_rate" in record]
    figure, panels = _panels(1 + bool(scores) + bool(rates))
    _draw_one(panels[0], [(record["epoch"], record["loss"]) for record in epochs], "cross-entropy\n+ Dice loss")
    if scores:
        _draw_dice(panels[1], scores, who)
    if rates:
        _draw_one(panels[-1], rates, "learning rate")
    _save(path, figure, panels[-1])


def _draw_one(axes: Axes, curve: Curve, label: str) -> None:
    axes.plot(*_split(curve), color=INK, lw=1.2)
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)


def _draw_dice(axes: Axes, scores: Sequence[tuple[int, Mapping[str, Score]]], who: str) -> None:
    for name in CLASSES[1:]:
        curve = _known(scores, name)
        if not curve:
            continue  # a structure that nobody who was held out shows
        label = f"{name.upper()} {curve[-1][1]:.3f}"
        axes.plot(
            *_split(curve),
            marker=_MARKERS[name],
            ms=3.5,
            mec=INK,
            mew=0.4,
            color=hexadecimal(name),
            lw=1.2,
            label=label,
            path_effects=_RIM,
        )
    if mean := _known(scores, "mean"):
        axes.plot(*_split(mean), color=INK, lw=2, label=f"mean {mean[-1][1]:.3f}")
    axes.set_ylabel(f"Dice, held-out\n{who},\nnetwork's grid")
    axes.set_ylim(0, 1)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9, title="last", title_fontsize=9)


def _known(scores: Sequence[tuple[int, Mapping[str, Score]]], name: str) -> Curve:
    return [(epoch, score) for epoch, dice in scores if (score := dice[name]) is not None]


def draw_search(path: Path, curves: Mapping[str, Curve], *, budget_ms: float | None = None) -> None:
    """Write the picture of a search as PNG: losses, expected latency, how undecided its choices are, temperature.

    Args:
        path: PNG to write, whole or not at all.
        curves: by scalar, as `search.run_log.read_scalars` gives them; what was not logged is not drawn.
        budget_ms: drawn as a line where it lies within the picture.
    """
    groups = [[name for name in group if name in curves] for group in _GROUPS]
    groups = [group for group in groups if group]
    figure, panels = _panels(len(groups))
    for axes, names in zip(panels, groups, strict=True):
        for name in names:
            label, colour = _LOOKS[name]
            axes.plot(*_split(curves[name]), marker=".", color=colour, lw=1.2, label=label)
        if names == ["latency_ms"] and budget_ms is not None:
            axes.axhline(budget_ms, color=PATH_COLOURS[1], lw=1, ls="--", label=f"budget {budget_ms:g} ms")
        axes.set_ylabel(_UNITS[names[0]])
        axes.set_ylim(0, 1.05 if _UNITS[names[0]] == _ENTROPY else None)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    _save(path, figure, panels[-1])


_GROUPS = (
    ("weight_loss", "arch_loss"),
    ("latency_ms",),
    ("alpha_entropy", "gamma_entropy", "beta_entropy"),
    ("temperature",),
    ("multiplier",),
)
_ENTROPY = "entropy,\n1 = undecided"
_UNITS = {
    "weight_loss": "cross-entropy",
    "arch_loss": "cross-entropy",
    "latency_ms": "expected\nlatency, ms",
    "alpha_entropy": _ENTROPY,
    "gamma_entropy": _ENTROPY,
    "beta_entropy": _ENTROPY,
    "temperature": "Gumbel\ntemperature",
    "multiplier": "multiplier\nof the budget",
}
_LOOKS = {
    "weight_loss": ("weights' patients", INK),
    "arch_loss": ("architecture's patients", PATH_COLOURS[1]),
    "latency_ms": ("latency term", PATH_COLOURS[0]),
    "alpha_entropy": ("alpha: ops", PATH_COLOURS[0]),
    "gamma_entropy": ("gamma: inputs of nodes", PATH_COLOURS[2]),
    "beta_entropy": ("beta: edges of paths", PATH_COLOURS[1]),
    "temperature": ("temperature", INK),
    "multiplier": ("multiplier", INK),
}


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(9, 0.5 + 1.75 * count), layout="constrained")
    return figure, list(np.atleast_1d(np.asarray(figure.subplots(count, 1, sharex=True))))


def _split(curve: Curve) -> tuple[list[int], list[float]]:
    return [epoch for epoch, _ in curve], [value for _, value in curve]


def _save(path: Path, figure: Figure, last: Axes) -> None:
    last.set_xlabel("epoch")
    last.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.align_ylabels()
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=130)
