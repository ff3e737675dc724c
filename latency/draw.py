"""A picture of a latency table: every part timed alone, its price in a network, and the device's roofline bound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cinert.files import atomic_path
from latency.family import named, panels
from latency.lut import Lut, Row
from latency.roofline import Roofline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers can tell apart.
ALONE, PRICE, INK = "#56B4E9", "#D55E00", "#222222"
PANEL_INCH = 0.75
_ROW_INCH = 0.21
_HEIGHT = 0.72
DOTS = (0, (1, 0.8))
"""Line style of a bound by arithmetic."""


def draw_lut(path: Path, lut: Lut) -> None:
    """Write the picture as PNG, whole or not at all; one panel per scale, each with its own axis in ms.

    Raises:
        BadInputError: the picture cannot be written.
    """
    # Slow to import, and only pictures need it. Figure without pyplot: no window system is looked for.
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import: matplotlib
    from matplotlib.lines import Line2D  # noqa: PLC0415 - slow to import: matplotlib
    from matplotlib.patches import Patch  # noqa: PLC0415 - slow to import: matplotlib

    drawn = [(heading, rows) for heading, rows in _by_scale(lut) if rows]
    heights = [PANEL_INCH + _ROW_INCH * len(rows) for _, rows in drawn]
    figure = Figure(figsize=(9.5, 1.15 + sum(heights)), layout="constrained")
    grid = np.asarray(figure.subplots(len(drawn), 1, height_ratios=heights, squeeze=False))
    for axes, (heading, rows) in zip(grid[:, 0], drawn, strict=True):
        _draw_panel(axes, rows, lut, title=heading)
    grid[-1, 0].set_xlabel("ms (each scale has its own axis)", fontsize=9)
    handles: list[Patch | Line2D] = [
        Patch(color=ALONE, label=f"timed alone, {lut.machine}"),
        Line2D([], [], color=PRICE, marker="D", ls="", ms=5, label="price in a network, standard error"),
    ]
    if lut.roofline is not None:
        handles.append(Line2D([], [], color=INK, lw=2.2, label="least possible: memory"))
        handles.append(Line2D([], [], color=INK, lw=2.2, ls=DOTS, label="least possible: arithmetic"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    figures = "ms alone" if lut.roofline is None else "ms alone (times the least possible)"
    heading = f"{lut.title}, space {lut.space.name}: {figures}"
    figure.suptitle(f"{heading}\n{roofline_words(lut.roofline)}", fontsize=10)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=130)


def roofline_words(roofline: Roofline | None) -> str:
    """The rates of a device in one line, for people."""
    if roofline is None:
        return "roofline not measured"
    return (
        f"copy {roofline.copy_gb_s:.1f} GB/s in main memory, matrix product {roofline.matrix_gflop_s:.0f} GFLOP/s;"
        " less than 1x ran from the cache"
    )


def _by_scale(lut: Lut) -> list[tuple[str, list[Row]]]:
    """Rows by the scale that they are paid at, that of their output, under its heading."""
    return [(heading, [row for row in lut.rows if row.key.shape_out == shape]) for heading, shape in panels(lut.space)]


def _draw_panel(axes: Axes, rows: Sequence[Row], lut: Lut, *, title: str) -> None:
    places = np.arange(len(rows))
    alone = [row.quiet_ms for row in rows]
    learned = [lut.prices.parts[row.key.label] for row in rows]
    prices, upper = [price.ms for price in learned], [price.ms + price.error_ms for price in learned]
    # A price is not negative, and neither is the lower end of its error.
    errors = [[min(price.ms, price.error_ms) for price in learned], [price.error_ms for price in learned]]
    axes.barh(places, alone, height=_HEIGHT, color=ALONE, zorder=1)
    axes.errorbar(prices, places, xerr=errors, fmt="none", ecolor=PRICE, elinewidth=1.4, capsize=2, zorder=4)
    axes.plot(prices, places, "D", color=PRICE, ms=5, mec="white", mew=0.6, zorder=4, clip_on=False)
    bounds = None if lut.roofline is None else [lut.roofline.bound(row.key) for row in rows]
    for place, ms in enumerate(alone):
        words = f"{ms:.3f}"
        if bounds is not None:
            bound_ms, limit = bounds[place]
            style = "-" if limit == "memory" else DOTS
            ends = [place - _HEIGHT / 2, place + _HEIGHT / 2]
            axes.plot([bound_ms, bound_ms], ends, color=INK, lw=2.2, ls=style, zorder=3, solid_capstyle="butt")
            words += f"  ({ms / bound_ms:.1f}x)" if bound_ms else ""
        # Beyond whatever is drawn in the row, so that nothing lies under the text.
        right = max(ms, upper[place], 0.0 if bounds is None else bounds[place][0])
        axes.annotate(words, (right, place), (7, 0), textcoords="offset points", va="center", fontsize=7.5)
    axes.set_yticks(places, [_short(row, lut) for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.16 * max(*alone, *upper, *(ms for ms, _ in bounds or [])))
    axes.set_title(title, fontsize=9, loc="left", fontweight="bold")
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _short(row: Row, lut: Lut) -> str:
    """Kind and channels; the panel says the size, but for parts that change it."""
    key = row.key
    words = named(lut.space, key)
    return words + ("" if key.shape_in == key.shape_out else f" from {'x'.join(map(str, key.shape_in))}")
