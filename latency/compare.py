"""Two LUTs side by side: time per part, ratio, roofline bound, and what depthwise and dilated convolutions gain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from rich import box
from rich.table import Table

from cinert.errors import BadInputError
from cinert.space import Shape3, Space
from latency.family import named, panels
from latency.lut import Lut, Row
from latency.parts import PartKey
from latency.roofline import Limit

PLAIN = "conv"
JUDGED = {"dilated": "dilated", "separable": "depthwise-separable", "depthwise": "depthwise"}
"""Ops that are said to gain little on TensorRT, and their names for people."""
_LIMITS: dict[Limit, str] = {"memory": "mem", "compute": "ops"}
_AS_MUCH = 1.1
"""Gains that differ by less than this factor are told as the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """A part in one of the two LUTs."""

    ms: float
    """Alone, quiet machine."""
    price_ms: float | None
    """In a network; None where the LUT has no price of it."""
    bound: tuple[float, Limit] | None
    """The least time in ms on this device and what limits it (`Roofline.bound`); None without a roofline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One part in two LUTs."""

    key: PartKey
    """In the first LUT's precision."""
    scale: int
    """That it is paid at: that of its output; of U-shaped networks the place of its level among those of all grids."""
    heading: str
    """Of its scale, for people."""
    name: str
    """Kind and channels, and where it reads another scale."""
    a: Side
    b: Side

    @property
    def ratio(self) -> float:
        """How many times longer A takes alone."""
        return self.a.ms / self.b.ms


def compare(a: Lut, b: Lut) -> list[Comparison]:
    """Pair the rows of two LUTs by part, whatever their precision; scale by scale, in the order of the first.

    Raises:
        BadInputError: they have no part in common.
    """
    rows_b = {_without_precision(row.key): row for row in b.rows}
    headings, shapes = zip(*panels(a.space), strict=True)
    pairs = [
        Comparison(
            key=row.key,
            scale=shapes.index(row.key.shape_out),
            heading=headings[shapes.index(row.key.shape_out)],
            name=_name(row.key, a, shapes),
            a=_side(a, row),
            b=_side(b, rows_b[key]),
        )
        for row in a.rows
        if (key := _without_precision(row.key)) in rows_b
    ]
    if not pairs:
        raise BadInputError(
            f"LUTs {a.source} and {b.source} have no part in common.", hint="measure both with the same --space."
        )
    return sorted(pairs, key=lambda item: item.scale)


def machines(a: Lut, b: Lut) -> str:
    """What the times of both are of, for captions."""
    return a.machine if a.machine == b.machine else f"A {a.machine}, B {b.machine}"


def _side(lut: Lut, row: Row) -> Side:
    price = lut.prices.parts.get(row.key.label)
    return Side(
        ms=row.quiet_ms,
        price_ms=None if price is None else price.ms,
        bound=None if lut.roofline is None else lut.roofline.bound(row.key),
    )


def _without_precision(key: PartKey) -> tuple[str, ...]:
    return tuple(str(value) for name, value in key.to_dict().items() if name != "precision")


def _name(key: PartKey, lut: Lut, shapes: Sequence[Shape3]) -> str:
    words = named(lut.space, key)
    if key.shape_in == key.shape_out:
        return words
    where = f"scale {shapes.index(key.shape_in)}" if isinstance(lut.space, Space) else "x".join(map(str, key.shape_in))
    return f"{words} from {where}"


def by_scale(items: Sequence[Comparison]) -> Iterator[tuple[str, list[Comparison]]]:
    """The comparisons of each scale, under its heading, e.g. `scale 0: 20x128x112`."""
    for _, group in groupby(items, key=lambda item: item.scale):
        members = list(group)
        yield members[0].heading, members


