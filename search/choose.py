"""From the options of nas-search to the settings of a search; what a method does not read is refused."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from cinert.errors import BadInputError
from search.methods import METHODS, TRAINED, Method
from search.settings import SearchSettings

if TYPE_CHECKING:
    from latency.cost_critical import Occurrence

_RELAXED_ONLY = (
    "relaxation",
    "latency_term",
    "occurrence",
    "decoder",
    "mixture",
    "latency_weight",
    "arch_learning_rate",
    "activation_checkpointing",
    "seeds",
    "pareto",
)
_TRAINED_ONLY = ("candidates", "least_share")


def chosen_method(name: str, given: dict[str, Any]) -> Method:
    """The preset with what the user named in its place.

    Args:
        name: of a method in `METHODS`.
        given: fields of `Method`; None where the user named nothing.
    """
    return dataclasses.replace(METHODS[name], **{field: value for field, value in given.items() if value is not None})


def search_settings(
    name: str, method: Method, *, occurrence: str | None, budget_ms: float, **told: Any
) -> SearchSettings:
    """Settings of a differentiable search.

    Args:
        name: of the method.
        method: as chosen.
        occurrence: k_c^l, by counts from the source if None.
        budget_ms: becomes the bound of a loss that has one.
        told: further fields of `SearchSettings`.
    """
    fields = dataclasses.asdict(method)
    for name_ in ("relaxation", "decoder"):
        # The relaxation is in the space, and a finished search can be decoded again by another decoder.
        del fields[name_]
    if method.latency_term == "none":
        fields["latency_weight"] = None
    counted = cast("Occurrence", occurrence or "forward") if method.latency_term == "critical-path" else None
    return SearchSettings(
        method=name,
        occurrence=counted,
        bound_ms=None if method.loss == "weighted" else budget_ms,
        **fields,
        **told,
    )


def refuse_unread_options(name: str, method: Method | None) -> None:
    """Refuse an option that was given on the command line and that nothing reads, rather than ignore it.

    Args:
        name: of the method.
        method: as chosen; None for one that trains its candidates.

    Raises:
        BadInputError: naming the option and what does not read it.
    """
    unread = dict.fromkeys(_RELAXED_ONLY if name in TRAINED else _TRAINED_ONLY, f"--method {name}")
    if method is not None:
        if method.loss == "lagrangian":
            unread["latency_weight"] = f"--method {name}, whose budget has a multiplier of its own"
        if method.latency_term == "none":
            unread["latency_weight"] = "--latency-term none"
        if method.decoder != "longest":
            unread["pareto"] = f"--decoder {method.decoder}, which reads no budget"
        if method.latency_term != "critical-path":
            unread["occurrence"] = f"--latency-term {method.latency_term}"
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(str(parameter.name)) is not ParameterSource.DEFAULT
        if parameter.name in unread and given:
            raise BadInputError(
                f"{parameter.opts[0]} {context.params[parameter.name]} means nothing to {unread[parameter.name]}.",
                hint="leave it out, or choose another --method.",
            )
