"""A picture of a decoded network: its paths on the scale-by-layer grid, and its three cells (arch.png)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch

from cinert.arch import Arch, CellGenotype, live_edges
from cinert.files import atomic_path
from cinert.op_registry import specs_of
from cinert.paths import CELL_KINDS, CellKind, Edge, legal_edges, walk
from cinert.space import OpName

# Okabe and Ito's colours, which colour-blind readers can tell apart.
PATH_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
CELL_NAMES: dict[CellKind, str] = {"ct": "contracting cell", "ns": "non-scaling cell", "ep": "expanding cell"}


def draw_arch(path: Path, arch: Arch, *, title: str) -> None:
    """Write the picture as PNG, whole or not at all."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    colours = {op: spec.colour for op, spec in specs_of(arch.space.ops).items()}
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=[1.75, 1]))
    _draw_grid(above.subplots(), arch, title)
    for axes, kind in zip(below.subplots(1, len(CELL_KINDS)), CELL_KINDS, strict=True):
        used = any(edge.kind == kind for edge in arch.edges)
        cell = live_edges(arch.cells[kind]) if kind in arch.cells else None
        _draw_cell(axes, cell, CELL_NAMES[kind], used, colours)
    handles = [Line2D([], [], color=colour, lw=2, label=op) for op, colour in colours.items()]
    below.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=130)


def _draw_grid(axes: Axes, arch: Arch, title: str) -> None:
    space = arch.space
    legal = legal_edges(space.layers, space.scales)
    vertices = {(edge.layer, edge.source) for edge in legal} | {(edge.layer + 1, edge.target) for edge in legal}
    used = {(edge.layer, edge.source) for edge in arch.edges} | {(edge.layer + 1, edge.target) for edge in arch.edges}
    for edge in legal:
        _arrow(axes, edge, "#dddddd", 0.0, 0.8)
    paths_of: defaultdict[Edge, list[int]] = defaultdict(list)
    for number, path in enumerate(arch.paths):
        for edge in walk(path):
            paths_of[edge].append(number)
    for edge, numbers in paths_of.items():
        # Paths that share an edge run side by side; one alone meets its vertices in the middle.
        for lane, number in enumerate(numbers):
            offset = 0.09 * (lane - (len(numbers) - 1) / 2)
            _arrow(axes, edge, PATH_COLOURS[number % len(PATH_COLOURS)], offset, 2.4)
    for layer, scale in sorted(vertices):
        inside = (layer, scale) in used
        axes.plot(layer, -scale, "o", ms=15 if inside else 9, mfc="white" if inside else "#eeeeee",
                  mec="#222222" if inside else "#cccccc", zorder=3)  # fmt: skip
    for x, text in ((-0.55, "stem"), (space.layers + 0.55, "head")):
        axes.text(x, 0, text, ha="center", va="center", fontsize=10)
    handles = [
        Line2D([], [], color=PATH_COLOURS[number % len(PATH_COLOURS)], lw=2.4, label=", ".join(path))
        for number, path in enumerate(arch.paths)
    ]
    handles.append(Line2D([], [], color="#555555", lw=1.6, ls=":", label="skip"))
    axes.legend(handles=handles, loc="lower center", ncols=2, frameon=False, fontsize=9, bbox_to_anchor=(0.5, -0.28))
    axes.set_title(title, fontsize=11)
    axes.set_xlim(-0.9, space.layers + 0.9)
    axes.set_ylim(-space.scales + 0.55, 0.5)
    axes.set_xticks(range(space.layers + 1), [f"layer {layer}" for layer in range(space.layers + 1)], fontsize=9)
    axes.set_yticks(
        [-scale for scale in range(space.scales)],
        [
            f"scale {scale}\n{'x'.join(map(str, shape))}, {space.vertex_channels(scale)} ch."
            for scale, shape in enumerate(space.shapes_DHW)
        ],
        fontsize=9,
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _arrow(axes: Axes, edge: Edge, colour: str, offset: float, width: float) -> None:
    skip = edge.kind == "skip"
    axes.add_patch(
        FancyArrowPatch(
            (edge.layer, -edge.source + offset),
            (edge.layer + 1, -edge.target + offset),
            arrowstyle="-|>",
            mutation_scale=11,
            # A skip and a cell join the same vertices: the skip bends.
            connectionstyle="arc3,rad=-0.28" if skip else "arc3",
            linestyle=":" if skip else "-",
            color=colour,
            lw=width,
            shrinkA=8,
            shrinkB=8,
            zorder=1 if width < 1 else 2,
        )
    )


def _draw_cell(axes: Axes, cell: CellGenotype | None, name: str, used: bool, colours: Mapping[OpName, str]) -> None:
    axes.set_title(name if used else f"{name} (on no path)", fontsize=10, color="#222222" if used else "#999999")
    axes.axis("off")
    if cell is None:
        return
    nodes = len(cell)
    x_of = [0.0, *(1.0 + node for node in range(nodes)), nodes + 1.0]
    # Numbered as arch.yaml numbers inputs: 0 is the preprocessed input, 1 the first node.
    labels = ["pre", *(str(1 + node) for node in range(nodes)), "cat"]
    for node, edges in enumerate(cell):
        for edge in edges:
            _cell_arrow(axes, x_of[edge.input], x_of[node + 1], colours[edge.op], "-", 2.2)
        _cell_arrow(axes, x_of[node + 1], x_of[-1], "#cccccc", "-" if edges else ":", 1.0, upwards=False)
    for x, label in zip(x_of, labels, strict=True):
        empty = label.isdigit() and not cell[int(label) - 1]
        axes.text(
            x,
            0,
            label,
            ha="center",
            va="center",
            fontsize=9,
            color="#aaaaaa" if empty else "#222222",
            bbox={"boxstyle": "circle,pad=0.35", "fc": "white", "ec": "#cccccc" if empty else "#222222"},
            zorder=3,
        )
    axes.set_xlim(-0.5, nodes + 1.5)
    axes.set_ylim(-1.1, 1.1)


def _cell_arrow(
    axes: Axes, start: float, end: float, colour: str, style: str, width: float, *, upwards: bool = True
) -> None:
    # Longer arrows bend further, so that they pass over the nodes between.
    bend = 0.0 if end - start <= 1 else 0.42
    axes.add_patch(
        FancyArrowPatch(
            (start, 0),
            (end, 0),
            arrowstyle="-|>",
            mutation_scale=10,
            connectionstyle=f"arc3,rad={-bend if upwards else bend}",
            linestyle=style,
            color=colour,
            lw=width,
            shrinkA=12,
            shrinkB=12,
            zorder=2 if upwards else 1,
        )
    )
