"""Reading a run folder so that a missing or broken file is told and never stops the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bench.report_document import Kind, Outcome, Picture, Verdict, Words, code
from cinert.errors import CineRTError
from cinert.files import read_json

T = TypeVar("T")
Document = Mapping[str, Any]


@dataclass(kw_only=True, slots=True)
class Run:
    """A run folder on its way to a report."""

    folder: Path
    pictures: Path
    """Folder for the pictures that the report draws."""
    lut: Path
    """The latency table, in the run folder or elsewhere."""
    missing: list[Words] = field(default_factory=list)
    """A line for everything that is not there or cannot be read."""
    verdicts: list[Verdict] = field(default_factory=list)

    def read(self, name: str, what: str, command: str, reader: Callable[[Path], T]) -> T | None:
        """Read a file of the run; note it as missing, with the command that writes it, where that is not possible."""
        path = self.folder / name
        if not path.exists():
            self.missing.append((code(name), f", {what}: not there; ", code(command), " writes it."))
            return None
        try:
            return reader(path)
        except CineRTError as error:
            self.missing.append((code(name), f", {what}: {error.message}"))
            return None

    def read_document(self, name: str, what: str, command: str) -> Document | None:
        """Read a JSON file as `read` does."""
        return self.read(name, what, command, lambda path: read_json(path, what))

    def draw(self, name: str, caption: str, drawing: Callable[[Path], None]) -> Picture:
        """Draw a picture for the report; `drawing` takes the path to write."""
        path = self.pictures / name
        drawing(path)
        return Picture(path, caption)

    def judge(self, kind: Kind, what: str, outcome: Outcome, figures: str, origin: str) -> None:
        """Note a verdict."""
        self.verdicts.append(Verdict(kind=kind, what=what, outcome=outcome, figures=figures, origin=origin))

    def without(self, kind: Kind, what: str, origin: str) -> None:
        """Note that nothing could be judged, so that the reader does not take silence for a pass."""
        self.judge(kind, what, "not judged", f"there is no {origin} to judge by", origin)
