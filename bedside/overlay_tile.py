"""A slice with its classes over it: contour and translucent fill, so that the anatomy stays visible."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cinert.colours import CLASS_COLOURS

_FILL = 0.28
_CONTOUR = 0.9
# Fewer grey levels than the eye can tell in a moving picture; noise would otherwise fill the GIF.
_GREY_LEVELS = 40
_SUPERSAMPLING = 2


def tile(
    image_YX: NDArray[np.float32], mask_YX: NDArray[np.uint8], size: tuple[int, int], *, contour_px: float = 1.5
) -> Image.Image:
    """Grey slice with the classes over it.

    Args:
        image_YX: 0..1.
        mask_YX: 0..3.
        size: width and height in pixels.
        contour_px: width of the contours.
    """
    grey = np.asarray(Image.fromarray(image_YX).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    grey = np.round(grey * (_GREY_LEVELS - 1)) / (_GREY_LEVELS - 1)
    rgb = np.repeat(grey[..., None] * 255, 3, axis=2)
    fine = _smooth_labels(mask_YX, (size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING))
    for label, colour in enumerate(CLASS_COLOURS.values(), start=1):
        inside = fine == label
        if not inside.any():
            continue
        rim = inside & ~_eroded(inside, round(contour_px * _SUPERSAMPLING))
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
