"""PyTorch itself: eager on the CPU; eager or as a CUDA graph on a GPU. The reference for parity."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from torch import nn

from cinert.backends.allocator import keep_memory
from cinert.backends.base import Array, Availability, Backend, Engine, Model, Precision, Runner, check_inputs
from cinert.backends.cpu_layers import with_cpu_layers
from cinert.environment import cpu_device, driver_version
from cinert.errors import BadInputError

_DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
_WARMUP = 3


class TorchBackend(Backend):
    """PyTorch. `cuda_graph` replays the network as one graph, which is how it would be deployed on a GPU."""

    name = "torch"
    precisions: tuple[Precision, ...] = ("fp32", "tf32", "fp16", "bf16")

    def __init__(self, *, cuda_graph: bool = True) -> None:
        self.cuda_graph = cuda_graph

    def available(self, device: str = "auto") -> Availability:
        """The CPU always; a GPU where CUDA sees it."""
        if device.startswith("cuda"):
            if not torch.cuda.is_available():
                return Availability(ok=False, reason=f"torch {torch.__version__} sees no CUDA device")
            if (torch.device(device).index or 0) >= torch.cuda.device_count():
                return Availability(
                    ok=False, reason=f"there are {torch.cuda.device_count()} CUDA devices, not {device}"
                )
        return Availability(ok=True, reason=f"torch {torch.__version__}")

    def precisions_on(self, device: str = "auto") -> tuple[Precision, ...]:
        """On a CPU fp32 and bf16 alone."""
        return self.precisions if _device(device).type == "cuda" else ("fp32", "bf16")

    def compile(self, model: Model, *, precision: Precision = "fp32", device: str = "auto", threads: int) -> Engine:
        """Export the module as a PyTorch program (pt2)."""
        del threads
        self.require(device, precision)
        module = _module(model, device).to(_DTYPES[precision])
        inputs = tuple(torch.zeros(shape, dtype=_DTYPES[precision]) for shape in model.input_shapes)
        program = torch.export.export(module, inputs)
        stream = io.BytesIO()
        torch.export.save(program, stream)
        return Engine(self.name, precision, {"pt2": stream.getvalue()})

    def load(self, engine: Engine, *, device: str = "auto", threads: int) -> Runner:
        """Load a stored program."""
        self.require(device, engine.precision)
        program = torch.export.load(io.BytesIO(engine.files["pt2"]))
        shapes = tuple(
            tuple(node.meta["val"].shape)
            for node in program.graph.nodes
            if node.name in program.graph_signature.user_inputs
        )
        return self._runner(program.module(), shapes, engine.precision, device, threads)

    def runner(self, model: Model, *, precision: Precision = "fp32", device: str = "auto", threads: int) -> Runner:
        """Run the module as it is, without the export."""
        self.require(device, precision)
        return self._runner(_module(model, device), model.input_shapes, precision, device, threads)

    def _runner(
        self, module: nn.Module, shapes: tuple[tuple[int, ...], ...], precision: Precision, device: str, threads: int
    ) -> Runner:
        chosen = _device(device)
        module = module.to(device=chosen, dtype=_DTYPES[precision])
        if chosen.type == "cuda":
            return CudaRunner(module, shapes, precision, chosen, graph=self.cuda_graph)
        return CpuRunner(module, shapes, precision, threads)

    def fingerprint(self, device: str = "auto") -> dict[str, Any]:
        """Device, driver and torch version."""
        libraries = {"torch": torch.__version__}
        chosen = _device(device)
        if chosen.type == "cpu":
            return {"device": cpu_device(), "libraries": libraries}
        properties = torch.cuda.get_device_properties(chosen)
        return {
            "device": {
                "kind": "cuda",
                "name": properties.name,
                "uuid": str(properties.uuid),
                "driver": driver_version(),
                "compute_capability": f"{properties.major}.{properties.minor}",
            },
            "libraries": {
                **libraries,
                "cuda": torch.version.cuda,
                "cudnn": torch.backends.cudnn.version(),
                "cuda_graph": self.cuda_graph,
            },
        }


def _module(model: Model, device: str) -> nn.Module:
    if model.make_module is None:
        raise BadInputError(f"{model.name} is ONNX alone, and back end torch needs the module.")
    module = model.make_module().eval()
    return with_cpu_layers(module) if _device(device).type == "cpu" else module


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


class CpuRunner(Runner):
    """Eager PyTorch on the CPU. From then on the process keeps the memory that it frees."""

    def __init__(
        self, module: nn.Module, shapes: tuple[tuple[int, ...], ...], precision: Precision, threads: int
    ) -> None:
        self._module, self._precision, self._threads = module, precision, threads
        keep_memory()
        self.input_shapes = shapes
        self._inputs = [torch.zeros(shape, dtype=_DTYPES[precision]) for shape in shapes]
        self._output = torch.zeros(0)
        self.execute()
        self.output_shape = tuple(self._output.shape)

    def run(self, *inputs: Array) -> Array:
        """Copy in, run eagerly, return the output as float32."""
        check_inputs(inputs, self.input_shapes)
        for buffer, array in zip(self._inputs, inputs, strict=True):
            buffer.copy_(torch.from_numpy(np.ascontiguousarray(array)))
        self.execute()
        output: Array = self._output.float().numpy()
        return output

    def execute(self) -> None:
        """Run on the buffers."""
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            self._output = self._module(*self._inputs)

    def fork(self) -> Runner:
        """The same module with buffers of its own."""
        return CpuRunner(self._module, self.input_shapes, self._precision, self._threads)


class CudaRunner(Runner):
    """PyTorch on a GPU with pinned host buffers, on its own stream, eager or as a CUDA graph."""

    def __init__(
        self,
        module: nn.Module,
        shapes: tuple[tuple[int, ...], ...],
        precision: Precision,
        device: torch.device,
        *,
        graph: bool,
    ) -> None:
        self._module, self._precision, self._device, self._use_graph = module, precision, device, graph
        self.input_shapes = shapes
        dtype = _DTYPES[precision]
        # TF32 is a global switch of torch; fp32 must mean fp32.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self._stream = torch.cuda.Stream(device)
        self._host_inputs = [torch.zeros(shape, pin_memory=True) for shape in shapes]
        self._inputs = [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes]
        self._graph: torch.cuda.CUDAGraph | None = None
        with torch.cuda.stream(self._stream), torch.inference_mode():
            for _ in range(_WARMUP):
                self._output = module(*self._inputs)
            self._stream.synchronize()
            if graph:
                self._graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self._graph, stream=self._stream):
                    self._output = module(*self._inputs)
        self.output_shape = tuple(self._output.shape)
        self._host_output = torch.zeros(self.output_shape, pin_memory=True)

    def _launch(self) -> None:
        if self._graph is not None:
            self._graph.replay()
        else:
            self._output = self._module(*self._inputs)

    def run(self, *inputs: Array) -> Array:
        """Copy in through pinned memory, run, copy out, synchronise."""
        check_inputs(inputs, self.input_shapes)
        with torch.cuda.stream(self._stream), torch.inference_mode():
            for host, buffer, array in zip(self._host_inputs, self._inputs, inputs, strict=True):
                host.copy_(torch.from_numpy(np.ascontiguousarray(array)))
                buffer.copy_(host, non_blocking=True)
            self._launch()
            self._host_output.copy_(self._output, non_blocking=True)
        self._stream.synchronize()
        output: Array = self._host_output.numpy()
        return output

    def execute(self) -> None:
        """Run on the device buffers and wait."""
        with torch.cuda.stream(self._stream), torch.inference_mode():
            self._launch()
        self._stream.synchronize()

    def device_ms(self) -> float:
        """Time one execution by device events."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.stream(self._stream), torch.inference_mode():
            start.record(self._stream)
            self._launch()
            end.record(self._stream)
        end.synchronize()
        return float(start.elapsed_time(end))

    def fork(self) -> Runner:
        """The same module with buffers, stream and graph of its own."""
        return CudaRunner(self._module, self.input_shapes, self._precision, self._device, graph=self._use_graph)
