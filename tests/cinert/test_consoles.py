"""Verdicts on a terminal: wrapped between words, with their mark, and nothing divided."""

import io

import pytest
from rich.console import Console
from rich.markup import escape

from cinert import consoles
from cinert.cli import command
from cinert.consoles import print_verdict
from cinert.errors import BadInputError, VerdictError

PATH = "/data/exams/" + "x" * 90 + "/mask.nii.gz"
PLAIN = f"PASSED budget: p99 21.4 ms of 50 ms, 0 of 500 frames late; wrote {PATH}, and [brackets] as they are"
LINE = f"[green]PASSED[/]{escape(PLAIN.removeprefix('PASSED'))}"


@pytest.fixture
def terminal(monkeypatch):
    def terminal(width, *, colours=False):
        stream = io.StringIO()
        console = Console(file=stream, width=width, force_terminal=colours, soft_wrap=True, highlight=False)
        monkeypatch.setattr(consoles, "console", console)
        return stream

    return terminal


@pytest.mark.parametrize("width", [40, 80, 200])
def test_lines_are_as_wide_as_the_terminal_and_words_are_whole(terminal, width):
    stream = terminal(width)
    print_verdict(LINE)
    lines = stream.getvalue().splitlines()
    assert " ".join(line.strip() for line in lines) == PLAIN
    assert all(len(line) <= width or line.strip() == f"{PATH}," for line in lines)
    assert all(line.startswith("  ") for line in lines[1:])


def test_the_mark_keeps_its_colour(terminal):
    stream = terminal(80, colours=True)
    print_verdict(LINE)
    assert stream.getvalue().startswith("\x1b[32mPASSED\x1b[0m budget: p99")


@pytest.mark.parametrize("error", [BadInputError, VerdictError])
@pytest.mark.parametrize("colours", [True, False])
def test_an_error_is_one_line_in_a_log_and_wrapped_between_words_on_a_terminal(monkeypatch, error, colours):
    stream = io.StringIO()
    errors = Console(file=stream, width=80, force_terminal=colours, soft_wrap=True, highlight=False)
    monkeypatch.setattr("cinert.cli.errors", errors)
    words = "the budget of 50 ms is missed: " + "frame to mask takes 61.2 ms at p99, " * 4

    def fail():
        """Fail."""
        raise error(words)

    with pytest.raises(SystemExit):
        command("bench-engine", examples="bench-engine")(fail).callback()
    lines = stream.getvalue().splitlines()
    assert " ".join(line.strip() for line in lines) == f"bench-engine: {words.strip()}"
    assert (len(lines) == 1) is not colours
    if colours:
        assert max(map(len, lines)) <= 80
