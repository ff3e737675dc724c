"""A picture of a U-shaped network: its levels, what each block is, and the channels and voxels there (arch.png)."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from cinert.files import atomic_path
from cinert.ushape.arch import UShapeArch
from cinert.ushape.blocks import BLOCKS
from cinert.ushape.shape import Blocks

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_COLOURS = dict(zip(BLOCKS, ("#56B4E9", "#CC79A7", "#0072B2", "#E69F00", "#009E73", "#D55E00"), strict=True))
_ENDS = "#777777"
_STEP, _WIDTH, _HEIGHT = 1.25, 1.1, 0.42
_LEVEL = 1.15


def draw_ushape(path: Path, arch: UShapeArch, *, title: str) -> None:
    """Write the picture as PNG, whole or not at all."""
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    _draw(axes, arch)
    axes.set_title(title, fontsize=11)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=130)


def _draw(axes: Axes, arch: UShapeArch) -> None:
    shape, levels = arch.shape, len(arch.shape.widths)
    voxels = shape.shapes_DHW(arch.input_shape_DHW)
    names = [("stem",), *((),) * (levels - 1)]
    left = [(*names[level], *shape.encoder[level]) for level in range(levels)]
    right: list[Blocks] = [*shape.decoder, ()]
    starts = [0.0]
    for row in left[:-1]:
        starts.append(starts[-1] + max(1, len(row)) * _STEP)
    middle = starts[-1] + len(left[-1]) * _STEP + 0.6
    back = [middle]
    for row in reversed(right[1:-1]):
        back.append(back[-1] + len(row) * _STEP)
    back = list(reversed(back))
    for level in range(levels):
        y = -level * _LEVEL
        end = _row(axes, left[level], starts[level], y)
        if level < levels - 1:
            last = _row(axes, right[level] if level else (*right[0], "head"), back[level], y)
            _arrow(axes, (end, y), (back[level] - 0.1, y), "#999999", ":")
            _arrow(axes, (end - 0.3, y - _HEIGHT / 2), (starts[level + 1] + 0.35, y - _LEVEL + _HEIGHT / 2), "#222222")
            if level:
                _arrow(
                    axes, (last - 0.4, y + _HEIGHT / 2), (back[level - 1] + 0.3, y + _LEVEL - _HEIGHT / 2), "#222222"
                )
        text = f"{shape.widths[level]} channels\n{'x'.join(map(str, voxels[level]))}"
        axes.text(-0.35, y, text, ha="right", va="center", fontsize=9)
    y = -(levels - 1) * _LEVEL
    _arrow(axes, (middle - 0.6, y), (back[levels - 2] + 0.3, y + _LEVEL - _HEIGHT / 2), "#222222")
    grid = arch.chosen_grid
    axes.text(
        0,
        0.62,
        f"input {'x'.join(map(str, grid.shape_DHW))} of {' x '.join(f'{mm:.3g}' for mm in grid.spacing_mm)} mm",
        fontsize=9,
    )
    axes.set_xlim(-1.9, back[0] + (len(right[0]) + 1) * _STEP + 0.2)
    axes.set_ylim(y - 0.6, 1.0)
    axes.axis("off")


def _row(axes: Axes, blocks: Blocks, x: float, y: float) -> float:
    """Draw boxes side by side, and return where the row ends."""
    for place, name in enumerate(blocks):
        colour = _COLOURS.get(name, _ENDS)
        corner = (x + place * _STEP, y - _HEIGHT / 2)
        axes.add_patch(
            FancyBboxPatch(corner, _WIDTH, _HEIGHT, boxstyle="round,pad=0.02", fc=colour, ec="none", zorder=2)
        )
        label = name.replace("inplane-", "inplane\n")
        axes.text(corner[0] + _WIDTH / 2, y, label, ha="center", va="center", fontsize=8, color="white", zorder=3)
    return x + max(0, len(blocks) - 1) * _STEP + (_WIDTH if blocks else 0)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, style: str = "-") -> None:
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=11, color=colour, linestyle=style, lw=1.4, zorder=1
        )
    )
