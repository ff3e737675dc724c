"""CUDA graphs by stream capture, through the driver: pycuda has none, so both implementations take this one."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from cinert.device_memory.driver import check, load_driver

# Other threads of the process may go on calling CUDA while this one captures.
_THREAD_LOCAL = 1


class DriverGraph:
    """Work captured on a stream, instantiated; the context of the stream must be current for every call."""

    def __init__(self, stream: int, work: Callable[[], object]) -> None:
        """Capture what `work` puts on the stream.

        Raises:
            BackendUnavailableError: the driver refuses to capture or to instantiate.
            Exception: whatever `work` raises; the capture is ended first.
        """
        self._driver = load_driver()
        self._stream = ctypes.c_void_p(stream)
        graph, self._executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._check(self._driver.cuStreamBeginCapture_v2(self._stream, _THREAD_LOCAL), "the capture of a CUDA graph")
        try:
            work()
        finally:
            # A stream left in capture mode would refuse everything that follows.
            status = self._driver.cuStreamEndCapture(self._stream, ctypes.byref(graph))
        self._check(status, "the capture of a CUDA graph")
        try:
            status = self._driver.cuGraphInstantiateWithFlags(
                ctypes.byref(self._executable), graph, ctypes.c_ulonglong(0)
            )
            self._check(status, "the instantiation of a CUDA graph")
        finally:
            self._driver.cuGraphDestroy(graph)

    def launch(self) -> None:
        """Launch on the stream that it was captured on."""
        self._check(self._driver.cuGraphLaunch(self._executable, self._stream), "the launch of a CUDA graph")

    def release(self) -> None:
        """Destroy the graph; again is no harm."""
        if self._executable:
            self._driver.cuGraphExecDestroy(self._executable)
            self._executable = ctypes.c_void_p()

    def _check(self, status: int, what: str) -> None:
        check(self._driver, status, what)
