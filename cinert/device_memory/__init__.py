"""Device memory for engines that bring none: buffers, pinned host buffers, streams, events and graphs. Free of torch.

Two packages can fill the interface of `base`: pycuda, taken where both are there, and cuda-core.
"""

from __future__ import annotations

from importlib import import_module

from cinert.device_memory.base import Buffer, Device, Event, Graph, Stream
from cinert.device_memory.driver import driver_problem
from cinert.environment import library_version
from cinert.errors import BackendUnavailableError

# Named by string: importing either package is left to the first use.
_IMPLEMENTATIONS = {
    "pycuda": "cinert.device_memory.pycuda_device:PycudaDevice",
    "cuda-core": "cinert.device_memory.cuda_core_device:CudaCoreDevice",
}


def installed() -> tuple[str, ...]:
    """Distributions that are installed and can fill the interface, the preferred one first."""
    return tuple(name for name in _IMPLEMENTATIONS if library_version(name) != "absent")


def open_device(index: int = 0, implementation: str | None = None) -> Device:
    """Open a GPU by its index.

    Args:
        index: as CUDA counts devices.
        implementation: `pycuda` or `cuda-core`; None takes the first that is installed.

    Raises:
        BackendUnavailableError: no driver, no such GPU, or neither package is installed or can be loaded.
    """
    problem = driver_problem(index)
    if problem is not None:
        raise BackendUnavailableError(f"the GPU cannot be used: {problem}.")
    names = installed() if implementation is None else (implementation,)
    if not names:
        raise BackendUnavailableError(
            "the GPU cannot be used: neither pycuda nor cuda-core is installed.",
            hint="pip install cuda-core cuda-bindings; pip install pycuda takes a C++ compiler and CUDA headers.",
        )
    module, attribute = _IMPLEMENTATIONS[names[0]].split(":")
    try:
        device: Device = getattr(import_module(module), attribute)(index)
    except (ImportError, OSError) as error:
        raise BackendUnavailableError(f"the GPU cannot be used: {names[0]} cannot be loaded ({error}).") from error
    return device


__all__ = ["Buffer", "Device", "Event", "Graph", "Stream", "installed", "open_device"]
