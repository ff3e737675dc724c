"""Clocks, power, temperature and throttling of an NVIDIA GPU, by NVML. Free of torch.

A GPU that is throttled measures its cooling. Needs the package `nvidia-ml-py`; without it nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

# Why clocks are held back; idle and the user's own settings are no throttling.
_THROTTLING = {
    "nvmlClocksEventReasonSwPowerCap": "power cap",
    "nvmlClocksEventReasonSwThermalSlowdown": "thermal (software)",
    "nvmlClocksEventReasonHwSlowdown": "hardware slowdown",
    "nvmlClocksEventReasonHwThermalSlowdown": "thermal (hardware)",
    "nvmlClocksEventReasonHwPowerBrakeSlowdown": "power brake",
}


def gpu_state(uuid: str) -> dict[str, Any] | None:
    """Read the state of a GPU; None without NVML, or where it does not know the GPU.

    Args:
        uuid: with or without the `GPU-` that nvidia-smi prints; CUDA may count devices in another order than NVML.

    Returns:
        JSON-able {sm_clock_mhz, memory_clock_mhz, power_w, power_limit_w, temperature_c, throttled_by}; a value that
        this GPU does not tell is None.
    """
    found = _open(uuid)
    if found is None:
        return None
    nvml, handle = found
    reasons = throttle_reasons(uuid)
    return {
        "sm_clock_mhz": _ask(nvml, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
        "memory_clock_mhz": _ask(nvml, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
        "power_w": _watts(_ask(nvml, nvml.nvmlDeviceGetPowerUsage, handle)),
        "power_limit_w": _watts(_ask(nvml, nvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
        "temperature_c": _ask(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        "throttled_by": None if reasons is None else list(reasons),
    }


def throttle_reasons(uuid: str) -> tuple[str, ...] | None:
    """Ask what holds the clocks of a GPU back at this moment; one call of NVML, cheap enough for every window.

    Args:
        uuid: as for `gpu_state`.

    Returns:
        E.g. `("power cap",)`, () if nothing does; None where it cannot be known (no NVML, or the GPU does not tell).
    """
    found = _open(uuid)
    if found is None:
        return None
    nvml, handle = found
    reasons = _ask(nvml, nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    if reasons is None:
        return None
    return tuple(words for name, words in _THROTTLING.items() if reasons & getattr(nvml, name))


@cache
def _open(uuid: str) -> tuple[Any, Any] | None:
    """NVML and its handle of a GPU, kept open for the life of the process: starting NVML takes longer than asking."""
    if find_spec("pynvml") is None:
        return None
    nvml = import_module("pynvml")
    try:
        nvml.nvmlInit()
        return nvml, nvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
    except nvml.NVMLError:
        return None


def _ask(nvml: Any, call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except nvml.NVMLError:
        return None


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
