"""Separable linear maps of volumes, axis by axis, in memory that is kept from frame to frame."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cinert.data.resample import AxisMap, inside, interpolation_matrix
from cinert.data.scratch import Scratch

Bands = tuple[tuple[slice, slice], ...]
_WHOLE: Bands = ((slice(None), slice(None)),)
_BAND_ROWS = 16
"""Fewer would make products that are too small to be fast."""


@dataclass(frozen=True, slots=True, eq=False)
class AxisMatrices:
    """What one axis does to an image on its way to the network, and to logits on their way back.

    Flips live in the matrices: reversing an array would cost a copy per frame.

    Attributes:
        filled: voxels of the network that the image fills.
        forward: (filled, source), image to network.
        bands: of `forward`, of which a few rows need a few columns alone.
        source: voxels of the image, as stored, that `forward` reads.
        seen: voxels of the image, as stored, that the network sees.
        backward: (seen, network), network to image.
        nearest: (seen,), the network voxel nearest to each.
    """

    filled: slice
    forward: NDArray[np.float32]
    bands: Bands
    source: slice
    seen: slice
    backward: NDArray[np.float32]
    nearest: NDArray[np.intp]

    @classmethod
    def of(cls, axis_map: AxisMap, *, flipped: bool) -> Self:
        """Make them; `flipped` says that the stored axis runs against the network's."""
        index = axis_map.image_index()
        filled = inside(index, axis_map.image_size)
        forward = interpolation_matrix(index[filled], axis_map.image_size, support=max(1.0, axis_map.step))
        forward, source = used_columns(forward[:, ::-1] if flipped else forward)
        back = axis_map.network_index()
        back = back[::-1] if flipped else back
        size = axis_map.network_size
        seen = inside(back, size)
        nearest = np.clip(np.floor(back[seen] + 0.5), 0, size - 1).astype(np.intp)
        return cls(filled, forward, bands_of(forward), source, seen, interpolation_matrix(back[seen], size), nearest)


def used_columns(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], slice]:
    """Leave out the columns before the first and after the last that is used."""
    used = np.flatnonzero(matrix.any(axis=0))
    run = slice(int(used[0]), int(used[-1]) + 1)
    return np.ascontiguousarray(matrix[:, run]), run


def contiguous(volumes: NDArray[Any], scratch: Scratch) -> NDArray[np.float32]:
    """The same values as float32 in the order of the axes; copied only where they are not."""
    if volumes.dtype == np.float32 and volumes.flags.c_contiguous:
        return volumes
    copied: NDArray[np.float32] = scratch.take("contiguous", volumes.shape, np.float32)
    np.copyto(copied, volumes, casting="unsafe")
    return copied


def apply_matrices(
    matrices: list[NDArray[np.float32]],
    volumes_CDHW: NDArray[Any],
    scratch: Scratch,
    *,
    bands: list[Bands] | None = None,
    most: int = 0,
) -> NDArray[np.float32]:
    """Multiply each axis of some volumes by its matrix, in the order that takes the fewest multiplications.

    Args:
        matrices: of D, H, W, each (after, before).
        volumes_CDHW: any real type, any strides.
        scratch: for what is between, and for the result.
        bands: of each matrix, where it is large enough for them to save time.
        most: elements that any result will have.

    Returns:
        (C, D', H', W'), valid until the next call with this scratch.
    """
    volumes = contiguous(volumes_CDHW, scratch)
    shape = list(volumes.shape)
    for number, axis in enumerate(_order(tuple((len(matrix), matrix.shape[1]) for matrix in matrices))):
        matrix = matrices[axis]
        before, shape[axis + 1] = shape[axis + 1], len(matrix)
        result: NDArray[np.float32] = scratch.take(f"applied {number % 2}", tuple(shape), np.float32, most=most)
        behind = math.prod(shape[axis + 2 :])
        source, target = volumes.reshape(-1, before, behind), result.reshape(-1, len(matrix), behind)
        for rows, columns in _WHOLE if bands is None else bands[axis]:
            if axis == 2:
                np.matmul(source[:, columns, 0], matrix[rows, columns].T, out=target[:, rows, 0])
            else:
                np.matmul(matrix[rows, columns], source[:, columns], out=target[:, rows])
        volumes = result
    return volumes


@functools.lru_cache(maxsize=4096)
def _order(shapes: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """Axes in the order that takes the fewest multiplications; `shapes` are (after, before)."""

    def cost(order: tuple[int, ...]) -> int:
        sizes, sum_of = [before for _, before in shapes], 0
        for axis in order:
            sum_of += math.prod(sizes) * shapes[axis][0]
            sizes[axis] = shapes[axis][0]
        return sum_of

    return min(itertools.permutations(range(3)), key=cost)


def bands_of(matrix: NDArray[np.float32]) -> Bands:
    """Runs of rows, with the run of columns that they need."""
    bands = []
    for start in range(0, len(matrix), _BAND_ROWS):
        rows = slice(start, min(start + _BAND_ROWS, len(matrix)))
        used = np.flatnonzero(matrix[rows].any(axis=0))
        bands.append((rows, slice(int(used[0]), int(used[-1]) + 1)))
    return tuple(bands)


def largest(channels: NDArray[np.float32], scratch: Scratch, *, out: NDArray[np.uint8]) -> None:
    """Write the index of the largest channel, the first of equals; `np.argmax` along it takes ten times as long.

    Args:
        channels: (C, D, H, W); the first is overwritten.
        scratch: for what is between.
        out: (D, H, W), any strides.
    """
    best, shape = channels[0], channels.shape[1:]
    wins, index = scratch.take("wins", shape, np.bool_), scratch.take("index", shape, np.uint8)
    winner = scratch.take("winner", shape, np.uint8)
    winner.fill(0)
    for label, channel in enumerate(channels[1:], start=1):
        # Arithmetic, because assignment through a boolean index is five times slower on scattered voxels.
        np.greater(channel, best, out=wins)
        np.multiply(wins.view(np.uint8), np.uint8(label), out=index)
        np.maximum(winner, index, out=winner)
        np.maximum(best, channel, out=best)
    out[...] = winner
