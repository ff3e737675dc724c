"""What every back end offers: availability, compilation, runners on preallocated buffers. Free of torch."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from cinert.environment import library_version
from cinert.errors import BackendUnavailableError, BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from torch import nn

Precision = Literal["fp32", "tf32", "fp16", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
Array = NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a back end can work here, and why not."""

    ok: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model to compile: ONNX for engines, the module itself for torch. Each is made on first use."""

    name: str
    input_shapes: tuple[Shape, ...]
    make_onnx: Callable[[], bytes]
    make_module: Callable[[], nn.Module] | None = None
    calibration: tuple[Array, ...] = ()
    """Real inputs, x_BCDHW float32, from which int8 takes its ranges; models with one input alone."""
    half_safe: frozenset[str] = frozenset()
    """Ops of ONNX that may run in half precision beside those that `cinert.typed.half` knows to be safe."""

    @cached_property
    def onnx(self) -> bytes:
        """Serialised ONNX."""
        return self.make_onnx()


@dataclass(frozen=True, slots=True)
class Engine:
    """A compiled model: its files by suffix (`onnx`, `xml` and `bin`, `pt2`, `sm86.plan`), the main one first."""

    backend: str
    precision: Precision
    files: Mapping[str, bytes]
    onnx: bytes | None = None
    """The typed ONNX that it was built from; None where that is the model's own."""
    build: Mapping[str, Any] = field(default_factory=dict)
    """How it was built, JSON-able, where there is more to say than the fingerprint does."""


class Runner(ABC):
    """A loaded engine with its own preallocated buffers; a context manager. One runner serves one thread."""

    input_shapes: tuple[Shape, ...]
    output_shape: Shape

    @abstractmethod
    def run(self, *inputs: Array) -> Array:
        """Host to host: copy float32 inputs in, execute, and return the output buffer, valid until the next run."""

    @abstractmethod
    def execute(self) -> None:
        """Execute on the buffers as they are, and return when the result is there."""

    @abstractmethod
    def fork(self) -> Runner:
        """A second runner on the same engine with buffers of its own, to overlap successive frames."""

    def device_ms(self) -> float:
        """Time one execution on the device alone, in milliseconds; on a CPU that is the wall time of `execute`."""
        start = time.perf_counter_ns()
        self.execute()
        return (time.perf_counter_ns() - start) / 1e6

    def fill(self, seed: int = 0) -> None:
        """Put normal noise into the inputs, so that no kernel sees denormals or all zeros."""
        rng = np.random.default_rng(seed)
        self.run(*(rng.standard_normal(shape, dtype=np.float32) for shape in self.input_shapes))

    def close(self) -> None:  # noqa: B027 - most runners hold nothing but memory
        """Release what the runner holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class HostRunner(Runner):
    """A runner whose buffers lie in host memory, where the engine reads and writes them in place."""

    def __init__(self, input_shapes: tuple[Shape, ...], output_shape: Shape) -> None:
        self.input_shapes, self.output_shape = input_shapes, output_shape
        self._inputs = [np.zeros(shape, np.float32) for shape in input_shapes]
        self._output = np.zeros(output_shape, np.float32)

    def run(self, *inputs: Array) -> Array:
        """Copy in, execute, return the output buffer."""
        check_inputs(inputs, self.input_shapes)
        for buffer, array in zip(self._inputs, inputs, strict=True):
            np.copyto(buffer, array)
        self.execute()
        return self._output


class Backend(ABC):
    """One inference engine."""

    name: str
    precisions: tuple[Precision, ...]
    cuda_graph: bool = True
    """On a GPU: replay each engine as one CUDA graph."""

    @abstractmethod
    def available(self, device: str = "auto") -> Availability:
        """Whether engines can be built and run on `device` here, without raising."""

    def buildable(self, device: str = "auto") -> Availability:
        """Whether engines can be built here, if only to run them elsewhere."""
        return self.available(device)

    def precisions_on(self, device: str = "auto") -> tuple[Precision, ...]:
        """Precisions that it computes in on `device`; all of its own, unless the device matters."""
        del device
        return self.precisions

    @abstractmethod
    def compile(self, model: Model, *, precision: Precision = "fp32", device: str = "auto", threads: int) -> Engine:
        """Compile a model to an engine that can be stored."""

    def runs_here(self, engine: Engine, device: str = "auto") -> bool:
        """Whether `load` would take this engine on this machine."""
        del engine
        return self.available(device).ok

    @abstractmethod
    def load(self, engine: Engine, *, device: str = "auto", threads: int) -> Runner:
        """Load an engine. An engine is executable code: check its hash first (`cinert.bundle` does)."""

    def runner(self, model: Model, *, precision: Precision = "fp32", device: str = "auto", threads: int) -> Runner:
        """Compile and load in one step, for measuring."""
        engine = self.compile(model, precision=precision, device=device, threads=threads)
        return self.load(engine, device=device, threads=threads)

    @abstractmethod
    def fingerprint(self, device: str = "auto") -> dict[str, Any]:
        """What binds a measurement to this device: device name, driver, library versions."""

    def require(self, device: str = "auto", precision: str = "fp32") -> None:
        """Refuse early what cannot work.

        Raises:
            BackendUnavailableError: the back end cannot work here, with the reason.
            BadInputError: the precision is unknown, or not supported by this back end on this device.
        """
        self._require(self.available(device), device, precision)

    def require_buildable(self, device: str = "auto", precision: str = "fp32") -> None:
        """Refuse early what cannot be built here.

        Raises:
            BackendUnavailableError: engines cannot be built here, with the reason.
            BadInputError: as `require`.
        """
        self._require(self.buildable(device), device, precision)

    def _require(self, availability: Availability, device: str, precision: str) -> None:
        if not availability.ok:
            raise BackendUnavailableError(f"back end {self.name} is not available because {availability.reason}.")
        supported = self.precisions_on(device)
        if precision not in supported:
            where = f" on device {device}" if precision in self.precisions else ""
            raise BadInputError(
                f"precision {precision!r} is not supported by back end {self.name}{where}.",
                hint=f"it supports {', '.join(supported)}.",
            )


def check_inputs(inputs: Sequence[Array], shapes: Sequence[Shape]) -> None:
    """Refuse inputs of another number or shape.

    Raises:
        BadInputError: naming both shapes.
    """
    given = tuple(tuple(array.shape) for array in inputs)
    if given != tuple(shapes):
        raise BadInputError(f"the engine takes inputs of shape {tuple(shapes)}, got {given}.")


def on_cpu_only(device: str, distribution: str) -> Availability:
    """Availability of an engine that runs on the CPU alone."""
    if device.startswith("cuda"):
        return Availability(ok=False, reason=f"it runs on the CPU, not on {device}")
    return Availability(ok=True, reason=f"{distribution} {library_version(distribution)}")
