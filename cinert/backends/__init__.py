"""Back ends by name. Importing this package imports no engine: each is imported when it is asked for."""

from __future__ import annotations

import platform
import re
from importlib import import_module

from cinert.backends.base import Availability, Backend, Engine, Model, Precision, Runner
from cinert.environment import has_nvidia_gpu
from cinert.errors import BackendUnavailableError, BadInputError

# Named by string, so that the torch-free run time never sees the torch module.
_FACTORIES = {
    "torch": "cinert.backends.pytorch:TorchBackend",
    "ort": "cinert.backends.onnxruntime:OnnxRuntimeBackend",
    "openvino": "cinert.backends.openvino:OpenVinoBackend",
    "trt": "cinert.backends.tensorrt:TensorRtBackend",
    "trt-rtx": "cinert.backends.tensorrt:TensorRtRtxBackend",
}
BACKENDS = tuple(_FACTORIES)


def get_backend(name: str) -> Backend:
    """Return a back end by name, whether or not it is available here.

    Raises:
        BadInputError: no such back end.
        BackendUnavailableError: its package is not installed.
    """
    if name not in _FACTORIES:
        raise BadInputError(f"unknown back end {name!r}.", hint=f"back ends: auto, {', '.join(BACKENDS)}.")
    module, attribute = _FACTORIES[name].split(":")
    try:
        backend: Backend = getattr(import_module(module), attribute)()
    except ImportError as error:
        raise BackendUnavailableError(f"back end {name} is not available because {error}.") from error
    return backend


def fastest_order(device: str = "auto") -> tuple[str, ...]:
    """Back ends from the fastest to the slowest, as measured (benchmarks/results/)."""
    on_cpu = ("openvino", "ort", "torch") if platform.machine() in {"x86_64", "AMD64"} else ("ort", "openvino", "torch")
    on_gpu = ("trt", "trt-rtx", "torch")
    if device == "cpu":
        return on_cpu
    if device.startswith("cuda"):
        return on_gpu
    return (*on_gpu, *on_cpu[:2]) if has_nvidia_gpu() else (*on_gpu[:2], *on_cpu)


def resolve_backend(name: str, device: str = "auto", precision: str = "fp32", *, to_build: bool = False) -> Backend:
    """Return an available back end; `auto` takes the fastest that this machine has for the precision.

    Args:
        name: of the back end, or `auto`.
        device: `auto`, `cpu` or `cuda:N`.
        precision: of the engines.
        to_build: a back end that is named need not run here, as long as it builds here.

    Raises:
        BadInputError: unknown name or device, or a precision that is not supported there.
        BackendUnavailableError: it, or for `auto` every one, is not available; the reason is given.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise BadInputError(f"unknown device {device!r}.", hint="devices: auto, cpu, cuda:N.")
    if name != "auto":
        backend = get_backend(name)
        (backend.require_buildable if to_build else backend.require)(device, precision)
        return backend
    reasons, lacking = [], []
    for candidate in fastest_order(device):
        try:
            backend = get_backend(candidate)
        except BackendUnavailableError as error:
            reasons.append(str(error))
            continue
        availability = backend.available(device)
        if not availability.ok:
            reasons.append(f"{candidate}: {availability.reason}")
        elif precision not in (supported := backend.precisions_on(device)):
            lacking.append(f"{candidate} {', '.join(supported)}")
        else:
            return backend
    if lacking:
        raise BadInputError(
            f"precision {precision!r} is not supported by any back end here on device {device}.",
            hint=f"there are {'; '.join(lacking)}.",
        )
    raise BackendUnavailableError(f"no back end is available for device {device}: {'; '.join(reasons)}.")


__all__ = [
    "BACKENDS",
    "Availability",
    "Backend",
    "Engine",
    "Model",
    "Precision",
    "Runner",
    "fastest_order",
    "get_backend",
    "resolve_backend",
]
