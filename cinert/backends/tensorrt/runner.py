"""Running a plan: tensors by name, pinned host buffers, one stream, a CUDA graph, device events. Free of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cinert.backends.base import Array, Runner, check_inputs
from cinert.backends.tensorrt.runtime_cache import RuntimeCache
from cinert.device_memory.base import Buffer, Device, Graph
from cinert.errors import BadInputError

# The first runs of a context choose kernels and make buffers; a graph must not capture that.
_WARMUP = 2


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    host: Array
    device: Buffer


class TensorRtRunner(Runner):
    """A plan with an execution context, buffers and a stream of its own.

    Args:
        trt: the library.
        engine: deserialised; its inputs and outputs are float32 of static shape.
        device: where it was deserialised.
        cuda_graph: capture the execution once and replay it, which spares the launches.
        runtime_cache: of the engine; None where the library keeps none.

    Raises:
        BadInputError: an input or output is not float32, or there is not exactly one output.
        BackendUnavailableError: the execution cannot be captured.
    """

    def __init__(
        self, trt: Any, engine: Any, device: Device, *, cuda_graph: bool, runtime_cache: RuntimeCache | None = None
    ) -> None:
        self._trt, self._engine, self._device, self._cuda_graph = trt, engine, device, cuda_graph
        self._runtime_cache = runtime_cache
        self._graph: Graph | None = None
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        for name in names:
            if engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
                raise BadInputError(
                    f"tensor {name} of the engine is {engine.get_tensor_dtype(name)}, expected float32."
                )
        is_input = {name: engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        if list(is_input.values()).count(False) != 1:
            raise BadInputError(f"the engine gives {list(is_input.values()).count(False)} outputs, expected one.")
        with device.current():
            self._context = (runtime_cache or engine).create_execution_context()
            if self._context is None:
                raise BadInputError(
                    "TensorRT makes no execution context for the engine.", hint="is the GPU's memory full?"
                )
            self._stream = device.stream()
            tensors = {name: self._tensor(name) for name in names}
            self._inputs = [tensors[name] for name in names if is_input[name]]
            self._output = next(tensors[name] for name in names if not is_input[name])
            self.input_shapes = tuple(tensor.shape for tensor in self._inputs)
            self.output_shape = self._output.shape
            for _ in range(_WARMUP):
                self._enqueue()
            self._stream.synchronise()
            if runtime_cache is not None:
                runtime_cache.keep()
            if cuda_graph:
                self._graph = self._stream.capture(self._enqueue)

    def _tensor(self, name: str) -> _Tensor:
        shape = tuple(self._engine.get_tensor_shape(name))
        tensor = _Tensor(
            name, shape, self._device.pinned(shape, np.float32), self._device.allocate(4 * math.prod(shape))
        )
        self._context.set_tensor_address(name, tensor.device.address)
        # Memory as it comes may hold NaN or denormals, which the warm-up would compute with.
        self._stream.upload(tensor.host, tensor.device)
        return tensor

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise RuntimeError("TensorRT refused to run the engine on its own buffers")

    def _launch(self) -> None:
        if self._graph is not None:
            self._graph.launch()
        else:
            self._enqueue()

    def run(self, *inputs: Array) -> Array:
        """Copy in through pinned memory, run, copy out, wait."""
        check_inputs(inputs, self.input_shapes)
        with self._device.current():
            for tensor, array in zip(self._inputs, inputs, strict=True):
                np.copyto(tensor.host, array)
                self._stream.upload(tensor.host, tensor.device)
            self._launch()
            self._stream.download(self._output.device, self._output.host)
            self._stream.synchronise()
        return self._output.host

    def execute(self) -> None:
        """Run on the device buffers and wait."""
        with self._device.current():
            self._launch()
            self._stream.synchronise()

    def device_ms(self) -> float:
        """Time one execution by device events."""
        with self._device.current():
            start = self._stream.record()
            self._launch()
            return self._stream.record().ms_since(start)

    def layer_times_ms(self, runs: int = 10) -> list[tuple[str, float]]:
        """Time every layer: (name, median over `runs`), in the order of execution.

        Without the CUDA graph, because the profiler stops between layers; the sum is above `device_ms`.
        """
        profiler = _make_profiler(self._trt)
        with self._device.current():
            self._context.profiler = profiler
            for _ in range(runs):
                self._enqueue()
                self._stream.synchronise()
            self._context.profiler = None
        return [(name, float(np.median(times))) for name, times in profiler.times.items()]

    def information(self) -> str:
        """What the engine inspector says about every layer, as JSON."""
        inspector = self._engine.create_engine_inspector()
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def fork(self) -> Runner:
        """Another context on the same engine, with buffers, stream and graph of its own."""
        return TensorRtRunner(
            self._trt, self._engine, self._device, cuda_graph=self._cuda_graph, runtime_cache=self._runtime_cache
        )

    def close(self) -> None:
        """Give the device's memory back; again is no harm."""
        if self._context is None:
            return
        with self._device.current():
            self._stream.synchronise()
            if self._graph is not None:
                self._graph.release()
            self._context = None
            for tensor in (*self._inputs, self._output):
                tensor.device.release()


def _make_profiler(trt: Any) -> Any:
    class Profiler(trt.IProfiler):
        def __init__(self) -> None:
            super().__init__()
            self.times: dict[str, list[float]] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times.setdefault(layer_name, []).append(ms)

    return Profiler()
