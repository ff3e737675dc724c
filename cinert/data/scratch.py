"""Memory for what is computed in between, kept from frame to frame: fresh pages cost more than writing to them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Scratch:
    """Arrays by name, each valid until the same name is taken again; used from one thread."""

    def __init__(self) -> None:
        self._held: dict[str, NDArray[np.uint8]] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: type[Any], *, most: int = 0) -> NDArray[Any]:
        """An array with whatever it held before.

        Args:
            name: of the memory.
            shape: of the array.
            dtype: of its elements.
            most: elements that the name will ever be asked for, where that is known; the memory then never grows.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        held = self._held.get(name)
        if held is None or held.nbytes < size:
            held = self._held[name] = np.empty(max(size, most * np.dtype(dtype).itemsize), np.uint8)
        array: NDArray[Any] = held[:size].view(dtype).reshape(shape)
        return array
