"""Clocks, power, temperature and throttling of an NVIDIA GPU, by NVML. Free of torch.

A GPU that is throttled measures its cooling. Needs the package `nvidia-ml-py`; without it nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
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
    if find_spec("pynvml") is None:
        return None
    nvml = import_module("pynvml")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        return _read(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"))
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()


def _read(nvml: Any, handle: Any) -> dict[str, Any]:
    def ask(call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(handle, *arguments)
        except nvml.NVMLError:
            return None

    reasons = ask(nvml.nvmlDeviceGetCurrentClocksEventReasons)
    return {
        "sm_clock_mhz": ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
        "memory_clock_mhz": ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_MEM),
        "power_w": _watts(ask(nvml.nvmlDeviceGetPowerUsage)),
        "power_limit_w": _watts(ask(nvml.nvmlDeviceGetEnforcedPowerLimit)),
        "temperature_c": ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
        "throttled_by": None
        if reasons is None
        else [words for name, words in _THROTTLING.items() if reasons & getattr(nvml, name)],
    }


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
