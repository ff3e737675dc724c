"""Page and picture of `--suite ours-vs-designed`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.compare.document import SCORES, held_out
from bench.compare.markdown import number, table
from bench.compare.versus import OURS
from cinert.files import atomic_path
from cinert.provenance import counted, kind
from cinert.quiet import BUSY

_COLOURS = {
    OURS: "#009E73",
    "unet2d": "#0072B2",
    "unet3d": "#56B4E9",
    "nas-unet": "#CC79A7",
    "nnunet": "#E69F00",
    "aniso-unet": "#D55E00",
}
_OTHER = "#333333"


def versus_page(document: Mapping[str, Any], *, picture: str) -> str:
    """Write the page as Markdown.

    Args:
        document: of ours-vs-designed.json.
        picture: file beside the page; named where a network was measured.
    """
    setting = document["setting"]
    who = kind(*held_out(document))
    busy = f", {BUSY}: it was taken with --allow-busy" if setting["lut_busy"] else ""
    total = setting["minutes"] + setting["search_minutes"]
    clock = "of wall-clock time" if setting["clock"] == "wall" else "of CPU time per thread"
    learnt = setting["phantoms"]["train"]
    lines = [
        "# Searched networks against designed ones at the same latency",
        "",
        f"- {setting['device']}, {setting['engine']}, {setting['threads']} threads; LUT {setting['lut']}{busy}.",
        f"- Data: {setting['data_folder']}, fold {setting['fold']}:"
        f" {counted(setting['patients']['train'] - learnt, learnt)} to train on, {setting['patients']['held_out']} held"
        f" out (digest {setting['data']}).",
        f"- Ours: {setting['search_minutes']:g} minutes of search and {setting['minutes']:g} of training, which begins"
        f" with what the network learnt in the search. Designed: {total:g} minutes of training. Minutes {clock};"
        f" deep supervision {setting.get('deep_supervision', 0):g} for all that have levels for it.",
        "- Designed networks are scaled by one factor of their widths until their measured p50 is within 5 % of the"
        " latency; each reads the grid that it was designed for.",
        "",
        "## Who is ahead",
        "",
        *_duel_lines(document["duels"], who),
        "",
        "## Dice and latency",
        "",
        f"Dice of the held-out {who} on their original grid: the mean over seeds, and of each seed. Latency: engine,"
        " host to host, median of the seeds' p50.",
        "",
        *_rows(document["networks"]),
    ]
    missing = [run for row in document["networks"] for run in row["runs"] if run["state"] != "finished"]
    if missing:
        lines += ["", "## Not in the tables", ""]
        lines += [
            f"- `{run['network']}`: {run['state']}{'' if run['reason'] is None else ': ' + run['reason']}"
            for run in missing
        ]
    if any(_point(row) is not None for row in document["networks"]):
        lines += ["", f"![Dice against latency]({picture})"]
    return "\n".join(lines) + "\n"


def _duel_lines(duels: Sequence[Mapping[str, Any]], who: str) -> list[str]:
    if not duels:
        return ["No latency has both ours and a designed network yet."]
    header = ["latency ms", "best designed", "ours less that", "95 % interval", f"{who} ahead", "seeds"]
    rows = [
        [
            f"{duel['latency_ms']:g}",
            duel["against"],
            f"{duel['difference']:+.4f}",
            f"{duel['interval'][0]:+.4f} to {duel['interval'][1]:+.4f}",
            f"{duel['patients_ahead']} of {duel['patients']}",
            str(len(duel["seeds"])),
        ]
        for duel in duels
    ]
    return [*table(header, rows), "", "Interval: bootstrap over seeds and patients together, paired."]


def _rows(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    header = ["latency ms", "network", "p50 ms", "Dice", *(name.upper() for name in SCORES[:-1]), "each seed"]
    header += ["M parameters", "CPU minutes"]
    rows = []
    for row in sorted(networks, key=lambda row: (row["latency_ms"], -(row["dice"] or 0.0))):
        runs = [run for run in row["runs"] if run["dice"] is not None]
        point = _point(row)
        minutes = [sum(run[part]["cpu_minutes"] for part in ("search", "training") if run[part]) for run in runs]
        rows.append(
            [
                f"{row['latency_ms']:g}",
                f"**{row['kind']}**" if row["kind"] == OURS else row["kind"],
                number(point, lambda found: f"{found[0]:.2f}"),
                number(row["dice"], lambda dice: f"{dice:.4f}"),
                *(_mean(runs, name) for name in SCORES[:-1]),
                " ".join(f"{run['dice']['mean']['mean']:.4f}" for run in runs) or "-",
                number(row["runs"][0]["parameters"], lambda found: f"{found / 1e6:.2f}"),
                number(float(np.mean(minutes)) if minutes else None, lambda found: f"{found:.1f}"),
            ]
        )
    return table(header, rows, left=2)


def _mean(runs: Sequence[Mapping[str, Any]], name: str) -> str:
    found = [run["dice"][name]["mean"] for run in runs if run["dice"][name]["mean"] is not None]
    return f"{np.mean(found):.3f}" if found else "-"


def _point(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """Latency and Dice of a row; None until one of its runs has both."""
    runs = [run for run in row["runs"] if run["state"] == "finished"]
    if not runs:
        return None
    latency = float(np.median([run["latency"]["p50_ms"] for run in runs]))
    return latency, float(np.mean([run["dice"]["mean"]["mean"] for run in runs]))


def draw_versus(path: Path, document: Mapping[str, Any]) -> None:
    """Write the picture as PNG: a line for each kind, and each seed a dot; there has to be a measured network.

    Args:
        path: PNG to write, whole or not at all.
        document: of ours-vs-designed.json.
    """
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    kinds = dict.fromkeys(row["kind"] for row in document["networks"])
    for name in kinds:
        rows = [row for row in document["networks"] if row["kind"] == name]
        points = sorted(point for row in rows if (point := _point(row)) is not None)
        colour = _COLOURS.get(name, _OTHER)
        if points:
            axes.plot(*zip(*points, strict=True), "-o", color=colour, lw=2.2 if name == OURS else 1.2, label=name)
        for row in rows:
            for run in row["runs"]:
                if run["state"] == "finished":
                    axes.plot(run["latency"]["p50_ms"], run["dice"]["mean"]["mean"], ".", color=colour, ms=5, alpha=0.5)
    setting = document["setting"]
    axes.set_xlabel("engine latency, p50, host to host, ms")
    axes.set_ylabel(f"mean Dice, {counted(*held_out(document))}")
    axes.set_title(f"{setting['device']}, fold {setting['fold']}; dots: seeds", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.2)
    axes.legend(frameon=False, fontsize=9)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=130)
