"""A picture of two LUTs: every part alone in both, its prices in a network, and the least possible on each device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cinert.files import atomic_path
from latency.compare import Comparison, Side, by_scale, machines
from latency.draw import DOTS, INK, PANEL_INCH
from latency.lut import Lut

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOUR_A, COLOUR_B = "#56B4E9", "#E69F00"
_ROW_INCH = 0.34
_HEIGHT = 0.38


def draw_comparison(path: Path, a: Lut, b: Lut, items: Sequence[Comparison]) -> None:
    """Write the picture as PNG, whole or not at all; one panel per scale, each with its own axis in ms.

    Raises:
        BadInputError: the picture cannot be written.
    """
    # Slow to import, and only pictures need it. Figure without pyplot: no window system is looked for.
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import: matplotlib
    from matplotlib.lines import Line2D  # noqa: PLC0415 - slow to import: matplotlib
    from matplotlib.patches import Patch  # noqa: PLC0415 - slow to import: matplotlib

    panels = list(by_scale(items))
    heights = [PANEL_INCH + _ROW_INCH * len(members) for _, members in panels]
    figure = Figure(figsize=(9.5, 1.7 + sum(heights)), layout="constrained")
    grid = np.asarray(figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False))
    for axes, (heading, members) in zip(grid[:, 0], panels, strict=True):
        _draw_panel(axes, members, heading)
    grid[-1, 0].set_xlabel(f"ms alone, {machines(a, b)} (each scale has its own axis)", fontsize=9)
    handles: list[Patch | Line2D] = [
        Patch(color=COLOUR_A, label="A alone"),
        Patch(color=COLOUR_B, label="B alone"),
        Line2D([], [], color="white", mec=INK, marker="D", ls="", ms=5, label="price in a network"),
    ]
    if a.roofline is not None or b.roofline is not None:
        handles.append(Line2D([], [], color=INK, lw=2.2, label="least possible: memory"))
        handles.append(Line2D([], [], color=INK, lw=2.2, ls=DOTS, label="least possible: arithmetic"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8.5)
    sides = [f"{name}: {lut.title}, {_rates(lut)}" for name, lut in (("A", a), ("B", b))]
    figure.suptitle("\n".join([*sides, f"space {a.space.name}; at the end of each row: A / B, alone"]), fontsize=9)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=130)


def _rates(lut: Lut) -> str:
    if lut.roofline is None:
        return "roofline not measured"
    return f"copy {lut.roofline.copy_gb_s:.1f} GB/s, matrix product {lut.roofline.matrix_gflop_s:.0f} GFLOP/s"


def _draw_panel(axes: Axes, items: Sequence[Comparison], heading: str) -> None:
    for place, item in enumerate(items):
        ends = [
            _draw_side(axes, place + offset, side, colour)
            for side, colour, offset in ((item.a, COLOUR_A, -_HEIGHT / 2), (item.b, COLOUR_B, _HEIGHT / 2))
        ]
        # Beyond whatever is drawn in the row, so that nothing lies under the text.
        axes.annotate(
            f"{item.ratio:.2f}x", (max(ends), place), (8, 0), textcoords="offset points", va="center", fontsize=7.5
        )
    axes.set_yticks(np.arange(len(items)), [item.name for item in items], fontsize=8)
    axes.set_ylim(len(items) - 0.4, -0.6)
    axes.set_xlim(0, 1.1 * axes.get_xlim()[1])
    axes.set_title(heading, fontsize=9, loc="left", fontweight="bold")
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_side(axes: Axes, place: float, side: Side, colour: str) -> float:
    """Draw bar, price and bound; return how far to the right they reach, in ms."""
    right = side.ms
    axes.barh(place, side.ms, height=_HEIGHT, color=colour, zorder=1)
    if side.price_ms is not None:
        axes.plot(side.price_ms, place, "D", color="white", mec=INK, mew=0.8, ms=4, zorder=4, clip_on=False)
        right = max(right, side.price_ms)
    if side.bound is not None:
        bound_ms, limit = side.bound
        ends = [place - _HEIGHT / 2, place + _HEIGHT / 2]
        style = "-" if limit == "memory" else DOTS
        axes.plot([bound_ms, bound_ms], ends, color=INK, lw=2.2, ls=style, zorder=3, solid_capstyle="butt")
        right = max(right, bound_ms)
    return right
