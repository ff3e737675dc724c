"""ONNX Runtime on the CPU: the portable default. Needs the package `onnxruntime`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import onnxruntime

from cinert.backends.base import Availability, Backend, Engine, HostRunner, Model, Precision, Runner, on_cpu_only
from cinert.environment import cpu_device, library_version


class OnnxRuntimeBackend(Backend):
    """ONNX Runtime's CPU provider. The engine is the ONNX file; it is optimised while loading."""

    name = "ort"
    precisions: tuple[Precision, ...] = ("fp32", "int8")

    def available(self, device: str = "auto") -> Availability:
        """ONNX Runtime runs on the CPU."""
        return on_cpu_only(device, "onnxruntime")

    def compile(self, model: Model, *, precision: Precision = "fp32", device: str = "auto", threads: int) -> Engine:
        """Keep the ONNX as it is; in int8 with its convolutions quantised.

        Raises:
            BadInputError: int8 without inputs to calibrate with.
        """
        del threads
        self.require(device, precision)
        # Named by string: it needs onnx, which the bedside does without.
        data = model.onnx if precision == "fp32" else import_module("cinert.typed").typed_onnx(model, precision).data
        return Engine(self.name, precision, {"onnx": data}, onnx=data)

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


class OnnxRuntimeRunner(HostRunner):
    """A session bound to its own buffers."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._binding = session.io_binding()
        inputs, (output,) = session.get_inputs(), session.get_outputs()
        super().__init__(tuple(tuple(node.shape) for node in inputs), tuple(output.shape))
        for node, buffer in zip(inputs, self._inputs, strict=True):
            self._binding.bind_input(node.name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        self._binding.bind_output(output.name, "cpu", 0, np.float32, self._output.shape, self._output.ctypes.data)

    def execute(self) -> None:
        """Run on the buffers."""
        self._session.run_with_iobinding(self._binding)

    def fork(self) -> Runner:
        """Another binding on the same session."""
        return OnnxRuntimeRunner(self._session)
