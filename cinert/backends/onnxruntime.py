"""ONNX Runtime on the CPU: the portable default. Needs the package `onnxruntime`."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from cinert.backends.base import Array, Availability, Backend, Engine, Model, Precision, Runner, check_inputs
from cinert.environment import cpu_device, library_version


class OnnxRuntimeBackend(Backend):
    """ONNX Runtime's CPU provider. The engine is the ONNX file; it is optimised while loading."""

    name = "ort"
    precisions: tuple[Precision, ...] = ("fp32",)

    def available(self, device: str = "auto") -> Availability:
        """ONNX Runtime runs on the CPU."""
        if device.startswith("cuda"):
            return Availability(ok=False, reason=f"it runs on the CPU, not on {device}")
        return Availability(ok=True, reason=f"ONNX Runtime {library_version('onnxruntime')}")

    def compile(self, model: Model, *, precision: Precision = "fp32", device: str = "auto", threads: int) -> Engine:
        """Keep the ONNX as it is."""
        del threads
        self.require(device, precision)
        return Engine(self.name, precision, {"onnx": model.onnx})

    def load(self, engine: Engine, *, device: str = "auto", threads: int) -> Runner:
        """Make a session with all graph optimisations."""
        self.require(device, engine.precision)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(engine.files["onnx"], options, providers=["CPUExecutionProvider"])
        return OnnxRuntimeRunner(session)

    def fingerprint(self, device: str = "auto") -> dict[str, Any]:
        """CPU and ONNX Runtime version."""
        del device
        return {"device": cpu_device(), "libraries": {"onnxruntime": library_version("onnxruntime")}}


class OnnxRuntimeRunner(Runner):
    """A session bound to its own buffers."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._binding = session.io_binding()
        self.input_shapes = tuple(tuple(node.shape) for node in session.get_inputs())
        self.output_shape = tuple(session.get_outputs()[0].shape)
        self._inputs = [np.zeros(shape, np.float32) for shape in self.input_shapes]
        self._output = np.zeros(self.output_shape, np.float32)
        for node, buffer in zip(session.get_inputs(), self._inputs, strict=True):
            self._binding.bind_input(node.name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        name = session.get_outputs()[0].name
        self._binding.bind_output(name, "cpu", 0, np.float32, self._output.shape, self._output.ctypes.data)

    def run(self, *inputs: Array) -> Array:
        """Copy in, run, return the output buffer."""
        check_inputs(inputs, self.input_shapes)
        for buffer, array in zip(self._inputs, inputs, strict=True):
            np.copyto(buffer, array)
        self.execute()
        return self._output

    def execute(self) -> None:
        """Run on the buffers."""
        self._session.run_with_iobinding(self._binding)

    def fork(self) -> Runner:
        """Another binding on the same session."""
        return OnnxRuntimeRunner(self._session)
