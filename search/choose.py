"""From the options of nas-search to its method, and what cannot be searched."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from cinert.op_check import require_ops
from cinert.space import Space
from latency.lut import Lut
from search.fastest import require_budget
from search.genetic import require_genes
from search.longest import require_paths
from search.methods import Method, RelaxedMethod


def named_options() -> dict[str, Any]:
    """What the user named on the command line, by the names of the command's parameters."""
    context = click.get_current_context()
    names = [str(parameter.name) for parameter in context.command.params]
    named = (name for name in names if context.get_parameter_source(name) is not ParameterSource.DEFAULT)
    return {name: context.params[name] for name in named}


def require_fit(method: Method, space: Space, paths: int) -> None:
    """Refuse a space that a method cannot search, before any patient is read.

    Raises:
        BadInputError: an op that is not what it says, or more paths than there are to choose from.
    """
    require_ops(space)
    require_paths(space, paths)
    if isinstance(method, RelaxedMethod) and method.decoder == "genetic":
        require_genes(paths)


def require_in_time(method: Method, space: Space, lut: Lut, budget_ms: float) -> None:
    """Refuse a budget that no network of the space meets, as the method holds it; raises BadInputError."""
    require_budget(space, lut, budget_ms, upper=method.holds_upper)
