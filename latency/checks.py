"""Checks of numbers that are read from a LUT's files."""

from __future__ import annotations

import math
from typing import Any

from cinert.errors import BadInputError


def checked_ms(value: Any, where: str) -> float:
    """A time, factor or rate: finite and not negative.

    Raises:
        BadInputError: NaN, infinite, negative, or no number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise BadInputError(f"{where} is {value!r}, expected a finite number >= 0.")
    return float(value)


def checked_positive_ms(value: Any, where: str) -> float:
    """A measured time: finite and above zero.

    Raises:
        BadInputError: as `checked_ms`, and zero.
    """
    if not (ms := checked_ms(value, where)):
        raise BadInputError(f"{where} is 0, expected a time above 0.")
    return ms
