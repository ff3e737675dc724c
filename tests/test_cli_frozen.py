"""Commands and options are a contract: a change here is a change for every user, and goes into the changelog."""

from importlib.metadata import entry_points

import click
import pytest
from click.testing import CliRunner

from cinert import __version__

COMMANDS = (
    "bench-compare",
    "bench-engine",
    "bench-model",
    "bench-ranking",
    "bench-ops",
    "bench-robustness",
    "calibrate-quality",
    "cinert",
    "evaluate-bundle",
    "export-engine",
    "latency",
    "make-phantom",
    "nas-search",
    "nas-sweep",
    "segment-cine",
    "send-mrd",
    "serve-mrd",
    "sign-bundle",
    "train-arch",
    "verify-bundle",
    "view-cine",
)


def load(name):
    (entry,) = entry_points(group="console_scripts", name=name)
    return entry.load()


def surface(command, prefix):
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from surface(command.get_command(context, name), f"{prefix} {name}")
    for parameter in command.params:
        names = (
            parameter.name.upper()
            if isinstance(parameter, click.Argument)
            else " ".join(parameter.opts + parameter.secondary_opts)
        )
        yield f"{prefix} {names}"


def test_commands_and_options_are_the_frozen_ones(repository):
    lines = sorted(line for name in COMMANDS for line in surface(load(name), name))
    frozen = (repository / "tests" / "cli.txt").read_text().splitlines()
    assert lines == frozen, "if the change is meant, update tests/cli.txt and CHANGELOG.md"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples(name):
    command = load(name)
    context = click.Context(command, info_name=name)
    subcommands = [command]
    if isinstance(command, click.Group):
        subcommands = [command.get_command(context, each) for each in command.list_commands(context)]
    for each in subcommands:
        text = each.get_help(click.Context(each, info_name=name))
        assert "Examples" in text
        assert all(parameter.help for parameter in each.params if isinstance(parameter, click.Option))


def words_of(name):
    """A command and its subcommands, as they are typed."""
    command = load(name)
    subcommands = command.list_commands(click.Context(command)) if isinstance(command, click.Group) else []
    return [[name], *([name, each] for each in subcommands)]


@pytest.mark.parametrize("words", [words for name in COMMANDS for words in words_of(name)], ids=" ".join)
def test_every_command_says_its_version_and_asks_for_nothing_else(words):
    result = CliRunner().invoke(load(words[0]), [*words[1:], "--version"])
    assert result.exit_code == 0, result.output
    assert result.output.split()[-1] == __version__
    assert words[-1] in result.output
