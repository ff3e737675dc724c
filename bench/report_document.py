"""What a report is made of, whatever it is written as: words, tables, pictures, commands, sections and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Look = Literal["code", "strong", "passed", "failed", "not judged", "measured"]
Outcome = Literal["passed", "failed", "not judged", "measured"]
Kind = Literal["budget", "rate", "estimate", "accuracy", "plausibility", "parity", "search"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order in which a reader asks."""


@dataclass(frozen=True, slots=True)
class Span:
    """Words that look different from those around them."""

    text: str
    look: Look


Words = str | Span | Sequence[str | Span]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    words: Words


@dataclass(frozen=True, slots=True)
class Subheading:
    """Divides a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table; `align` has a letter per column, `l` or `r`."""

    header: Sequence[str]
    rows: Sequence[Sequence[Words]]
    align: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    items: Sequence[Words]


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines for a shell."""

    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG, GIF or MP4 file, and what it shows."""

    path: Path
    caption: str


Block = Paragraph | Subheading | Table | Bullets | Commands | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a report."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Something that was judged or, where nobody set a limit, measured."""

    kind: Kind
    what: str
    outcome: Outcome
    figures: str
    origin: str
    """File that says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A report, ready to be written."""

    title: str
    written: str
    """When, by which release, where."""
    verdicts: Sequence[Verdict]
    sections: Sequence[Section]

    @property
    def headline(self) -> Span:
        """All verdicts in a sentence; those that failed by name."""
        judged = [verdict for verdict in self.verdicts if verdict.outcome in {"passed", "failed"}]
        failed = [verdict.what for verdict in judged if verdict.outcome == "failed"]
        if not judged:
            return Span("Nothing was judged.", "not judged")
        if failed:
            return Span(f"{len(failed)} of {len(judged)} verdicts failed: {'; '.join(failed)}.", "failed")
        return Span(f"All {len(judged)} verdicts passed.", "passed")

    def verdict_table(self) -> Table:
        """All verdicts, in the order in which a reader asks."""
        ordered = sorted(self.verdicts, key=lambda verdict: KINDS.index(verdict.kind))
        rows: list[list[Words]] = [
            [each.what, outcome_span(each.outcome), each.figures, code(each.origin)] for each in ordered
        ]
        return Table(["verdict", "", "figures", "from"], rows, "llll")


def outcome(passed: bool | None) -> Outcome:
    """A verdict of a file: true, false, or null where nothing was judged."""
    return "not judged" if passed is None else "passed" if passed else "failed"


def outcome_span(value: Outcome) -> Span:
    """A verdict in words that stand out."""
    return Span(value.upper(), value)


def plain(words: Words) -> str:
    """Words without looks."""
    if isinstance(words, str):
        return words
    return words.text if isinstance(words, Span) else "".join(map(plain, words))


def code(text: str) -> Span:
    """A file, command or identifier."""
    return Span(text, "code")


def strong(text: str) -> Span:
    """A figure that matters."""
    return Span(text, "strong")


def number(value: float, digits: int = 2) -> str:
    """A number for a table."""
    return f"{value:.{digits}f}"


def pairs(rows: Sequence[tuple[str, Words]]) -> Table:
    """A table of names and values."""
    return Table(["", ""], [[name, value] for name, value in rows], "ll")
