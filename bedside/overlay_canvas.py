"""Smooth lines and text: drawn larger than shown, then reduced, because Pillow draws lines without anti-aliasing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from bedside.overlay_style import Box, Theme, font
from cinert.colours import Colour

_OVERSAMPLING = 2
Point = tuple[float, float]


class Canvas:
    """A picture in points: `scale` pixels each when it is done.

    Args:
        width: in points.
        height: in points.
        theme: its paper fills the canvas.
        scale: pixels per point.
    """

    def __init__(self, width: int, height: int, theme: Theme, *, scale: int = 1) -> None:
        self.theme = theme
        self.size = (width, height)
        self.scale = scale
        self._factor = scale * _OVERSAMPLING
        self._picture = Image.new("RGB", (width * self._factor, height * self._factor), theme.paper)
        self._draw = ImageDraw.Draw(self._picture)

    def finish(self, tiles: Sequence[tuple[Image.Image, Point]] = ()) -> Image.Image:
        """Reduce to the final size; then paste tiles, which are in pixels already, at places in points."""
        picture = self._picture.reduce(_OVERSAMPLING)
        for image, (x, y) in tiles:
            picture.paste(image, (round(x * self.scale), round(y * self.scale)))
        return picture

    def text(self, at: Point, words: str, *, size: float = 13, fill: Colour | None = None, anchor: str = "lm") -> float:
        """Write words; returns their width in points. `anchor` is Pillow's: l, m or r, then a, m or s."""
        face = font(size * self._factor)
        self._draw.text(self._at(at), words, fill=fill or self.theme.ink, font=face, anchor=anchor)
        return face.getlength(words) / self._factor

    def fitted(self, words: str, width: float, *, size: float) -> str:
        """The words, or as many of them as fit into the width and an ellipsis."""
        face, room = font(size * self._factor), width * self._factor
        if face.getlength(words) <= room:
            return words
        while words and face.getlength(f"{words}...") > room:
            words = words[:-1]
        return f"{words.rstrip()}..."

    def line(self, points: Sequence[Point], *, fill: Colour, width: float = 1) -> None:
        """A line through the points."""
        self._draw.line([self._at(point) for point in points], fill=fill, width=self._wide(width), joint="curve")

    def dashes(self, start: Point, end: Point, *, fill: Colour, width: float = 1, dash: float = 4) -> None:
        """A dashed straight line."""
        (x0, y0), (x1, y1) = start, end
        length = max(abs(x1 - x0), abs(y1 - y0), 1e-9)
        for number in range(int(length // (2 * dash)) + 1):
            a, b = 2 * number * dash / length, min(1.0, (2 * number + 1) * dash / length)
            ends = [(x0 + (x1 - x0) * share, y0 + (y1 - y0) * share) for share in (a, b)]
            self.line(ends, fill=fill, width=width)

    def box(self, box: Box, *, fill: Colour | None = None, outline: Colour | None = None, radius: float = 0) -> None:
        """A rectangle, filled or outlined, with round corners."""
        corners: Any = [*self._at((box[0], box[1])), *self._at((box[2], box[3]))]
        self._draw.rounded_rectangle(
            corners, radius * self._factor, fill=fill, outline=outline, width=self._wide(1) if outline else 0
        )

    def dot(self, at: Point, radius: float, *, fill: Colour, outline: Colour | None = None) -> None:
        """A filled circle."""
        x, y = at
        self.box((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=outline, radius=radius)

    def _at(self, point: Point) -> Point:
        return point[0] * self._factor, point[1] * self._factor

    def _wide(self, width: float) -> int:
        return max(1, round(width * self._factor))
