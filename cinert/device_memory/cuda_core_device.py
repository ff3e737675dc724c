"""Device memory by NVIDIA's cuda-core. Needs the packages `cuda-core` and `cuda-bindings`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from cuda.bindings import driver
from cuda.core import Device as CudaDevice
from cuda.core import EventOptions, LegacyPinnedMemoryResource
from numpy.typing import DTypeLike

from cinert.device_memory.base import Array, Buffer, Device, Event, Graph, Stream
from cinert.device_memory.graph import DriverGraph
from cinert.errors import BackendUnavailableError


class CudaCoreDevice(Device):
    """A GPU in its primary context."""

    implementation = "cuda-core"

    def __init__(self, index: int) -> None:
        self.index = index
        self._device = CudaDevice(index)
        self._device.set_current()
        self._pinned = LegacyPinnedMemoryResource()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Set the context in this thread; it stays set, which is how the CUDA run time leaves it too."""
        self._device.set_current()
        yield

    def allocate(self, size: int) -> Buffer:
        """From the device's memory pool."""
        return _CudaCoreBuffer(self._device, size)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """By cuMemAllocHost; the array holds the memory."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        array: Array = np.from_dlpack(self._pinned.allocate(size)).view(dtype).reshape(shape)
        array[...] = 0
        return array

    def stream(self) -> Stream:
        """A non-blocking stream, which is this package's default."""
        return _CudaCoreStream(self._device.create_stream())


class _CudaCoreBuffer:
    def __init__(self, device: CudaDevice, size: int) -> None:
        self.size = size
        stream = device.default_stream
        self._buffer = device.allocate(size, stream=stream)
        # The pool hands memory out in the order of a stream, and ours is another one.
        stream.sync()
        self.address = int(self._buffer.handle)

    def release(self) -> None:
        self._buffer.close()


class _CudaCoreStream(Stream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.handle = int(stream.handle)

    def upload(self, source: Array, target: Buffer) -> None:
        _copy(target.address, source.ctypes.data, source.nbytes, self.handle)

    def download(self, source: Buffer, target: Array) -> None:
        _copy(target.ctypes.data, source.address, target.nbytes, self.handle)

    def record(self) -> Event:
        return _CudaCoreEvent(self._stream.record(options=EventOptions(timing_enabled=True)))

    def capture(self, work: Callable[[], object]) -> Graph:
        return DriverGraph(self.handle, work)

    def synchronise(self) -> None:
        self._stream.sync()


class _CudaCoreEvent:
    def __init__(self, event: Any) -> None:
        self._event = event

    def ms_since(self, start: Event) -> float:
        assert isinstance(start, _CudaCoreEvent)
        self._event.sync()
        return float(self._event - start._event)


def _copy(target: int, source: int, size: int, stream: int) -> None:
    """Copy between addresses; the driver knows on which side each lies."""
    (status,) = driver.cuMemcpyAsync(target, source, size, stream)
    if status != driver.CUresult.CUDA_SUCCESS:
        raise BackendUnavailableError(f"the NVIDIA driver refuses a copy: {status.name}.")
