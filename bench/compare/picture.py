"""The picture of a comparison: mean Dice against latency and throughput, after Lu 2022, Fig. 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from bench.compare.document import held_out, is_measured
from bench.plots import INK
from cinert.files import atomic_path
from cinert.provenance import counted, kind

GREY, LIMIT = "#9a9a9a", "#D55E00"
_LOOKS = {
    "designed": ("#0072B2", "s", "designed"),
    "searched": ("#E69F00", "o", "searched, the papers' methods"),
    "trained candidates": ("#CC79A7", "^", "best of candidates that were trained"),
    "ours": ("#009E73", "D", "searched by CineRT's method"),
    "random": (GREY, "o", "random"),
}
"""Colour and marker, of which either tells families apart."""
_AXES = {
    "latency": ("p50_ms", "engine latency, p50, host to host, ms"),
    "throughput": ("throughput_fps", "engine throughput, two frames in flight, frames/s"),
}


def draw_comparison(path: Path, document: Mapping[str, Any]) -> None:
    """Write the picture as PNG, our measurements alone; there has to be a measured network.

    Args:
        path: PNG to write, whole or not at all.
        document: of SUITE.json.
    """
    setting = document["setting"]
    named = [entry for entry in document["networks"] if is_measured(entry)]
    drawn = [entry for entry in document["random"] if is_measured(entry)]
    height = max(4.6, 2.2 + 0.24 * len(named))
    figure = Figure(figsize=(13, height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    limits = {
        "latency": (setting["budget_ms"], f"budget {setting['budget_ms']:g} ms"),
        "throughput": (setting["fps"], f"scanner {setting['fps']:g} frames/s"),
    }
    for axes, (name, (key, label)) in zip(panels, _AXES.items(), strict=True):
        _draw_front(axes, [*named, *drawn], document["front"][name], key)
        _draw_points(axes, drawn, key, numbered=False)
        _draw_points(axes, named, key, numbered=True)
        limit, words = limits[name]
        axes.axvline(limit, color=LIMIT, lw=1.2, ls="--")
        axes.annotate(words, (limit, 0.02), (-4, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
                      rotation=90, ha="right", va="bottom", fontsize=8, color=LIMIT)  # fmt: skip
        _scale(axes, [entry["ours"]["latency"][key] for entry in (*named, *drawn)] + [limit])
        axes.set_xlabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"mean Dice, held-out {kind(*held_out(document))}")
    panels[0].margins(y=0.12)
    figure.legend(handles=_legend(named, drawn), loc="outside right upper", frameon=False, fontsize=8.5)
    figure.suptitle(
        f"Networks of {document['source']}\n{setting['device']}, {setting['minutes']:g} minutes of training each,"
        f" space {setting['space'].split()[0]}, fold {setting['fold']}, {counted(*held_out(document))}",
        fontsize=10,
        # The legend reaches up to the right of it.
        x=0.01,
        ha="left",
    )
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=130)


def _draw_points(axes: Axes, entries: Sequence[Mapping[str, Any]], key: str, *, numbered: bool) -> None:
    places = [(entry["ours"]["latency"][key], entry["ours"]["dice"]["mean"]["mean"]) for entry in entries]
    # Numbers above and below in turn from left to right, so that those of neighbours do not meet.
    in_order = sorted(range(len(places)), key=lambda index: places[index])
    for rank, index in enumerate(in_order):
        colour, marker, _ = _LOOKS[entries[index]["family"]]
        axes.plot(
            *places[index], marker, color=colour, ms=8 if numbered else 5, alpha=0.9 if numbered else 0.7, zorder=3
        )
        if numbered:
            up = rank % 2 == 0
            axes.annotate(str(index + 1), places[index], (5, 5 if up else -5), textcoords="offset points", fontsize=9,
                          va="bottom" if up else "top", color=INK, zorder=4)  # fmt: skip


def _draw_front(axes: Axes, entries: Sequence[Mapping[str, Any]], front: Sequence[str], key: str) -> None:
    by_name = {entry["network"]: entry["ours"] for entry in entries}
    points = [(by_name[name]["latency"][key], by_name[name]["dice"]["mean"]["mean"]) for name in front]
    axes.plot(*zip(*points, strict=True), drawstyle="steps-post", color=INK, lw=1.1, alpha=0.6, zorder=1)


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Logarithmic, since networks of one table differ by orders of magnitude; plain numbers at the ticks."""
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 1.4, max(values) * 1.4)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, axis="both", alpha=0.2)


def _legend(named: Sequence[Mapping[str, Any]], drawn: Sequence[Mapping[str, Any]]) -> list[Line2D]:
    families = dict.fromkeys(entry["family"] for entry in (*named, *drawn))
    handles = [
        Line2D([], [], ls="", marker=_LOOKS[family][1], color=_LOOKS[family][0], label=_LOOKS[family][2])
        for family in families
    ]
    handles.append(Line2D([], [], color=INK, lw=1.1, alpha=0.6, label="Pareto front"))
    return handles + [
        Line2D([], [], ls="", label=f"{number}  {entry['title']}") for number, entry in enumerate(named, start=1)
    ]
