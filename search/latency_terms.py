"""The latency terms by name: of the papers, ours, and those that packages add (entry points `cinert.latency_terms`).

Free of torch, so that an option can be checked before it is imported.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cinert.errors import BadInputError
from cinert.plugins import Plugin, load_plugins
from search.words import NO_TERM

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from latency.cost import SpaceCosts
    from latency.cost_critical import Occurrence
    from search.relaxation import ArchParameters

GROUP = "cinert.latency_terms"


@dataclass(frozen=True, kw_only=True)
class TermInput:
    """What a latency is expected of, in a step of a search."""

    costs: SpaceCosts
    """Prices of the space."""
    architecture: ArchParameters
    """Alpha, gamma and beta; gradients flow through them."""
    paths: int
    """n."""
    occurrence: Occurrence | None
    """k_c^l of `critical-path`, None for all others."""
    gumbel: torch.Generator | None
    """Source of noise; None for none."""
    temperature: float
    """Of the Gumbel-softmax."""


@dataclass(frozen=True, kw_only=True)
class LatencyTerm:
    """A latency that a search holds against the accuracy."""

    name: str
    expected_ms: Callable[[TermInput], Tensor]
    """Scalar in milliseconds, differentiable in the architecture."""
    reads_paths: bool
    """Whether it depends on the number of paths."""
    draws_noise: bool = False
    """Whether it samples by Gumbel-softmax, whose temperature falls."""


def _function(name: str) -> Callable[[TermInput], Tensor]:
    """A function of `search.terms`, which imports torch, found when it is called."""

    def expected_ms(given: TermInput) -> Tensor:
        found: Tensor = getattr(import_module("search.terms"), name)(given)
        return found

    return expected_ms


BUILT_IN: Mapping[str, LatencyTerm] = {
    term.name: term
    for term in (
        LatencyTerm(name="path-wise", expected_ms=_function("path_wise"), reads_paths=True, draws_noise=True),
        LatencyTerm(name="critical-path", expected_ms=_function("critical_path"), reads_paths=False),
        LatencyTerm(name="union", expected_ms=_function("union"), reads_paths=True),
    )
}
NAMES = (NO_TERM, *BUILT_IN)


@functools.cache
def plugged_in() -> Mapping[str, Plugin]:
    """The terms that installed packages add, all of them loaded; raises BadInputError naming a broken package."""
    return load_plugins(GROUP, "latency term", known=NAMES, fault=_fault)


def latency_term(name: str) -> LatencyTerm:
    """The term of a name other than `none`.

    Raises:
        BadInputError: no term has it, or a package that adds one is broken.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name not in plugged_in():
        known = ", ".join([*NAMES, *plugged_in()])
        raise BadInputError(f"unknown latency term {name!r}.", hint=f"latency terms: {known}.")
    term: LatencyTerm = plugged_in()[name].value
    return term


def _fault(value: Any) -> str | None:
    if not isinstance(value, LatencyTerm):
        return f"is a {type(value).__name__}, expected a search.latency_terms.LatencyTerm"
    function: Any = value.expected_ms
    if not callable(function):
        return f"has expected_ms {function!r}, expected a function of a search.latency_terms.TermInput"
    return None
