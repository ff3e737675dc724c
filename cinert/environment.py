"""What machine this is: threads, and the fingerprint that binds a measurement to a device. Free of torch."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from cinert.cgroup import cpu_quota
from cinert.gpu_state import gpu_state

if TYPE_CHECKING:
    from cinert.backends.base import Backend

BINDING = ("backend", "precision", "threads", "device", "libraries")
"""Keys that must agree before a measurement is held against a LUT; `recorded` is for people."""


def default_threads() -> int:
    """Threads for inference: the physical cores that this process may use, by its affinity and its CPU quota.

    Of a quota of 2.5 cores two are taken: with a thread too many all of them stand still at the end of every period.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if (quota := cpu_quota()) is not None:
        allowed = min(allowed, int(quota))
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def has_nvidia_gpu() -> bool:
    """Whether an NVIDIA driver with a device answers; asked of the driver itself, so that torch is not needed."""
    try:
        return int(ctypes.CDLL("libcuda.so.1").cuInit(0)) == 0
    except OSError:
        return False


def driver_version() -> str:
    """Version of the NVIDIA driver, or `unknown`."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"


def cache_folder() -> Path:
    """Where what is costly to make is kept: $CINERT_CACHE, or `cinert` in the user's cache folder."""
    if folder := os.environ.get("CINERT_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cinert"


def cpu_name() -> str:
    """Model name of the CPU, as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def cpu_device() -> dict[str, Any]:
    """The CPU as the `device` of a fingerprint. Cores count: the same model is rented out in all sizes."""
    return {"kind": "cpu", "name": cpu_name(), "cores": psutil.cpu_count(logical=False) or os.cpu_count()}


def library_version(distribution: str) -> str:
    """Installed version of a distribution, or `absent`."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"


def fingerprint(backend: Backend, *, device: str, threads: int, precision: str) -> dict[str, Any]:
    """Describe where a measurement is made.

    Args:
        backend: gives device and library versions.
        device: `auto`, `cpu` or `cuda:N`.
        threads: CPU threads of the engine.
        precision: of the engine.

    Returns:
        JSON-able mapping; the keys in `BINDING` bind, `recorded` does not.
    """
    frequency = psutil.cpu_freq()
    bound = backend.fingerprint(device)
    uuid = bound["device"].get("uuid")
    return {
        "backend": backend.name,
        "precision": precision,
        "threads": threads,
        **bound,
        "recorded": {
            **({} if uuid is None else {"gpu": gpu_state(uuid)}),
            "host_cpu": cpu_name(),
            "clock_mhz": None if frequency is None else round(frequency.current),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
    }


def device_name(print_: Mapping[str, Any]) -> str:
    """Name a fingerprint's device for people."""
    return f"{print_['device']['name']} ({print_['backend']}, {print_['precision']}, {print_['threads']} threads)"


def binding_differences(lut: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Name every binding value that differs between a LUT's fingerprint and this machine's; [] is the same device."""
    differences = []
    for key in BINDING:
        was, now = lut.get(key), here.get(key)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            differences += [
                f"{key}.{name}: {was.get(name)!r} there, {now.get(name)!r} here"
                for name in sorted({*was, *now} - {"uuid"})
                if was.get(name) != now.get(name)
            ]
        elif was != now:
            differences.append(f"{key}: {was!r} there, {now!r} here")
    return differences
