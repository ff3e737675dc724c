"""OpenVINO on the CPU: the embedded default on x86. Needs the package `openvino`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import properties
from openvino.properties import hint

from cinert.backends.base import Availability, Backend, Engine, HostRunner, Model, Precision, Runner, on_cpu_only
from cinert.environment import cpu_device, library_version


class OpenVinoBackend(Backend):
    """OpenVINO's CPU plugin. Engines are its intermediate representation (xml and bin)."""

    name = "openvino"
    precisions: tuple[Precision, ...] = ("fp32",)

    def available(self, device: str = "auto") -> Availability:
        """OpenVINO runs on the CPU."""
        return on_cpu_only(device, "openvino")

    def compile(self, model: Model, *, precision: Precision = "fp32", device: str = "auto", threads: int) -> Engine:
        """Convert ONNX to OpenVINO's intermediate representation, with fp32 weights."""
        del threads
        self.require(device, precision)
        network = ov.Core().read_model(model.onnx)
        with tempfile.TemporaryDirectory() as folder:
            xml, weights = Path(folder) / "model.xml", Path(folder) / "model.bin"
            ov.serialize(network, str(xml), str(weights))
            files = {"xml": xml.read_bytes(), "bin": weights.read_bytes()}
        return Engine(self.name, precision, files)

    def load(self, engine: Engine, *, device: str = "auto", threads: int) -> Runner:
        """Compile the representation for this CPU."""
        self.require(device, engine.precision)
        core = ov.Core()
        weights = ov.Tensor(np.frombuffer(engine.files["bin"], dtype=np.uint8))
        network = core.read_model(engine.files["xml"].decode(), weights)
        options: dict[str, Any] = {
            hint.performance_mode: hint.PerformanceMode.LATENCY,
            # Without this hint CPUs with native bf16 would compute in bf16.
            hint.inference_precision: ov.Type.f32,
            properties.inference_num_threads: threads,
            properties.num_streams: 1,
            # Pinned, the threads of several models can end up on one core: twice as slow, in one run and not the next.
            hint.enable_cpu_pinning: False,
        }
        return OpenVinoRunner(core.compile_model(network, "CPU", options))

    def fingerprint(self, device: str = "auto") -> dict[str, Any]:
        """CPU and OpenVINO version."""
        del device
        return {"device": cpu_device(), "libraries": {"openvino": library_version("openvino")}}


class OpenVinoRunner(HostRunner):
    """An infer request on its own buffers."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        super().__init__(tuple(tuple(port.shape) for port in compiled.inputs), tuple(compiled.output(0).shape))
        for position, buffer in enumerate(self._inputs):
            self._request.set_input_tensor(position, ov.Tensor(buffer, shared_memory=True))
        self._request.set_output_tensor(0, ov.Tensor(self._output, shared_memory=True))

    def execute(self) -> None:
        """Infer on the buffers."""
        self._request.infer()

    def fork(self) -> Runner:
        """Another request on the same compiled model."""
        return OpenVinoRunner(self._compiled)
