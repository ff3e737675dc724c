"""Device memory by pycuda. Needs the package `pycuda`, which is compiled at its installation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pycuda.driver as cuda
from numpy.typing import DTypeLike

from cinert.device_memory.base import Array, Buffer, Device, Event, Graph, Stream
from cinert.device_memory.graph import DriverGraph

# CU_STREAM_NON_BLOCKING, which pycuda does not name.
_NON_BLOCKING = 1


class PycudaDevice(Device):
    """A GPU in its primary context."""

    implementation = "pycuda"

    def __init__(self, index: int) -> None:
        self.index = index
        cuda.init()
        self._context = cuda.Device(index).retain_primary_context()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Push the context and pop it again: one that stays pushed aborts the interpreter at its end."""
        self._context.push()
        try:
            yield
        finally:
            cuda.Context.pop()

    def allocate(self, size: int) -> Buffer:
        """By cuMemAlloc."""
        return _PycudaBuffer(size)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """By cuMemHostAlloc."""
        array: Array = cuda.pagelocked_zeros(shape, np.dtype(dtype))
        return array

    def stream(self) -> Stream:
        """A non-blocking stream."""
        return _PycudaStream()


class _PycudaBuffer:
    def __init__(self, size: int) -> None:
        self.size = size
        self._allocation = cuda.mem_alloc(size)
        self.address = int(self._allocation)

    def release(self) -> None:
        self._allocation.free()


class _PycudaStream(Stream):
    def __init__(self) -> None:
        self._stream = cuda.Stream(_NON_BLOCKING)
        self.handle = int(self._stream.handle)

    def upload(self, source: Array, target: Buffer) -> None:
        cuda.memcpy_htod_async(target.address, source, self._stream)

    def download(self, source: Buffer, target: Array) -> None:
        cuda.memcpy_dtoh_async(target, source.address, self._stream)

    def record(self) -> Event:
        event = cuda.Event()
        event.record(self._stream)
        return _PycudaEvent(event)

    def capture(self, work: Callable[[], object]) -> Graph:
        return DriverGraph(self.handle, work)

    def synchronise(self) -> None:
        self._stream.synchronize()


class _PycudaEvent:
    def __init__(self, event: Any) -> None:
        self._event = event

    def ms_since(self, start: Event) -> float:
        assert isinstance(start, _PycudaEvent)
        self._event.synchronize()
        return float(self._event.time_since(start._event))
