"""The parts of a report, and reading a run folder so that a missing or broken file is told and never stops it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cinert.errors import CineRTError

T = TypeVar("T")


@dataclass(kw_only=True, slots=True)
class Run:
    """A run folder on its way to a report."""

    folder: Path
    pictures: Path
    """Temporary folder for pictures; `picture_folder` is the name by which the report refers to it."""
    picture_folder: str
    missing: list[str] = field(default_factory=list)
    """A line for everything that is not there or cannot be read."""
    verdicts: list[tuple[str, bool | None, str]] = field(default_factory=list)
    """What was judged, whether it passed (None: not judged), and the figures."""

    def read(self, name: str, what: str, command: str, reader: Callable[[Path], T]) -> T | None:
        """Read a file of the run; note it as missing, with the command that writes it, where that is not possible."""
        path = self.folder / name
        if not path.exists():
            self.missing.append(f"`{name}`, {what}: not there; `{command}` writes it.")
            return None
        try:
            return reader(path)
        except CineRTError as error:
            self.missing.append(f"`{name}`, {what}: {error.message}")
            return None

    def picture(self, name: str, caption: str) -> str:
        """Markdown of a picture in the run folder or made for the report."""
        return f"![{caption}]({name})"


def number(value: float, digits: int = 2) -> str:
    """A number for a table."""
    return f"{value:.{digits}f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, align: str | None = None) -> list[str]:
    """A Markdown table; the first column to the left, the others to the right, or as `align` says (`lr` letters)."""
    letters = align or "l" + "r" * (len(header) - 1)
    rule = [":---" if letter == "l" else "---:" for letter in letters]
    lines = [header, rule, *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]


def verdict_word(passed: bool | None) -> str:
    """A verdict in words."""
    return "not judged" if passed is None else "**PASSED**" if passed else "**FAILED**"