def comparison_table(a: Lut, b: Lut) -> Table:
    """Format the comparison for a terminal of 80 columns or more."""
    items = compare(a, b)
    table = Table(
        title=f"A: {a.title}\nB: {b.title}",
        caption=f"milliseconds, {machines(a, b)}, batch 1; price: in a network\n" + _bound_words(b),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("part")
    for name in ("A alone", "B alone", "A / B", "B least", "A price", "B price"):
        table.add_column(name, justify="right", no_wrap=True)
    for heading, members in by_scale(items):
        table.add_section()
        table.add_row(heading, style="bold")
        for item in members:
            least = "-" if item.b.bound is None else f"{_figure(item.b.bound[0])} {_LIMITS[item.b.bound[1]]}"
            prices = (_figure(side.price_ms) for side in (item.a, item.b))
            table.add_row(item.name, _figure(item.a.ms), _figure(item.b.ms), f"{item.ratio:.2f}x", least, *prices)
    return table


def _figure(ms: float | None) -> str:
    return "-" if ms is None else f"{ms:.3f}" if ms >= 0.01 else f"{ms:.2g}"


def _bound_words(b: Lut) -> str:
    if b.roofline is None:
        return f"B least: the roofline of B was not measured in {b.precision}"
    return (
        f"B least: by main memory (mem, {b.roofline.copy_gb_s:.1f} GB/s; less ran from the cache)\n"
        f"or by matrix products (ops, {b.roofline.matrix_gflop_s:.0f} GFLOP/s in {b.precision})"
    )


def gain_sentence(items: Sequence[Comparison]) -> str:
    """Say whether dilated, depthwise and depthwise-separable convolutions gain as much from A to B as plain ones do.

    Each is held against the plain convolution of the same kernel and channels at the same scale; means are geometric.
    """
    ops = {(_op(item.key), _alike(item)): item for item in items if _op(item.key) in {PLAIN, *JUDGED}}
    scales = {kind: [alike for name, alike in ops if name == kind and (PLAIN, alike) in ops] for kind in JUDGED}
    judged = [kind for kind in JUDGED if scales[kind]]
    if not judged:
        return "Nothing can be said about dilated and separable convolutions: no scale has one beside a plain one."
    plain = [item.ratio for (kind, _), item in ops.items() if kind == PLAIN]
    told: list[str] = []
    verdicts: dict[str, list[str]] = {}
    for kind in judged:
        ours = [ops[kind, scale] for scale in scales[kind]]
        theirs = [ops[PLAIN, scale] for scale in scales[kind]]
        on_a = _mean(item.a.ms / other.a.ms for item, other in zip(ours, theirs, strict=True))
        on_b = _mean(item.b.ms / other.b.ms for item, other in zip(ours, theirs, strict=True))
        told.append(
            f"a {JUDGED[kind]} one {_mean(item.ratio for item in ours):.2f} times ({on_a:.2f} of a plain one's time on"
            f" A, {on_b:.2f} on B)"
        )
        gain = on_a / on_b
        word = "more than" if gain > _AS_MUCH else "less than" if gain < 1 / _AS_MUCH else "as much as"
        verdicts.setdefault(word, []).append(f"the {JUDGED[kind]} one")
    counted = "scale" if len({item.scale for (kind, _), item in ops.items() if kind == PLAIN}) == len(plain) else "part"
    gains = (
        f"{' and '.join(kinds)} gain{'s' if len(kinds) == 1 else ''} {word} the plain one"
        for word, kinds in verdicts.items()
    )
    return (
        f"From A to B a plain 3D convolution runs {_mean(plain):.2f} times as fast (geometric mean over {len(plain)}"
        f" {counted}{'s' if len(plain) > 1 else ''}), {' and '.join(told)}: {', '.join(gains)}."
    )


def _op(key: PartKey) -> str:
    """The kind of a part, with dilated convolutions told from plain ones."""
    return "dilated" if key.kind == PLAIN and key.dilation != 1 else key.kind


def _alike(item: Comparison) -> tuple[object, ...]:
    """What a convolution shares with the plain one that it is held against."""
    return item.scale, item.key.kernel, item.key.channels_in, item.key.channels_out


def _mean(ratios: Iterable[float]) -> float:
    return float(np.exp(np.mean(np.log(list(ratios)))))
