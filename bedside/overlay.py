"""One frame of the beating heart: slices with their classes, the volumes so far, latency against the budget."""

from __future__ import annotations

import math
from collections.abc import Mapping

from PIL import Image

from bedside.overlay_canvas import Canvas
from bedside.overlay_chart import VENTRICLES, Story, latency_strip, volume_chart
from bedside.overlay_style import MONITOR, Box
from bedside.overlay_tile import tile
from bedside.overlay_view import View
from cinert.colours import CLASS_COLOURS

TILE_PX = 208
MIN_TILE_PX = 120
_GAP = 4
_HEADER = 40
_PAD = 14
_PANEL_WIDTH = 340
_PANEL_HEIGHT = 412
_BANNER = 26


def draw_frame(view: View, story: Story, phase: int, tile_px: int) -> Image.Image:
    """Draw one phase.

    Args:
        view: slices to show.
        story: what stands beside them.
        phase: counted from 0.
        tile_px: longer side of a slice, where six are shown; fewer are shown larger, in the same room.
    """
    count = len(view.slices)
    columns = count if count < 4 else math.ceil(count / 2)
    rows = math.ceil(count / columns)
    room = 3 * tile_px + 2 * _GAP, 2 * tile_px + _GAP
    tall, wide = (side / max(view.side_mm) for side in view.side_mm)
    side = min((room[0] + _GAP) / columns - _GAP, (room[1] + _GAP) / rows - _GAP)
    width, height = max(16, round(side * wide)), max(16, round(side * tall))
    used = columns * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP
    # Widths and heights of a video are even.
    # All frames of a picture are of one size: those that are sure leave the room for words empty.
    head = _HEADER + (_BANNER if story.has_doubts else 0)
    picture = used[0] + _PANEL_WIDTH + 2 * _PAD, head + max(used[1], _PANEL_HEIGHT) + _PAD
    canvas = Canvas(picture[0] + picture[0] % 2, picture[1] + picture[1] % 2, MONITOR)
    _header(canvas, story, phase)
    if doubt := story.doubt(phase):
        banner(canvas, (_PAD, _HEADER, canvas.size[0] - _PAD, head - 4), doubt)
    left = used[0] + 2 * _PAD
    _panel(canvas, story, phase, (left, head, canvas.size[0] - _PAD, canvas.size[1] - _PAD))
    top = head + (canvas.size[1] - head - _PAD - used[1]) // 2
    places = [(number % columns * (width + _GAP), top + number // columns * (height + _GAP)) for number in range(count)]
    tiles = [
        (tile(view.image_SYXT[number, ..., phase], view.mask_SYXT[number, ..., phase], (width, height)), place)
        for number, place in enumerate(places)
    ]
    for (image, _), name in zip(tiles, view.names, strict=True):
        label(image, name)
    return canvas.finish(tiles)


def label(image: Image.Image, words: str, *, size: float = 13) -> None:
    """Write the slice's name into its corner, on a patch that keeps it legible over bright tissue."""
    patch = Canvas(8, 8, MONITOR)
    width = math.ceil(patch.text((0, 0), words, size=size))
    patch = Canvas(width + 8, round(1.4 * size), MONITOR)
    patch.text((4, 0.7 * size), words, size=size)
    image.paste(patch.finish(), (0, 0))


def legend(canvas: Canvas, at: tuple[float, float], values_ml: Mapping[str, float] | None, *, step: float) -> None:
    """The colour of each class, and its volume in this phase."""
    x, y = at
    for name in ("lv", "myo", "rv"):
        canvas.box((x, y - 6, x + 12, y + 6), fill=CLASS_COLOURS[name], outline=canvas.theme.dim, radius=2)
        words = name.upper() if values_ml is None else f"{name.upper()} {values_ml[name]:.0f} ml"
        canvas.text((x + 18, y), words, size=14)
        x += step


def banner(canvas: Canvas, box: Box, doubt: str) -> None:
    """Say in words, on a colour of their own, that what is shown is not to be relied on, and why."""
    canvas.box(box, fill=canvas.theme.unsure, radius=4)
    room = box[2] - box[0] - 20
    words = canvas.fitted(f"UNSURE, not to be relied on. {doubt[:1].upper()}{doubt[1:]}", room, size=13)
    canvas.text((box[0] + 10, (box[1] + box[3]) / 2), words, size=13, fill=canvas.theme.paper)


def _header(canvas: Canvas, story: Story, phase: int) -> None:
    theme, middle, right = canvas.theme, _HEADER / 2, canvas.size[0] - _PAD
    late = story.is_late(phase)
    state = f"LATE  {story.latency_ms[phase]:.1f} ms" if late else f"in time  {story.latency_ms[phase]:.1f} ms"
    width = 150
    canvas.box(
        (right - width, 7, right, _HEADER - 7),
        fill=theme.late if late else None,
        outline=theme.late if late else theme.dim,
        radius=5,
    )
    canvas.text((right - width / 2, middle), state, size=15, fill=theme.paper if late else None, anchor="mm")
    when = "" if story.time_step_ms is None else f", {phase * story.time_step_ms:.0f} ms"
    words = f"phase {phase + 1} of {len(story.latency_ms)}{when}"
    canvas.text((right - width - 16, middle), words, size=15, anchor="rm")
    room = canvas.size[0] - 2 * _PAD - width - 16 - 190
    canvas.text((_PAD, middle), canvas.fitted(story.title, room, size=14), size=14, fill=theme.dim)


def _panel(canvas: Canvas, story: Story, phase: int, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    now = {name: values[phase] for name, values in story.volumes_ml.items()}
    legend(canvas, (left, top + 12), now, step=(right - left) / 3)
    split = top + 32 + round(0.5 * (bottom - top - 32 - 48))
    volume_chart(canvas, (left, top + 32, right, split), story, now=phase)
    for number, name in enumerate(VENTRICLES):
        side, y = story.function[name], split + 12 + 20 * number
        canvas.text((left, y), f"{name.upper()}  {story.ejection_words(name)}", size=15, fill=CLASS_COLOURS[name])
        figures = f"ED {side['edv_ml']:.0f} ml, ES {side['esv_ml']:.0f} ml" if story.beats else ""
        canvas.text((right, y), figures, size=13, fill=canvas.theme.dim, anchor="rm")
    latency_strip(canvas, (left, split + 52, right, bottom), story, now=phase)
