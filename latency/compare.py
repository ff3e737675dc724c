"""Two LUTs side by side: time per part, ratio, and the network that they have in common."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from cinert.errors import BadInputError
from latency.lut import Lut
from latency.parts import PartKey


@dataclass(frozen=True, slots=True)
class Comparison:
    """One part in two LUTs, in milliseconds, quiet machine."""

    key: PartKey
    a_ms: float
    b_ms: float
    a_price_ms: float
    b_price_ms: float

    @property
    def ratio(self) -> float:
        """How many times longer A takes alone."""
        return self.a_ms / self.b_ms


def compare(a: Lut, b: Lut) -> list[Comparison]:
    """Pair the rows of two LUTs by part, whatever their precision.

    Raises:
        BadInputError: they have no part in common.
    """
    rows_b = {_without_precision(row.key): row for row in b.rows}
    pairs = []
    for row in a.rows:
        other = rows_b.get(_without_precision(row.key))
        if other is not None:
            prices = (a.prices.parts[row.key.label].ms, b.prices.parts[other.key.label].ms)
            pairs.append(Comparison(row.key, row.quiet_ms, other.quiet_ms, *prices))
    if not pairs:
        raise BadInputError(
            f"LUTs {a.source} and {b.source} have no part in common.", hint="measure both with the same --space."
        )
    return pairs


def _without_precision(key: PartKey) -> tuple[object, ...]:
    return tuple(value for name, value in key.to_dict().items() if name != "precision" for value in [str(value)])


def comparison_table(a: Lut, b: Lut) -> Table:
    """Format the comparison for a terminal."""
    table = Table(title=f"A: {a.device_name}   B: {b.device_name}", caption="milliseconds, quiet machine, batch 1")
    table.add_column("part")
    for name in ("A alone", "B alone", "A / B", "A in context", "B in context"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in compare(a, b):
        label = item.key.label.removesuffix(f" {item.key.precision}")
        numbers = (item.a_ms, item.b_ms, item.ratio, item.a_price_ms, item.b_price_ms)
        table.add_row(
            label, *(f"{number:.3f}" if column != 2 else f"{number:.2f}x" for column, number in enumerate(numbers))
        )
    return table
