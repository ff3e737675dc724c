"""Estimates of U-shaped networks in microseconds each: a search looks at 10^5 of them.

A block costs the same wherever it stands in a level, for the channels that it reads and gives: each is priced once.
"""

from __future__ import annotations

from collections import Counter

from cinert.errors import BadInputError
from cinert.ushape.arch import UShapeArch
from cinert.ushape.shape import Blocks, UShape
from cinert.ushape.space import UShapeSpace
from latency.lut import Lut
from latency.parts import PartKey
from latency.ushape.parts import grid_parts

_Place = tuple[int, int, str, int, int]
"""Grid, level, what stands there, channels in and width."""


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

    def _shape_ms(self, shape: UShape, grid: int) -> float:
        widths, parts, total = shape.widths, self._grids[grid], self._constant_ms
        for level, blocks in enumerate(shape.encoder):
            width = widths[level]
            if level:
                total += self._of((grid, level, "down", widths[level - 1], width))
            else:
                total += self._of((grid, level, "ends", width, width))
            adds = shape.adds("encoder", level)
            total += self._blocks_ms(grid, level, parts.encoder_channels(level, widths), width, blocks, adds)
        for level, blocks in enumerate(shape.decoder):
            width = widths[level]
            total += self._of((grid, level, "up", widths[level + 1], width))
            adds = shape.adds("decoder", level)
            total += self._blocks_ms(grid, level, parts.decoder_channels(width), width, blocks, adds)
        return total

    def _blocks_ms(
        self, grid: int, level: int, channels_in: int, width: int, blocks: Blocks, adds: tuple[bool, ...]
    ) -> float:
        total = 0.0
        for name, added in zip(blocks, adds, strict=True):
            total += self._of((grid, level, name, channels_in, width))
            if added:
                total += self._of((grid, level, "merge", width, width))
            channels_in = width
        return total

    def _of(self, place: _Place) -> float:
        ms = self._known.get(place)
        if ms is None:
            counts = Counter(self._keys(*place))
            prices = self.lut.price_ms(counts)
            ms = self._known[place] = sum(count * prices[key] for key, count in counts.items())
        return ms

    def _keys(self, grid: int, level: int, what: str, channels: int, width: int) -> list[PartKey]:
        """The parts of a place: a block by its name, or what stands between levels and at the ends."""
        parts = self._grids[grid]
        match what:
            case "ends":
                return [parts.stem(width), parts.head(width)]
            case "down":
                return [parts.reduction(level - 1, channels, width)]
            case "up":
                return [parts.enlarging(level, channels, width), parts.joining(level, width)]
            case "merge":
                return [parts.merge(level, width)]
            case block:
                return list(parts.block(block, level, channels, width))
