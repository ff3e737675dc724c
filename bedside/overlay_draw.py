"""Pixels of the overlay: tiles with contour and translucent fill, small plots. Numpy and Pillow only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]

# Okabe and Ito's palette, told apart with every colour vision; they differ in lightness too.
CLASS_COLOURS: dict[str, Colour] = {"rv": (86, 180, 233), "myo": (240, 228, 66), "lv": (213, 94, 0)}
INK: Colour = (235, 235, 235)
DIM: Colour = (140, 140, 140)
PAPER: Colour = (16, 16, 18)
RULE: Colour = (64, 64, 68)
MISS: Colour = (204, 121, 167)

_FILL = 0.28
_CONTOUR = 0.9
# Fewer grey levels than the eye can tell in a moving picture; noise would otherwise fill the GIF.
_GREY_LEVELS = 40
_SUPERSAMPLING = 2


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that the picture looks the same everywhere."""
    return ImageFont.load_default(size)


def tile(image_YX: NDArray[np.float32], mask_YX: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """Grey slice with the classes over it.

    Args:
        image_YX: 0..1.
        mask_YX: 0..3.
        size: width and height in pixels.
    """
    grey = np.asarray(Image.fromarray(image_YX).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    grey = np.round(grey * (_GREY_LEVELS - 1)) / (_GREY_LEVELS - 1)
    rgb = np.repeat(grey[..., None] * 255, 3, axis=2)
    fine = _smooth_labels(mask_YX, (size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING))
    for label, colour in enumerate(CLASS_COLOURS.values(), start=1):
        inside = fine == label
        if not inside.any():
            continue
        rim = inside & ~_eroded(inside, _SUPERSAMPLING + 1)
        fill, contour = _FILL * _shrunk(inside), _CONTOUR * _shrunk(rim)
        alpha = np.maximum(fill, contour)[..., None]
        rgb = rgb * (1 - alpha) + np.asarray(colour) * alpha
    return Image.fromarray(rgb.round().astype(np.uint8))


def _smooth_labels(mask_YX: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Enlarge a label map by interpolating each class, so that contours are curves and not stairs."""
    shares = [
        np.asarray(Image.fromarray((mask_YX == label).astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
        for label in range(len(CLASS_COLOURS) + 1)
    ]
    labels: NDArray[np.uint8] = np.argmax(np.stack(shares), axis=0).astype(np.uint8)
    return labels


def _eroded(inside: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    for _ in range(steps):
        padded = np.pad(inside, 1)
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside


def _shrunk(fine: NDArray[np.bool_]) -> NDArray[np.float64]:
    height, width = (size // _SUPERSAMPLING for size in fine.shape)
    shares: NDArray[np.float64] = fine.reshape(height, _SUPERSAMPLING, width, _SUPERSAMPLING).mean(axis=(1, 3))
    return shares


def curves(draw: ImageDraw.ImageDraw, box: Box, series: Mapping[str, Sequence[float]], now: int) -> None:
    """Volume curves over the phases, from zero, with a dot at phase `now`."""
    left, top, right, bottom = box
    highest = max(max(values) for values in series.values()) or 1.0
    draw.line([(left, bottom), (right, bottom)], fill=RULE)
    for name, values in series.items():
        step = (right - left) / max(1, len(values) - 1)
        points = [(left + number * step, bottom - (bottom - top) * v / highest) for number, v in enumerate(values)]
        draw.line(points, fill=CLASS_COLOURS[name], width=2, joint="curve")
        x, y = points[now]
        draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=INK)


def bars(draw: ImageDraw.ImageDraw, box: Box, values_ms: Sequence[float], budget_ms: float, now: int) -> None:
    """Latency of each phase as bars from zero, the budget as a line; misses in another colour and above it."""
    left, top, right, bottom = box
    highest = max(*values_ms, budget_ms) * 1.08
    width = (right - left) / len(values_ms)
    for number, value in enumerate(values_ms):
        colour = MISS if value > budget_ms else INK if number == now else DIM
        x = left + number * width
        y = bottom - (bottom - top) * value / highest
        end = max(round(x), round(x + width) - 2)
        draw.rectangle([round(x), round(y), end, bottom], fill=colour)
        if number == now:
            draw.rectangle([round(x), bottom + 3, end, bottom + 4], fill=INK)
    y = bottom - (bottom - top) * budget_ms / highest
    draw.line([(left, y), (right, y)], fill=INK)
