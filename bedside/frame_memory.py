"""Memory that a server shares with its engine process: a sign of life, one frame and its mask.

It is anonymous (memfd_create(2), Linux): it has no name that a killed process could leave behind, and the kernel frees
it with the last process that holds it.
"""

from __future__ import annotations

import math
import mmap
import os
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

_ALIGN = 64
_HEADER = _ALIGN
"""The sign of life and the number of images lie here, the image behind them, the mask behind the image."""


class Layout(NamedTuple):
    """How a frame lies in the memory; all that is said about its pixels outside of it."""

    shape: tuple[int, int, int]
    dtype: str
    order: Literal["C", "F"]

    @classmethod
    def of(cls, image: NDArray[Any]) -> Layout:
        """The layout that an image can be copied to without turning it.

        Raises:
            TypeError: its values are no real numbers; objects are addresses, which mean nothing to another process.
        """
        if image.dtype.kind not in "buif":
            raise TypeError(f"a frame of {image.dtype} values, not of real numbers")
        i, j, k = image.shape
        return cls((i, j, k), image.dtype.str, "F" if image.flags.f_contiguous else "C")

    @property
    def mask_start(self) -> int:
        """Bytes from the start of the memory to the mask."""
        pixels = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        return _HEADER + -(-pixels // _ALIGN) * _ALIGN

    @property
    def size(self) -> int:
        """Bytes that the memory needs."""
        return self.mask_start + math.prod(self.shape)


class FrameMemory:
    """One side's view of the memory; grows with the first frame of a larger size and is kept from then on.

    Args:
        descriptor: of the memory that the other side made; None makes it.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = os.memfd_create("cinert-frames") if descriptor is None else descriptor
        self._memory = self._mapped(_HEADER)

    def beat(self) -> None:
        """Give a sign of life."""
        self._life()[0] += 1

    @property
    def beats(self) -> int:
        """Signs of life so far."""
        return int(self._life()[0])

    def begin_image(self) -> None:
        """Say that an image is about to be written over the last one."""
        self._life()[1] += 1

    @property
    def images(self) -> int:
        """Images that were begun so far; while that is the same, the image is whole."""
        return int(self._life()[1])

    def arrays(self, layout: Layout) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Image and mask, in place: the next frame lies where this one lay.

        Raises:
            OSError: there is no memory for a frame of this size.
        """
        if layout.size > len(self._memory):
            self._memory = self._mapped(layout.size)
        image: NDArray[Any] = np.ndarray(layout.shape, layout.dtype, self._memory, _HEADER, order=layout.order)
        # Column by column, as most frames come: MRD's pixels are a frame's transposed.
        mask: NDArray[np.uint8] = np.ndarray(layout.shape, np.uint8, self._memory, layout.mask_start, order="F")
        return image, mask

    def close(self) -> None:
        """Give up this side's hold; arrays that are still used stay readable."""
        os.close(self.descriptor)

    def _life(self) -> NDArray[np.uint64]:
        return np.ndarray((2,), np.uint64, self._memory)

    def _mapped(self, size: int) -> mmap.mmap:
        # Reserved now: a page that cannot be had later would kill the process that touches it.
        os.posix_fallocate(self.descriptor, 0, size)
        return mmap.mmap(self.descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
