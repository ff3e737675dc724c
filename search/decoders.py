"""The decoders by name: those of the papers, and those that packages add (entry points `cinert.decoders`).

Free of torch, so that an option can be checked before it is imported.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

from cinert.errors import BadInputError
from cinert.plugins import Plugin, load, load_plugins

if TYPE_CHECKING:
    from cinert.arch import Arch
    from search.relaxation import ArchParameters

GROUP = "cinert.decoders"


@dataclass(frozen=True, kw_only=True)
class DecodeTask:
    """What a decoder is given at the end of a search."""

    parameters: ArchParameters
    """Alpha, gamma and beta; with a hard budget charged for their latency."""
    paths: int
    """n: how many to keep at most."""
    budget_ms: float
    """That the network should stay within."""
    estimate_ms: Callable[[Arch], float]
    """What of a network is held against the budget."""
    seed: int
    """Of everything drawn."""


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A way from architecture parameters to a network."""

    name: str
    decode: Callable[[DecodeTask], Arch] | None
    """None for those of `search.decode`, which know more of what they pass over."""
    reads_budget: bool
    """Whether another budget may give another network."""


BUILT_IN: Mapping[str, Decoder] = {
    decoder.name: decoder
    for decoder in (
        Decoder(name="longest", decode=None, reads_budget=True),
        Decoder(name="dijkstra", decode=None, reads_budget=False),
        Decoder(name="genetic", decode=None, reads_budget=False),
    )
}
NAMES = tuple(BUILT_IN)


@functools.cache
def plugged_in() -> Mapping[str, Plugin]:
    """The decoders that installed packages add, all of them loaded; raises BadInputError naming a broken package."""
    return load_plugins(GROUP, "decoder", known=NAMES, fault=_fault)


@functools.cache
def decoder_of(name: str) -> Decoder:
    """The decoder of a name, or that of `module:function`.

    A function that is given so gets a `DecodeTask` and returns an `Arch`. It says nothing of the budget, and is taken
    not to read it; a `Decoder` object says.

    Raises:
        BadInputError: no decoder has the name, the function cannot be imported, or a package that adds one is broken.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if ":" not in name:
        if name not in plugged_in():
            known = ", ".join([*NAMES, *plugged_in(), "module:function"])
            raise BadInputError(f"unknown decoder {name!r}.", hint=f"decoders: {known}.")
        found: Decoder = plugged_in()[name].value
        return found
    value, wrong = load(EntryPoint(name=name, value=name, group=GROUP))
    if wrong is None and isinstance(value, Decoder):
        wrong = _fault(value)
    elif wrong is None and not callable(value):
        wrong = f"is a {type(value).__name__}, expected a function or a search.decoders.Decoder"
    if wrong is not None:
        raise BadInputError(
            f"decoder {name} {wrong}.", hint="name it module:function, of a module that Python finds (PYTHONPATH)."
        )
    decode = value.decode if isinstance(value, Decoder) else value
    return Decoder(name=name, decode=decode, reads_budget=isinstance(value, Decoder) and value.reads_budget)


def _fault(value: Any) -> str | None:
    if not isinstance(value, Decoder):
        return f"is a {type(value).__name__}, expected a search.decoders.Decoder"
    if not callable(value.decode):
        return f"has decode {value.decode!r}, expected a function of a search.decoders.DecodeTask"
    return None
