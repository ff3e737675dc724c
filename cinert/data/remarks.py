"""What is said in passing of the data that are read: one line for each kind of remark and folder, not one per file."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class _Told:
    roots: set[Path] = field(default_factory=set)
    said: set[tuple[Path, str]] = field(default_factory=set)
    silent: bool = False


_told = _Told()


def begin(*, silent: bool = False) -> None:
    """Forget what was said, because a command begins.

    Args:
        silent: say nothing at all, because another process of the same job does.
    """
    _told.roots.clear()
    _told.said.clear()
    _told.silent = silent


def data_folder(folder: Path) -> None:
    """From now on whatever lies below this folder of patients counts as in it."""
    _told.roots.add(folder.resolve())


def say_once(path: Path, kind: str, line: str) -> None:
    """Write a line to stderr, unless one of its kind was written for the same folder.

    Args:
        path: of the file that the line is about; its folder of patients, if it lies in one, else its own folder.
        kind: lines of one kind are written once.
        line: says what, of which file.
    """
    resolved = path.resolve()
    folder = next((above for above in (resolved, *resolved.parents) if above in _told.roots), resolved.parent)
    if _told.silent or (folder, kind) in _told.said:
        return
    _told.said.add((folder, kind))
    sys.stderr.write(f"Note: {line}\n")
