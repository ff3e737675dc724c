"""The prices in a LUT: what each part adds to a network, and what it was learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cinert.errors import BadInputError
from cinert.schema import check_keys
from latency.checks import checked_ms
from latency.composition import RULES, Rule
from latency.parts import PartKey
from latency.ushape.prices import TermPrices

_FIGURES = ("ms", "error_ms", "networks", "from_networks")


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a part adds to a network, learned in context from short networks timed whole."""

    key: PartKey
    ms: float
    error_ms: float
    """Standard error, from how well the timed networks determine the price."""
    networks: int
    """How many of the timed networks hold the part."""
    from_networks: float
    """Share of the price that they determine; the rest is the scaled isolated time."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"label": self.key.label, "key": self.key.to_dict(), **{name: getattr(self, name) for name in _FIGURES}}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> Price:
        """Read what `to_dict` wrote; raises BadInputError naming the figure that cannot be."""
        where = f"{source}: price of {document.get('label')}"
        check_keys(document, required=["label", "key", *_FIGURES], source=where)
        figures = {name: checked_ms(document[name], f"{where}: {name}") for name in _FIGURES if name != "networks"}
        return cls(key=PartKey.from_dict(document["key"], source=where), networks=int(document["networks"]), **figures)


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Model of network latency: a constant and a non-negative price per part, and how they compose."""

    constant_ms: float
    parts: Mapping[str, Price]
    """By label."""
    composition: Rule
    """How parts compose (`latency.composition`)."""
    relative_error_90: float
    """Ninety per cent of held-out short networks lie within this fraction of the estimate (cross-validated)."""
    overlap: float
    """Sustained frames/s with successive frames overlapped, times latency in seconds."""
    terms: TermPrices | None = None
    """Of a space of U-shaped networks: the price of any part, of which `parts` holds those that were timed alone."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """The networks that were timed, and how well the model fits them."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "constant_ms": self.constant_ms,
            "composition": self.composition,
            "relative_error_90": self.relative_error_90,
            "overlap": self.overlap,
            "parts": [price.to_dict() for price in self.parts.values()],
            **({} if self.terms is None else {"terms": self.terms.to_dict()}),
            "report": dict(self.report),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str, with_terms: bool = False) -> Prices:
        """Read what `to_dict` wrote.

        Args:
            document: of `to_dict`.
            source: for messages.
            with_terms: whether it is of a space of U-shaped networks.

        Raises:
            BadInputError: an unknown key or rule, a time that is NaN, infinite or negative.
        """
        numbers = ["constant_ms", "relative_error_90", "overlap"]
        own = ["terms"] if with_terms else []
        check_keys(document, required=[*numbers, "composition", "parts", *own, "report"], source=source)
        rule = document["composition"]
        if rule not in RULES:
            raise BadInputError(f"{source}: composition is {rule!r}, expected one of {', '.join(RULES)}.")
        prices = [Price.from_dict(item, source=source) for item in document["parts"]]
        return cls(
            parts={price.key.label: price for price in prices},
            composition=rule,
            terms=TermPrices.from_dict(document["terms"], source=f"{source}.terms") if with_terms else None,
            report=document["report"],
            **{name: checked_ms(document[name], f"{source}.{name}") for name in numbers},
        )
