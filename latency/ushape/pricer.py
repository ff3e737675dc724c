"""Estimates of U-shaped networks in microseconds each: a search looks at 10^5 of them.

What a level costs depends on its width, what arrives there and its blocks alone, so that each of these is priced once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cinert.errors import BadInputError
from cinert.ushape.arch import UShapeArch
from cinert.ushape.shape import Blocks, UShape
from cinert.ushape.space import UShapeSpace
from latency.lut import Lut
from latency.parts import PartKey
from latency.ushape.parts import grid_parts

_Place = tuple[int | str | Blocks, ...]


class UShapePricer:
    """Host-to-host latency of the networks of a space by a LUT, calibrated where the LUT is.

    Args:
        space: of the networks.
        lut: prices, of this space or of one that offers as much.
    """

    def __init__(self, space: UShapeSpace, lut: Lut) -> None:
        self.space, self.lut = space, lut
        self._grids = grid_parts(space, lut.precision)
        self._known: dict[_Place, float] = {}
        self._constant_ms = lut.constant_ms
        self._upper = 1 + lut.relative_error_90

    def ms(self, arch: UShapeArch) -> float:
        """The estimate, equal to that of `latency.estimate.estimate`.

        Raises:
            BadInputError: the network is of another space, or the LUT lacks a part; all missing ones are listed.
        """
        if arch.space is not self.space and arch.space != self.space:
            raise BadInputError(
                f"{arch.source} is a network of space {arch.space.name} {arch.space.digest}, and prices were asked for"
                f" space {self.space.name} {self.space.digest}."
            )
        return self.shape_ms(arch.shape, arch.grid_number)

    def upper_ms(self, arch: UShapeArch) -> float:
        """Upper end of the estimate's 90 % interval."""
        return self.ms(arch) * self._upper

    def shape_ms(self, shape: UShape, grid_number: int) -> float:
        """The same for a network that is not an architecture yet.

        Args:
            shape: a network of the space.
            grid_number: position of its grid in the space.

        Raises:
            BadInputError: the LUT lacks a part; all missing ones are listed.
        """
        try:
            return self._shape_ms(shape, grid_number)
        except BadInputError:
            # Some place lacks a part; the message is to list those of all places.
            self.lut.price_ms(Counter(self._grids[grid_number].network(shape)))
            raise

    def _shape_ms(self, shape: UShape, grid_number: int) -> float:
        widths, total = shape.widths, self._constant_ms
        known, last = self._known, len(widths) - 1
        for level, width in enumerate(widths):
            before = widths[level - 1] if level else 0
            place: _Place = (grid_number, "down", level, before, width, shape.encoder[level])
            ms = known.get(place)
            total += self._down(place, grid_number, level, widths, shape.encoder[level]) if ms is None else ms
            if level < last:
                place = (grid_number, "up", level, widths[level + 1], width, shape.decoder[level])
                ms = known.get(place)
                total += self._up(place, grid_number, level, widths, shape.decoder[level]) if ms is None else ms
        return total

    def _down(self, place: _Place, grid: int, level: int, widths: tuple[int, ...], blocks: Blocks) -> float:
        """What leads to a level, and its blocks; at the finest level stem and head."""
        parts, width = self._grids[grid], widths[level]
        if level:
            ends = [parts.reduction(level - 1, widths[level - 1], width)]
        else:
            ends = [parts.stem(width), parts.head(width)]
        return self._price(place, [*ends, *parts.blocks(blocks, level, parts.encoder_channels(level, widths), width)])

    def _up(self, place: _Place, grid: int, level: int, widths: tuple[int, ...], blocks: Blocks) -> float:
        """What leads back to a level, its joining, and its blocks."""
        parts, width = self._grids[grid], widths[level]
        ends = [parts.enlarging(level, widths[level + 1], width), parts.joining(level, width)]
        return self._price(place, [*ends, *parts.blocks(blocks, level, parts.decoder_channels(width), width)])

    def _price(self, place: _Place, keys: Iterable[PartKey]) -> float:
        counts = Counter(keys)
        prices = self.lut.price_ms(counts)
        ms = sum(count * prices[key] for key, count in counts.items())
        self._known[place] = ms
        return ms
