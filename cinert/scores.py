"""Averages of scores of which some are not defined.

A structure that is neither in the labels nor in the mask has no Dice: it leaves the mean. Counted as 1, it would
flatter every network on data that do not show it, one that finds nothing at all included.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

Score = float | None
"""None where it is not defined."""


def mean_of(scores: Iterable[Score]) -> Score:
    """Mean of those that are defined; None if none is."""
    known = [score for score in scores if score is not None]
    return statistics.fmean(known) if known else None


def spread_of(scores: Iterable[Score]) -> Score:
    """Their sample standard deviation; 0 for a single one, which has no spread to tell of; None if none is defined."""
    known = [score for score in scores if score is not None]
    if not known:
        return None
    return statistics.stdev(known) if len(known) > 1 else 0.0


def in_digits(score: Score, digits: int = 3) -> str:
    """A score for people; a dash where it is not defined."""
    return "-" if score is None else f"{score:.{digits}f}"
