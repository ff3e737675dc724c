"""The colour of each structure: the same in pictures, plots, pages and DICOM Segmentations. Free of torch."""

from __future__ import annotations

Colour = tuple[int, int, int]
"""Red, green, blue, 0..255."""

# Okabe and Ito's palette, told apart with every colour vision; they differ in lightness too.
CLASS_COLOURS: dict[str, Colour] = {"rv": (86, 180, 233), "myo": (240, 228, 66), "lv": (213, 94, 0)}


def hexadecimal(name: str) -> str:
    """The colour of a structure as plots and pages write it: `#d55e00`."""
    return "#{:02x}{:02x}{:02x}".format(*CLASS_COLOURS[name])
