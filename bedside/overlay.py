"""The beating heart as a GIF: slices with their classes, volumes, and each frame's latency against the budget."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bedside.overlay_draw import CLASS_COLOURS, DIM, INK, MISS, PAPER, bars, curves, font, tile
from bedside.overlay_view import View, heart_view
from cinert.data.nifti import Cine
from cinert.files import atomic_path

MAX_BYTES = 3_000_000
_TILE_PX = 232
_MIN_TILE_PX = 120
_GAP = 4
_HEADER = 34
_FOOTER = 86
_PAD = 12
_DEFAULT_STEP_MS = 50.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """What is written around the slices."""

    title: str
    latency_ms: Sequence[float]
    """Of each phase, frame in to mask out."""
    budget_ms: float
    volumes_ml: Mapping[str, Sequence[float]]
    """{rv, myo, lv}, a value per phase."""


def write_overlay(path: Path, cine: Cine, mask: NDArray[np.uint8], story: Story) -> int:
    """Write the GIF, one frame per phase, at the cine's own pace; at most about 3 MB.

    Args:
        path: ends in .gif.
        cine: (x, y, z, t).
        mask: the same shape, uint8.
        story: latency and volumes of each phase.

    Returns:
        Bytes written.

    Raises:
        BadInputError: the path cannot be written.
    """
    view = heart_view(cine.image, mask, cine.geometry)
    tile_px = _TILE_PX
    while True:
        data = encode([draw_frame(view, story, phase, tile_px) for phase in range(cine.image.shape[3])], cine)
        if len(data) <= MAX_BYTES or tile_px == _MIN_TILE_PX:
            break
        tile_px = max(_MIN_TILE_PX, int(tile_px * math.sqrt(MAX_BYTES / len(data)) * 0.97))
    with atomic_path(path) as partial:
        partial.write_bytes(data)
    return len(data)


def encode(frames: Sequence[Image.Image], cine: Cine) -> bytes:
    """Encode frames as a looping GIF with one palette for all, so that colours do not flicker."""
    sample = frames[:: max(1, len(frames) // 6)]
    strip = Image.new("RGB", (sample[0].width, sample[0].height * len(sample)))
    for number, frame in enumerate(sample):
        strip.paste(frame, (0, number * frame.height))
    palette = strip.quantize(256, method=Image.Quantize.MEDIANCUT)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    # Viewers slow down GIFs that ask for less than 20 ms; the format counts in steps of 10 ms.
    step_ms = max(20, round((cine.time_step_ms or _DEFAULT_STEP_MS) / 10) * 10)
    stream = io.BytesIO()
    indexed[0].save(
        stream, "GIF", save_all=True, append_images=indexed[1:], duration=step_ms, loop=0, optimize=False, disposal=1
    )
    return stream.getvalue()


def draw_frame(view: View, story: Story, phase: int, tile_px: int) -> Image.Image:
    """Draw one phase."""
    count = len(view.slices)
    columns = min(3, count) if count != 4 else 2
    rows = math.ceil(count / columns)
    longest = max(view.side_mm)
    height, width = (max(16, round(tile_px * side / longest)) for side in view.side_mm)
    picture_width = max(columns * (width + _GAP) - _GAP, 2 * _MIN_TILE_PX + 60)
    left = (picture_width - (columns * (width + _GAP) - _GAP)) // 2
    picture = Image.new("RGB", (picture_width, _HEADER + rows * (height + _GAP) - _GAP + _FOOTER), PAPER)
    draw = ImageDraw.Draw(picture)
    for number, stored in enumerate(view.slices):
        x = left + number % columns * (width + _GAP)
        y = _HEADER + number // columns * (height + _GAP)
        picture.paste(
            tile(view.image_SYXT[number, ..., phase], view.mask_SYXT[number, ..., phase], (width, height)), (x, y)
        )
        draw.text((x + 5, y + 3), f"slice {stored + 1}", fill=DIM, font=font(11))
    _header(draw, story, phase, picture_width)
    _footer(draw, story, phase, picture.size)
    return picture


def _header(draw: ImageDraw.ImageDraw, story: Story, phase: int, width: int) -> None:
    phases, value = len(story.latency_ms), story.latency_ms[phase]
    missed = value > story.budget_ms
    latency = f"{value:.1f} ms of {story.budget_ms:g} ms" + (" - missed" if missed else "")
    middle = _HEADER // 2
    draw.text((_PAD, middle), f"phase {phase + 1}/{phases}", fill=INK, font=font(15), anchor="lm")
    draw.text((width - _PAD, middle), latency, fill=MISS if missed else INK, font=font(15), anchor="rm")
    if width > 500:
        draw.text((width // 2, middle), story.title, fill=DIM, font=font(12), anchor="mm")


def _footer(draw: ImageDraw.ImageDraw, story: Story, phase: int, size: tuple[int, int]) -> None:
    top, bottom = size[1] - _FOOTER + 10, size[1] - 10
    half = size[0] // 2
    x = _PAD
    for name, colour in CLASS_COLOURS.items():
        draw.rectangle([x, top + 2, x + 9, top + 11], fill=colour)
        text = f"{name.upper()} {story.volumes_ml[name][phase]:.0f} ml"
        draw.text((x + 14, top + 7), text, fill=INK, font=font(12), anchor="lm")
        x += (half - _PAD) // 3
    curves(draw, (_PAD, top + 20, half - 2 * _PAD, bottom), story.volumes_ml, phase)
    draw.text((half + _PAD, top + 7), "latency of each frame", fill=DIM, font=font(12), anchor="lm")
    draw.text((size[0] - _PAD, top + 7), f"budget {story.budget_ms:g} ms", fill=INK, font=font(12), anchor="rm")
    bars(draw, (half + _PAD, top + 20, size[0] - _PAD, bottom), story.latency_ms, story.budget_ms, phase)
