"""A report as Markdown with a folder of pictures, for repositories that show it on a web page."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.report_document import Block, Bullets, Commands, Paragraph, Picture, Report, Span, Subheading, Table, Words

_MARKS = {"code": "`", "measured": ""}


def to_markdown(report: Report, *, folder: Path, pictures: Path, picture_folder: str) -> str:
    """Write a report as Markdown.

    Args:
        report: to write.
        folder: that the text will lie in; files of the run are named relative to it.
        pictures: temporary folder of the pictures that were drawn.
        picture_folder: name by which the text refers to them.
    """

    def reference(path: Path) -> str:
        return (
            f"{picture_folder}/{path.name}"
            if path.parent == pictures
            else Path(os.path.relpath(path, folder)).as_posix()
        )

    lines = [f"# {report.title}", "", report.written, "", _words(report.headline), ""]
    lines += _table(report.verdict_table()) if report.verdicts else []
    for section in report.sections:
        lines += ["", f"## {section.title}"]
        for block in section.blocks:
            lines += ["", *_block(block, reference)]
    return "\n".join(lines) + "\n"


def _block(block: Block, reference: Callable[[Path], str]) -> list[str]:
    match block:
        case Paragraph():
            return [_words(block.words)]
        case Subheading():
            return [f"### {block.text}"]
        case Table():
            return _table(block)
        case Bullets():
            return [f"- {_words(item)}" for item in block.items]
        case Commands():
            return ["```bash", *block.lines, "```"]
        case Picture():
            mark = "" if block.path.suffix == ".mp4" else "!"
            return [f"{mark}[{block.caption}]({reference(block.path)})"]


def _table(table: Table) -> list[str]:
    rule = [":---" if letter == "l" else "---:" for letter in table.align]
    rows: list[Sequence[str]] = [table.header, rule, *([_words(cell) for cell in row] for row in table.rows)]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]


def _words(words: Words) -> str:
    if isinstance(words, str):
        return words
    if isinstance(words, Span):
        mark = _MARKS.get(words.look, "**")
        return f"{mark}{words.text}{mark}"
    return "".join(map(_words, words))
