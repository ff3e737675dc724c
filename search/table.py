"""A table on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from cinert.cli import console


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text; all columns but the first, and a last one without a name, are flush right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, name in enumerate(header):
        # The last column may hold remarks, which give way.
        last = number == len(header) - 1 and not name
        table.add_column(name, justify="right" if number and not last else "left", no_wrap=not last)
    for row in rows:
        table.add_row(*row)
    console.print(table)
