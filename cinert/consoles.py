"""Where commands speak: answers on stdout, everything else on stderr."""

from __future__ import annotations

import textwrap

from rich.console import Console
from rich.text import Text

console = Console(soft_wrap=True, highlight=False)
errors = Console(stderr=True, soft_wrap=True, highlight=False)


def print_verdict(line: str) -> None:
    """Print a verdict of several figures on stdout, wrapped between words to the width of the terminal, 80 without one.

    Names, paths and figures are never divided: a longer word stands in a line of its own.

    Args:
        line: in rich markup; what is marked up stands at its beginning.
    """
    marked = Text.from_markup(line)
    wrapped = Text(
        textwrap.fill(
            marked.plain,
            width=console.width,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
    for span in marked.spans:
        wrapped.stylize(span.style, span.start, span.end)
    console.print(wrapped)
