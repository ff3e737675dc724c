"""Reading an audit log again: is every line what was written, and in its place?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bedside.audit.chain import rotated
from bedside.audit.record import MAX_LINE, START, Line, Link, is_piece, read_line
from cinert.errors import BadInputError
from cinert.files import sha256_of

CLOCK_STEP_S = 1.0
"""Between two lines of a run the clock on the wall and the steady one may differ by so much."""
_MAX_PROBLEMS = 20


@dataclass(slots=True)
class AuditReport:
    """What a log says, and what is wrong with it."""

    files: list[str]
    first: int = 0
    last: Link = START
    lines: int = 0
    states: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    """Frames that were served and not logged, as the log itself says."""
    begin: str = ""
    end: str = ""
    ends_with: str = ""
    """Kind of the last line; a log whose service was stopped ends with `closed`."""
    problems: list[str] = field(default_factory=list)
    """Places where the log is not what was written; none in a log that holds."""
    notes: list[str] = field(default_factory=list)
    """What a reader should know, though the log holds: kills, gaps, clocks that were set."""
    head_found: bool = False


def verify_audit(path: Path, *, head: str | None = None) -> AuditReport:
    """Check a log with all its files.

    Args:
        path: the file that grows; the full ones beside it are read first.
        head: hash of a line that has to be in the log, as an earlier check gave it. Without it nobody can tell whether
            lines at the end were removed, or all of them written anew.

    Raises:
        BadInputError: there is no such file, it cannot be read, or it holds no line of an audit log.
    """
    files = [*rotated(path), *([path] if path.is_file() else [])]
    if not files:
        raise BadInputError(f"there is no audit log {path}.", hint="serve-mrd --audit-log writes one.")
    reader = _Reader(AuditReport([each.name for each in files]), head)
    try:
        for each in files:
            reader.read(each)
    except OSError as error:
        raise BadInputError(f"cannot read {error.filename}: {error.strerror}.") from error
    if not reader.report.lines:
        raise BadInputError(f"{path} holds no line of an audit log.", hint="is it another file?")
    reader.finish()
    return reader.report


class _Reader:
    def __init__(self, report: AuditReport, head: str | None) -> None:
        self.report = report
        self._head = head
        self._torn: list[bytes] = []
        self._torn_at = ""
        self._before: Line | None = None
        self._removed_up_to = 0

    def read(self, path: Path) -> None:
        self._torn, ended = [], True
        for row, data, ended in _lines(path):
            where = f"{path.name} line {row}"
            line = read_line(data)
            if line is not None and not ended and not line.holds:
                line = None
            if line is None:
                self._torn_at = self._torn_at if self._torn else where
                self._torn.append(data)
            else:
                self._take(line, where)
        at_the_end = path.name == self.report.files[-1] and len(self._torn) == 1 and not ended
        if self._torn and not (at_the_end and is_piece(self._torn[0])):
            self._torn = []
            self._problem(f"{self._torn_at} is no line of an audit log")

    def finish(self) -> None:
        report = self.report
        if self._torn:
            report.notes.append(f"{self._torn_at} is half a line: the service was killed, or still writes")
        elif report.ends_with != "closed":
            report.notes.append("the log does not end with a closing line: the service was killed, or still runs")
        if report.first > self._removed_up_to + 1:
            self._problem(f"lines 1 to {report.first - 1} are missing", first=True)
        elif report.first > 1:
            report.notes.append(f"lines 1 to {report.first - 1} were removed with the oldest files, to keep the size")
        if self._head is not None and not report.head_found:
            self._problem(f"no line has the hash {self._head[:12]}...: lines were removed at the end, or written anew")

    def _take(self, line: Line, where: str) -> None:
        report, number = self.report, line.link.number
        self._mend(line)
        if not line.holds:
            self._problem(f"{where} (number {number}) was changed: its hash is not that of its content")
        expected = report.last.number + 1
        if self._before is None:
            report.first, report.begin = number, str(line.content.get("at"))
        elif number > expected:
            self._problem(f"{where}: {number - expected} lines are missing before number {number}")
        elif number < expected:
            self._problem(f"{where}: number {number} stands after number {report.last.number}")
        if line.content.get("previous") != report.last.hash and number == expected and (self._before or number == 1):
            self._problem(f"{where} (number {number}) does not follow the line before it: one of the two was exchanged")
        self._count(line, where)
        report.last, self._before = line.link, line

    def _mend(self, line: Line) -> None:
        """What is no line is in order where the next line says so, with its hash."""
        if not self._torn:
            return
        data = b"\n".join(self._torn)
        content = line.content
        if (content.get("kind"), content.get("bytes"), content.get("sha256")) == ("torn", len(data), sha256_of(data)):
            self.report.notes.append(f"{self._torn_at} is half a line: the service was killed, or could not write")
        else:
            self._problem(f"{self._torn_at} is no line of an audit log")
        self._torn = []

    def _count(self, line: Line, where: str) -> None:
        report, content = self.report, line.content
        report.lines += 1
        report.end, report.ends_with = str(content.get("at")), str(content.get("kind"))
        report.head_found |= line.link.hash == self._head and line.holds
        match content.get("kind"):
            case "frame":
                report.states[str(content.get("state"))] += 1
            case "lost":
                frames = content.get("frames")
                report.lost += frames if isinstance(frames, int) else 0
                report.notes.append(f"{where}: {frames} frames since {content.get('since')} were not logged")
            case "removed":
                last = content.get("last_number")
                self._removed_up_to = max(self._removed_up_to, last if isinstance(last, int) else 0)
            case "opened":
                # A machine that was started again counts its steady clock from zero.
                return
        if self._before is not None and (step_s := _clock_step_s(self._before.content, content)) is not None:
            report.notes.append(
                f"{where}: the clock moved by {step_s:+.1f} s: it was set, or the machine was suspended"
            )

    def _problem(self, text: str, *, first: bool = False) -> None:
        problems = self.report.problems
        if first:
            problems.insert(0, text)
        elif len(problems) < _MAX_PROBLEMS:
            problems.append(text)


def _lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Row from 1, content without its line end, and whether it had one."""
    with path.open("rb") as stream:
        row = 0
        while data := stream.readline(MAX_LINE):
            row += 1
            yield row, data.removesuffix(b"\n"), data.endswith(b"\n")


def _clock_step_s(before: Any, after: Any) -> float | None:
    try:
        wall_s = (datetime.fromisoformat(after["at"]) - datetime.fromisoformat(before["at"])).total_seconds()
        step_s: float = wall_s - (after["monotonic_ns"] - before["monotonic_ns"]) / 1e9
    except (KeyError, TypeError, ValueError):
        return None
    return step_s if abs(step_s) > CLOCK_STEP_S else None
