"""The files of an audit log: lines are appended to FILE; a full one becomes FILE.000001 and so on.

Nothing that was written is ever changed. Where a kill or a full disk left half a line, the next line says so (`torn`),
with the number of its bytes and their hash.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bedside.audit.record import MAX_LINE, START, Line, Link, Moment, is_piece, read_line, seal
from cinert.errors import BadInputError
from cinert.files import check_output_file, sha256_of

FILES = 8
"""Files that the allowed size is shared among; the oldest is removed for a new one."""
_DIGITS = 6
_NUMBERED = re.compile(rf"\.\d{{{_DIGITS}}}")

Entry = tuple[str, Moment, Mapping[str, Any]]
"""Kind, moment and content of a line to be written."""


def rotated(path: Path) -> list[Path]:
    """Full files of a log, oldest first."""
    found = [each for each in path.parent.glob(f"{path.name}.*") if _NUMBERED.fullmatch(each.name[len(path.name) :])]
    return sorted(found, key=lambda each: each.name)


class Chain:
    """Appends lines to a log, and carries the chain over restarts, full files and failures. Used from one thread.

    Args:
        path: the file that grows.
        max_bytes: of all files together.

    Raises:
        BadInputError: the file cannot be written, is no audit log, or another process writes it.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        check_output_file(path)
        self._path = path
        self._file_bytes = max_bytes // FILES
        self._last = START
        self._torn, self._ended = b"", True
        try:
            self._file = self._open()
        except BlockingIOError as error:
            raise BadInputError(
                f"another process writes the audit log {path}.", hint="give each service a log of its own."
            ) from error
        except OSError as error:
            raise BadInputError(f"cannot write the audit log {path}: {error.strerror}.") from error
        try:
            self._resume()
        except BaseException:
            self.close()
            raise

    def append(self, entries: Sequence[Entry]) -> tuple[int, OSError | None]:
        """Write lines.

        Returns:
            How many of `entries` are in the file, the first ones; and what kept the others out.
        """
        try:
            self._rotate_if_full()
        except OSError as error:
            return 0, error
        mending = 1 if self._torn else 0
        lines: list[tuple[bytes, Link]] = []
        last = self._last
        if mending:
            line, last = seal("torn", Moment.now(), {"bytes": len(self._torn), "sha256": sha256_of(self._torn)}, last)
            lines.append((line, last))
        for kind, moment, content in entries:
            line, last = seal(kind, moment, content, last)
            lines.append((line, last))
        done, problem = self._write(lines)
        return max(0, done - mending), problem

    def sync(self) -> OSError | None:
        """Have the disk hold what was written, against a loss of power."""
        try:
            os.fsync(self._file)
        except OSError as error:
            return error
        return None

    def close(self) -> None:
        """Close the file and let another process have it."""
        os.close(self._file)

    def _write(self, lines: Sequence[tuple[bytes, Link]]) -> tuple[int, OSError | None]:
        """Write sealed lines; how many are in the file as a whole, and what kept the others out."""
        start = b"" if self._ended else b"\n"
        pieces = [start + lines[0][0], *(line for line, _ in lines[1:])]
        data = b"".join(pieces)
        written, problem = 0, None
        try:
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError as error:
            problem = error
        self._ended = data[:written].endswith(b"\n") if written else self._ended
        done = 0
        # A line that lacks nothing but its end is a line.
        while done < len(pieces) and written >= len(pieces[done]) - 1:
            written -= min(written, len(pieces[done]))
            self._last, self._torn = lines[done][1], b""
            done += 1
        if written:
            # A half line begins and ends without the line ends around it.
            self._torn = (self._torn + pieces[done][:written]).strip(b"\n")
        return done, problem

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _resume(self) -> None:
        """Find the line to go on from: the last whole one, in this file or in the one before."""
        for path in (self._path, *reversed(rotated(self._path))):
            last, torn, ended = _end_of(path)
            if path == self._path:
                self._torn, self._ended = torn, ended
            if last is not None:
                self._last = last.link
                return

    def _rotate_if_full(self) -> None:
        # Half a line is mended in the file that it is in.
        if self._torn or not self._ended or os.fstat(self._file).st_size < self._file_bytes:
            return
        older = rotated(self._path)
        if self._path.exists():
            number = 1 + (int(older[-1].name[-_DIGITS:]) if older else 0)
            self._path.rename(self._path.with_name(f"{self._path.name}.{number:0{_DIGITS}d}"))
        fresh = self._open()
        os.fsync(self._file)
        os.close(self._file)
        self._file = fresh
        for path in rotated(self._path)[: 1 - FILES]:
            self._remove(path)

    def _remove(self, path: Path) -> None:
        """Remove the oldest file; a line says so first, so that a file that somebody else removed is missed."""
        try:
            last, *_ = _end_of(path)
        except BadInputError:
            last = None
        content = {"file": path.name, "last_number": None if last is None else last.link.number}
        _, problem = self._write([seal("removed", Moment.now(), content, self._last)])
        if problem is not None:
            raise problem
        path.unlink(missing_ok=True)


def _end_of(path: Path) -> tuple[Line | None, bytes, bool]:
    """The last line of a file, if there is one; the half lines that follow it; whether the file ends with a line end.

    Raises:
        BadInputError: what is at the end was not written by an audit log, or was changed.
    """
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 4 * MAX_LINE))
        rows = stream.read().split(b"\n")
    if (whole := read_line(rows[-1])) is not None and whole.holds:
        # Nothing but its line end is missing.
        return whole, b"", False
    torn = [rows.pop()]
    while rows:
        line = read_line(rows[-1])
        if line is not None and line.holds:
            return line, b"\n".join(torn), not torn[-1]
        # A row that was ended and is no line is one that was changed, unless half a line follows it.
        if not torn[-1] or not is_piece(rows[-1]):
            break
        torn.insert(0, rows.pop())
    if rows or not all(map(is_piece, torn)):
        raise BadInputError(
            f"{path} is no audit log, or its last line was changed.",
            hint="name another file; cinert audit-verify says what is wrong with this one.",
        )
    return None, b"\n".join(torn), not torn[-1]
