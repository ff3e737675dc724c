"""What all commands share: one-line errors with their exit code, a console, and common options."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cinert.errors import CineRTError

P = ParamSpec("P")
R = TypeVar("R")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

console = Console(soft_wrap=True, highlight=False)
errors = Console(stderr=True, soft_wrap=True, highlight=False)


class Command(click.Command):
    """A click command that prints the examples in its epilog as they were typed."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the epilog unwrapped, so that examples can be copied."""
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.strip().splitlines():
                    formatter.write(f"  {line.strip()}\n")


def command(name: str, *, examples: str) -> Callable[[Callable[P, R]], click.Command]:
    """Make a function the command `name`: expected errors become one line on stderr and their exit code."""

    def decorate(function: Callable[P, R]) -> click.Command:
        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except CineRTError as error:
                hint = f" Hint: {error.hint}" if error.hint else ""
                errors.print(f"{name}: {error.message}{hint}", markup=False)
                raise SystemExit(int(error.exit_code)) from None
            except KeyboardInterrupt:
                errors.print(f"{name}: interrupted.", markup=False)
                raise SystemExit(130) from None

        decorated = click.command(
            name,
            cls=Command,
            epilog=examples,
            context_settings={"show_default": True, "help_option_names": ["-h", "--help"]},
        )
        return decorated(guarded)

    return decorate


def progress_bar() -> Progress:
    """A progress bar on stderr that is silent when nobody watches."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=errors,
        disable=not errors.is_terminal,
    )


def data_option() -> Decorator:
    """`--data DIR`, or the environment variable CINERT_DATA."""
    return click.option(
        "--data",
        "data",
        type=click.Path(path_type=Path),
        envvar="CINERT_DATA",
        show_envvar=True,
        help="Folder of labelled patients in ACDC's layout.",
    )


def seed_option() -> Decorator:
    """`--seed N`: the same seed gives the same result."""
    return click.option(
        "--seed", default=0, type=click.IntRange(min=0), help="Seed; the same seed gives the same result."
    )


def parse_fold(text: str) -> int | None:
    """Read `--fold`: a number 0..4, or `all` (None), which holds no patient out."""
    if text == "all":
        return None
    if text.isdigit() and int(text) < 5:
        return int(text)
    raise click.BadParameter(f"{text!r} is neither a fold 0..4 nor 'all'.", param_hint="--fold")


def fold_option(default: str = "0") -> Decorator:
    """`--fold 0|all`."""
    return click.option(
        "--fold",
        default=default,
        metavar="0..4|all",
        callback=lambda _ctx, _param, value: parse_fold(value),
        help="Fold whose patients are held out (5 folds by patient), or 'all' to use every patient.",
    )
