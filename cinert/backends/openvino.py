"""OpenVINO on the CPU: the embedded default on x86. Needs the package `openvino`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import properties
from openvino.properties import hint

from cinert.backends.base import Array, Availability, Backend, Engine, Model, Precision, Runner, check_inputs
from cinert.environment import cpu_device, library_version


class OpenVinoBackend(Backend):
    """OpenVINO's CPU plugin. Engines are its intermediate representation (xml and bin)."""

    name = "openvino"
    precisions: tuple[Precision, ...] = ("fp32",)

    def available(self, device: str = "auto") -> Availability:
        """OpenVINO runs on the CPU."""
        if device.startswith("cuda"):
            return Availability(ok=False, reason=f"it runs on the CPU, not on {device}")
        return Availability(ok=True, reason=f"OpenVINO {library_version('openvino')}")

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
        }
        return OpenVinoRunner(core.compile_model(network, "CPU", options))

    def fingerprint(self, device: str = "auto") -> dict[str, Any]:
        """CPU and OpenVINO version."""
        del device
        return {"device": cpu_device(), "libraries": {"openvino": library_version("openvino")}}


class OpenVinoRunner(Runner):
    """An infer request on its own buffers."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self.input_shapes = tuple(tuple(port.shape) for port in compiled.inputs)
        self.output_shape = tuple(compiled.output(0).shape)
        self._inputs = [np.zeros(shape, np.float32) for shape in self.input_shapes]
        self._output = np.zeros(self.output_shape, np.float32)
        for position, buffer in enumerate(self._inputs):
            self._request.set_input_tensor(position, ov.Tensor(buffer, shared_memory=True))
        self._request.set_output_tensor(0, ov.Tensor(self._output, shared_memory=True))

    def run(self, *inputs: Array) -> Array:
        """Copy in, infer, return the output buffer."""
        check_inputs(inputs, self.input_shapes)
        for buffer, array in zip(self._inputs, inputs, strict=True):
            np.copyto(buffer, array)
        self.execute()
        return self._output

    def execute(self) -> None:
        """Infer on the buffers."""
        self._request.infer()

    def fork(self) -> Runner:
        """Another request on the same compiled model."""
        return OpenVinoRunner(self._compiled)
