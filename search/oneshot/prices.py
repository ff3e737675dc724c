"""The latency of U-shaped networks as a one-shot search asks for it, many thousand times."""

from __future__ import annotations

from cinert.errors import BadInputError
from cinert.ushape.space import UShapeSpace
from latency.lut import Lut
from latency.ushape.pricer import UShapePricer
from search.oneshot.population import EstimateMs


def upper_ms_of(space: UShapeSpace, lut: Lut) -> EstimateMs:
    """The upper end of the estimate's interval, which a budget is held against.

    Raises:
        BadInputError: the LUT is of another family of spaces.
    """
    if not isinstance(lut.space, UShapeSpace):
        raise BadInputError(
            f"{lut.source} prices {lut.space.name}, a space of cells, and {space.name} is one of U-shapes.",
            hint=f"measure one with bench-ops --space {space.name}.",
        )
    return UShapePricer(space, lut).upper_ms
