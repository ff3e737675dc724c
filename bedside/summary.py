"""The still picture of a cine: three levels of the heart at ED and ES, the curves, the figures. For paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bedside.overlay import banner, label, legend
from bedside.overlay_canvas import Canvas
from bedside.overlay_chart import VENTRICLES, Story, latency_strip, volume_chart
from bedside.overlay_style import PRINT
from bedside.overlay_tile import tile
from bedside.overlay_view import LEVELS, View, level_view
from cinert.colours import CLASS_COLOURS
from cinert.data.nifti import Cine
from cinert.files import atomic_path

_SCALE = 2
"""Pixels per point: 2000 pixels across are 250 dpi on a page 20 cm wide."""
_WIDTH = 1000
_PAD = 24
_GAP = 6
_TILE = 220
_HEADER = 64
_BANNER = 34
_ROW_HEAD = 26
_CHART = 190
_STRIP = 180
_FIGURES = 320
_FOOTER = 26


def write_summary(path: Path, cine: Cine, mask: NDArray[np.uint8], story: Story, *, source: str) -> None:
    """Write the summary of a segmented cine as a PNG.

    Args:
        path: ends in .png.
        cine: (x, y, z, t).
        mask: the same shape, 0..3.
        story: latency, volumes and function.
        source: what was segmented, written at the top.

    Raises:
        BadInputError: the path cannot be written.
    """
    view = level_view(cine.image, mask, cine.geometry, ed_phase=story.function["ed_phase"])
    picture = draw_summary(view, story, source=source)
    with atomic_path(path) as partial:
        picture.save(partial, "PNG", optimize=True, dpi=(250, 250))


def draw_summary(view: View, story: Story, *, source: str) -> Image.Image:
    """Draw the summary; the arguments are those of `write_summary`."""
    tall, wide = (side / max(view.side_mm) for side in view.side_mm)
    width, height = round(_TILE * wide), round(_TILE * tall)
    row = height + _ROW_HEAD
    # Slices of a narrow image are low; the figures beside them need their room all the same.
    head = _HEADER + (_BANNER if story.has_doubts else 0)
    charts = head + max(2 * row + 2 * _GAP, _FIGURES + _STRIP)
    canvas = Canvas(_WIDTH, charts + _CHART + _FOOTER + _PAD, PRINT, scale=_SCALE)
    theme = canvas.theme
    canvas.text((_PAD, 24), canvas.fitted(source, _WIDTH - 2 * _PAD, size=19), size=19)
    canvas.text((_PAD, 48), canvas.fitted(story.title, _WIDTH - 2 * _PAD, size=13), size=13, fill=theme.dim)
    if story.has_doubts:
        banner(canvas, (_PAD, _HEADER, _WIDTH - _PAD, head - 8), _doubt(story))
    tiles = []
    ends = (
        (("End diastole", "ed_phase"), ("End systole", "es_phase")) if story.beats else (("The only one", "ed_phase"),)
    )
    for number, (words, key) in enumerate(ends):
        phase, top = story.function[key], head + number * (row + _GAP)
        when = "" if story.time_step_ms is None else f", {phase * story.time_step_ms:.0f} ms"
        canvas.text((_PAD, top + _ROW_HEAD / 2), f"{words}: phase {phase + 1}{when}", size=15)
        for column, name in enumerate(view.names):
            image = tile(
                view.image_SYXT[column, ..., phase],
                view.mask_SYXT[column, ..., phase],
                (width * _SCALE, height * _SCALE),
                contour_px=2.5,
            )
            label(image, name, size=12 * _SCALE)
            tiles.append((image, (_PAD + column * (width + _GAP), top + _ROW_HEAD)))
    figures = _PAD + len(LEVELS) * (_TILE + _GAP) + _PAD
    legend(canvas, (figures, head + _ROW_HEAD / 2), None, step=80)
    _figures(canvas, story, (figures, head + _ROW_HEAD + 24, _WIDTH - _PAD))
    latency_strip(canvas, (figures, charts - _STRIP - _GAP, _WIDTH - _PAD, charts - 2 * _GAP), story)
    volume_chart(canvas, (_PAD, charts + 2 * _GAP, _WIDTH - _PAD, charts + _CHART), story)
    canvas.text(
        (_PAD, canvas.size[1] - _FOOTER / 2 - 6),
        "Research software, not a medical device. Volumes count voxels; ED and ES are the LV's largest and smallest"
        " volume.",
        size=11,
        fill=theme.dim,
    )
    return canvas.finish(tiles)


def _doubt(story: Story) -> str:
    """Why the page is not to be relied on, or how many of its phases are not."""
    if story.unsure:
        return story.unsure
    doubts = [doubt for doubt in story.unsure_phases if doubt]
    return f"{len(doubts)} of {len(story.unsure_phases)} phases: {doubts[0]}"


def _figures(canvas: Canvas, story: Story, place: tuple[float, float, float]) -> None:
    left, y, right = place
    columns = {"lv": left + 0.66 * (right - left), "rv": right}
    for name in VENTRICLES:
        canvas.text((columns[name], y), name.upper(), size=15, anchor="rm")
        canvas.box((columns[name] - 26, y + 11, columns[name], y + 15), fill=CLASS_COLOURS[name])
    ends = (("EDV, ml", "edv_ml"), ("ESV, ml", "esv_ml"), ("SV, ml", "sv_ml"), ("EF, %", "ef_percent"))
    for words, key in ends if story.beats else (("volume, ml", "edv_ml"),):
        y += 30
        canvas.text((left, y), words, size=15, fill=canvas.theme.dim)
        for name in VENTRICLES:
            value = story.function[name][key]
            if key == "sv_ml" and story.function[name]["ef_percent"] is None:
                value = None  # nor is it a volume that was ejected
            canvas.text((columns[name], y), "-" if value is None else f"{value:.0f}", size=17, anchor="rm")
    y += 30
    canvas.text((left, y), "MYO mass, g", size=15, fill=canvas.theme.dim)
    canvas.text((columns["lv"], y), f"{story.function['myo_mass_g']:.0f}", size=17, anchor="rm")
    y += 12
    for name in VENTRICLES:
        if story.function[name]["ef_percent"] is None:
            y += 24
            canvas.text((left, y), f"{name.upper()}: {story.ejection_words(name)}", size=13)
    median = np.median(story.latency_ms)
    canvas.text((left, y + 30), "frame to mask, p50", size=15, fill=canvas.theme.dim)
    canvas.text((right, y + 30), f"{median:.1f} ms", size=15, anchor="rm")
