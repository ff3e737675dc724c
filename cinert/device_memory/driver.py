"""The NVIDIA driver, asked through ctypes, before any library that would crash without it is woken."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

from cinert.errors import BackendUnavailableError

LIBRARY = "libcuda.so.1"
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """What the driver says about a GPU."""

    name: str
    uuid: str
    compute_capability: str
    """E.g. `8.6`."""
    memory_mib: int


@cache
def load_driver() -> Any:
    """Load and initialise the driver; the ctypes library.

    Raises:
        BackendUnavailableError: there is none, or it does not start; the reason is given.
    """
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise BackendUnavailableError(f"there is no NVIDIA driver here ({LIBRARY} is not found)") from error
    status = library.cuInit(0)
    if status != 0:
        raise BackendUnavailableError(f"the NVIDIA driver does not start (cuInit: {_error_name(library, status)})")
    return library


def check(library: Any, status: int, what: str) -> None:
    """Turn a driver's status into an error.

    Raises:
        BackendUnavailableError: the status is not 0; the message names it as the driver does.
    """
    if status != 0:
        raise BackendUnavailableError(f"the NVIDIA driver refuses {what}: {_error_name(library, status)}.")


def _error_name(library: Any, status: int) -> str:
    name = ctypes.c_char_p()
    known = library.cuGetErrorName(status, ctypes.byref(name)) == 0 and name.value is not None
    return name.value.decode() if known and name.value is not None else f"error {status}"


def driver_problem(index: int = 0) -> str | None:
    """Say why GPU `index` cannot be used; None if it can."""
    try:
        library = load_driver()
    except BackendUnavailableError as error:
        return error.message
    count = ctypes.c_int()
    if library.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the NVIDIA driver sees no GPU"
    return None if index < count.value else f"there is no cuda:{index}, the driver sees {count.value} GPU(s)"


def gpu_facts(index: int = 0) -> GpuFacts:
    """Ask the driver about a GPU.

    Raises:
        BackendUnavailableError: no driver, or no such GPU.
    """
    problem = driver_problem(index)
    if problem is not None:
        raise BackendUnavailableError(f"the GPU cannot be used: {problem}.")
    library = load_driver()
    device, memory = ctypes.c_int(), ctypes.c_size_t()
    name, uuid = ctypes.create_string_buffer(256), (ctypes.c_ubyte * 16)()
    check(library, library.cuDeviceGet(ctypes.byref(device), index), "a device")
    check(library, library.cuDeviceGetName(name, len(name), device), "a device's name")
    check(library, library.cuDeviceGetUuid_v2(uuid, device), "a device's UUID")
    check(library, library.cuDeviceTotalMem_v2(ctypes.byref(memory), device), "a device's memory")
    return GpuFacts(
        name=name.value.decode(),
        uuid=_uuid(bytes(uuid)),
        compute_capability=f"{_attribute(device, _CAPABILITY_MAJOR)}.{_attribute(device, _CAPABILITY_MINOR)}",
        memory_mib=memory.value // 2**20,
    )


def _attribute(device: ctypes.c_int, attribute: int) -> int:
    library, value = load_driver(), ctypes.c_int()
    check(library, library.cuDeviceGetAttribute(ctypes.byref(value), attribute, device), f"attribute {attribute}")
    return value.value


def _uuid(raw: bytes) -> str:
    """As nvidia-smi prints it."""
    text = raw.hex()
    return f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
