"""The picture of bench-ranking: what networks learn alone, against what predicts it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.plots import GOOD
from cinert.files import atomic_path


def save_ranking_plot(path: Path, document: Mapping[str, Any]) -> None:
    """Write the picture as PNG: Dice against inherited score, FLOPs and latency, and seed against seed.

    Args:
        path: PNG to write, whole or not at all.
        document: of ranking.json.
    """
    networks, seeds, tau = document["networks"], document["plan"]["seeds"], document["kendall_tau"]
    dice = np.array([[one["dice"][str(seed)] for seed in seeds] for one in networks])
    panels = [
        ("inherited", "Dice with shared weights", [one["inherited"] for one in networks], dice.mean(axis=1)),
        ("flops", "GFLOP", [one["flops"] / 1e9 for one in networks], dice.mean(axis=1)),
        ("ms", "estimated latency, ms", [one["ms"] for one in networks], dice.mean(axis=1)),
    ]
    if len(seeds) > 1:
        panels.append(("ceiling", f"Dice, training of seed {seeds[0]}", list(dice[:, 0]), dice[:, 1]))
    figure = Figure(figsize=(3.2 * len(panels), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, label, x, y) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        axes.plot(x, y, "o", color=GOOD, ms=6, alpha=0.8)
        axes.set_xlabel(label)
        axes.set_title("" if tau[name] is None else f"tau {tau[name]:.2f}", fontsize=10, loc="left")
        axes.set_ylabel(f"Dice, training of seed {seeds[1]}" if name == "ceiling" else "Dice, trained alone")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, alpha=0.2)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=130)
