"""The interface: what a runner needs of a GPU, and no more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


class Buffer(Protocol):
    """Memory on the device, held until `release`."""

    @property
    def address(self) -> int:
        """Device address."""

    @property
    def size(self) -> int:
        """Bytes."""

    def release(self) -> None:
        """Give the memory back."""


class Event(Protocol):
    """A point in a stream."""

    def ms_since(self, start: Event) -> float:
        """Wait for this point, and return the device's milliseconds since `start` on the same device."""


class Graph(Protocol):
    """Work that was captured once and is launched as a whole."""

    def launch(self) -> None:
        """Launch on the stream that it was captured on; returns at once."""

    def release(self) -> None:
        """Destroy it."""


class Stream(ABC):
    """A queue of work on the device. Calls return at once, except `synchronise`; the device must be current."""

    handle: int
    """CUstream, as engines take it."""

    @abstractmethod
    def upload(self, source: Array, target: Buffer) -> None:
        """Copy from pinned host memory to the device."""

    @abstractmethod
    def download(self, source: Buffer, target: Array) -> None:
        """Copy from the device to pinned host memory."""

    @abstractmethod
    def record(self) -> Event:
        """Mark this point, with a time."""

    @abstractmethod
    def capture(self, work: Callable[[], object]) -> Graph:
        """Capture what `work` puts on this stream, without running it."""

    @abstractmethod
    def synchronise(self) -> None:
        """Wait until everything on the stream is done."""


class Device(ABC):
    """One GPU, in its primary context, which engines share."""

    implementation: str
    """Distribution behind it."""
    index: int

    @abstractmethod
    def current(self) -> AbstractContextManager[None]:
        """Make the device current in this thread; every other call has to be made inside."""

    @abstractmethod
    def allocate(self, size: int) -> Buffer:
        """Allocate `size` bytes on the device."""

    @abstractmethod
    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array in page-locked host memory, which the device copies from and to by itself."""

    @abstractmethod
    def stream(self) -> Stream:
        """Make a stream of its own, not synchronised with the default stream."""
