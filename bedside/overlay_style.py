"""Themes and type of the pictures: on a dark monitor in the room, and on paper."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import ImageFont

from cinert.colours import Colour

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True, slots=True)
class Theme:
    """What is not a class has one of these colours."""

    paper: Colour
    ink: Colour
    dim: Colour
    rule: Colour
    late: Colour
    """Frames over budget; never the only sign, the word stands beside it."""
    unsure: Colour
    """Behind the words that something is not to be relied on; the web page's."""


MONITOR = Theme(
    paper=(16, 16, 18),
    ink=(238, 238, 238),
    dim=(160, 160, 164),
    rule=(70, 70, 76),
    late=(224, 132, 184),
    unsure=(230, 159, 0),
)
PRINT = Theme(
    paper=(255, 255, 255),
    ink=(20, 20, 20),
    dim=(105, 105, 110),
    rule=(205, 205, 210),
    late=(170, 51, 119),
    unsure=(148, 88, 0),
)


def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that the picture looks the same everywhere."""
    return ImageFont.load_default(size)
