"""What prices are made of: parts that differ only in how many nodes they read share their unknowns.

A preprocessing that reads a vertex of n nodes costs a base and n times a price per node, a concatenation n times a
price per node. So the networks identify few unknowns, and a vertex that random networks seldom show is priced from
those that they show often.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from cinert.space import Space
from latency.parts import PartKey

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]


def price_terms(keys: Sequence[PartKey], space: Space) -> tuple[list[str], Matrix]:
    """Write prices as sums of terms: `prices = basis @ terms`.

    Args:
        keys: parts, in the order of the rows.
        space: gives the width of a node at each scale.

    Returns:
        Names of the terms, and the basis, (parts, terms), non-negative.
    """
    width = dict(zip(space.shapes_DHW, space.widths, strict=True))
    rows = [_terms(key, width[key.shape_in]) for key in keys]
    names = list(dict.fromkeys(name for row in rows for name in row))
    position = {name: column for column, name in enumerate(names)}
    basis = np.zeros((len(keys), len(names)))
    for number, row in enumerate(rows):
        for name, count in row.items():
            basis[number, position[name]] = count
    return names, basis


def _terms(key: PartKey, width: int) -> dict[str, float]:
    where = f"{key.kind} {'x'.join(map(str, key.shape_in))}"
    if key.kind.startswith("pre.") or key.kind == "head":
        return {where: 1.0, f"{where}, a node": key.channels_in / width}
    if key.kind == "concat":
        return {f"{where}, a node": key.channels_out / width}
    return {where: 1.0}


def terms_of(prices: Vector, basis: Matrix) -> Vector:
    """The non-negative terms that come nearest to given prices."""
    solution: Vector = nnls(basis, prices)[0]
    return solution
