"""TensorRT and TensorRT-RTX: known names whose engines are not built by this release yet."""

from __future__ import annotations

from typing import Any, NoReturn

from cinert.backends.base import Availability, Backend, Engine, Model, Precision, Runner
from cinert.environment import library_version
from cinert.errors import BackendUnavailableError


class _TensorRtFamily(Backend):
    distribution: str
    precisions: tuple[Precision, ...] = ("fp32", "tf32", "fp16", "bf16", "int8")

    def available(self, device: str = "auto") -> Availability:
        """Never yet, with what is missing."""
        del device
        version = library_version(self.distribution)
        if version == "absent":
            return Availability(ok=False, reason=f"the package {self.distribution} is not installed")
        reason = f"this release does not build its engines yet ({self.distribution} {version} is installed)"
        return Availability(ok=False, reason=reason)

    def compile(self, model: Model, *, precision: Precision = "fp32", device: str = "auto", threads: int) -> Engine:
        """Refuse, saying why."""
        del model, precision, threads
        self._refuse(device)

    def load(self, engine: Engine, *, device: str = "auto", threads: int) -> Runner:
        """Refuse, saying why."""
        del engine, threads
        self._refuse(device)

    def fingerprint(self, device: str = "auto") -> dict[str, Any]:
        """Refuse, saying why."""
        self._refuse(device)

    def _refuse(self, device: str) -> NoReturn:
        raise BackendUnavailableError(f"back end {self.name} is not available because {self.available(device).reason}.")


class TensorRtBackend(_TensorRtFamily):
    """TensorRT on NVIDIA GPUs."""

    name = "trt"
    distribution = "tensorrt"


class TensorRtRtxBackend(_TensorRtFamily):
    """TensorRT-RTX."""

    name = "trt-rtx"
    distribution = "tensorrt-rtx"
