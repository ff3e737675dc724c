"""A table on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from cinert.cli import console


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text; all columns but the first are flush right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
