"""Options of train-arch that say how a network learns, and which of them need another."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from cinert.cli import Decorator, FiniteRange
from cinert.errors import BadInputError

_OF_TEACHER = ("teacher_weight", "teacher_temperature")


def recipe_options() -> Decorator:
    """The optimizer and its schedule, and what a training does besides: the same for all networks."""
    return _all(
        click.option(
            "--learning-rate", default=0.01, type=FiniteRange(min=0, min_open=True), help="Peak of the cosine."
        ),
        click.option(
            "--warmup-steps", default=20, type=click.IntRange(min=1), help="Steps in which the learning rate rises."
        ),
        click.option("--weight-decay", default=1e-4, type=FiniteRange(min=0), help="Of AdamW."),
        click.option(
            "--average-decay",
            default=0.98,
            type=FiniteRange(min=0, max=1, max_open=True),
            help="Of the moving average of the weights, per step; 0 keeps the last weights.",
        ),
        click.option(
            "--deep-supervision",
            default=0.0,
            metavar="WEIGHT",
            type=FiniteRange(min=0),
            help="Weight of a loss at each coarser level on the way up, in training alone; 0: none. 0.3 was good.",
        ),
        click.option(
            "--teacher-weight",
            default=1.0,
            type=FiniteRange(min=0, min_open=True),
            help="Of the teacher's part of the loss.",
        ),
        click.option(
            "--teacher-temperature",
            default=2.0,
            type=FiniteRange(min=0, min_open=True),
            help="That softens what teacher and network say of a voxel.",
        ),
    )


def source_options() -> Decorator:
    """`--init` and `--teacher`."""
    return _all(
        click.option(
            "--init",
            metavar="RUN|FILE",
            type=click.Path(path_type=Path),
            help="Begin with the weights of another training or of a search, where names and shapes match: a run"
            " folder, or its weights.safetensors.",
        ),
        click.option(
            "--teacher",
            metavar="RUN",
            type=click.Path(path_type=Path),
            help="Learn from a trained network on the same grid, too: the folder with its arch.yaml and weights.",
        ),
    )


def refuse_without_teacher() -> None:
    """Refuse an option of a teacher that was given without one.

    Raises:
        BadInputError: naming it.
    """
    context = click.get_current_context()
    given = [name for name in _OF_TEACHER if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if given and context.params["teacher"] is None:
        raise BadInputError(
            f"--{given[0].replace('_', '-')} {context.params[given[0]]} means nothing without a teacher.",
            hint="name one with --teacher, or leave it out.",
        )


def _all(*options: Callable[[Any], Any]) -> Decorator:
    return lambda function: functools.reduce(lambda inner, option: option(inner), reversed(options), function)
