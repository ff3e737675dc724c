"""The terms in a LUT of U-shaped networks: what a unit of each costs, and what it was learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cinert.errors import BadInputError
from cinert.schema import check_keys
from latency.checks import checked_ms
from latency.parts import PartKey
from latency.ushape.terms import AMOUNTS, UNITS, Device, Rounding, amounts, term_amount, term_name


@dataclass(frozen=True, kw_only=True)
class Term:
    """What a unit of a term adds to a network."""

    ms: float
    error_ms: float
    """Standard error, from how well the timed networks determine the term."""
    from_networks: float
    """Share of it that they determine; the rest is the first guess, from parts timed alone."""


@dataclass(frozen=True, kw_only=True)
class TermPrices:
    """The price of any part of a space, from its channels."""

    device: Device
    """Channels that the engine computes together, and the cache that tensors do not fit into, found by fit."""
    own: bool
    """Whether each grid has terms of its own; otherwise the grids share those of a level."""
    terms: Mapping[str, Term]
    """By name (`latency.ushape.terms.term_name`)."""

    def ms(self, key: PartKey) -> float | None:
        """What a part adds to a network; None where a term of it is not there."""
        total = 0.0
        for amount, number in amounts(key, self.device).items():
            term = self.terms.get(term_name(key, amount))
            if term is None:
                return None
            total += number * term.ms
        return total

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "rounding": self.device.rounding.to_dict(),
            **({} if self.device.cache_mib is None else {"cache_mib": self.device.cache_mib}),
            "own": self.own,
            "terms": [
                {"name": name, "unit": UNITS[term_amount(name)], **asdict(term)} for name, term in self.terms.items()
            ],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> TermPrices:
        """Read what `to_dict` wrote.

        Raises:
            BadInputError: an unknown or missing key, a name that is no term's, a figure that is NaN, infinite or
                negative.
        """
        check_keys(document, required=["rounding", "own", "terms"], optional=["cache_mib"], source=source)
        cache = document.get("cache_mib")
        if cache == 0:
            raise BadInputError(f"{source}.cache_mib is 0, expected a size above 0, or no such key.")
        if not isinstance(document["own"], bool):
            raise BadInputError(f"{source}: own is {document['own']!r}, expected true or false.")
        terms: dict[str, Term] = {}
        for item in document["terms"]:
            figures = list(Term.__dataclass_fields__)
            check_keys(item, required=["name", "unit", *figures], source=f"{source}: term {item.get('name')}")
            name = str(item["name"])
            where = f"{source}: {name}"
            if name.rsplit(": ", 1)[-1] not in AMOUNTS:
                raise BadInputError(f"{where} is no term.", hint=f"a name ends in one of {', '.join(AMOUNTS)}.")
            if item["unit"] != UNITS[term_amount(name)]:
                raise BadInputError(f"{where}: unit is {item['unit']!r}, expected {UNITS[term_amount(name)]!r}.")
            terms[name] = Term(**{figure: checked_ms(item[figure], f"{where}: {figure}") for figure in figures})
        return cls(
            device=Device(
                rounding=Rounding.from_dict(document["rounding"], source=f"{source}.rounding"),
                cache_mib=None if cache is None else checked_ms(cache, f"{source}.cache_mib"),
            ),
            own=document["own"],
            terms=terms,
        )
