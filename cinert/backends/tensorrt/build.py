"""From typed ONNX to a plan."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cinert.backends.base import Precision
from cinert.backends.tensorrt.collection import no_collection
from cinert.backends.tensorrt.flavour import RTX, Flavour, known_capabilities, load
from cinert.errors import BadInputError

_NODE = re.compile(r"\[ONNX Layer: (?P<node>[^\]]+)\]")
_OPERATION = re.compile(r"operation '(?P<node>[^']+)'|node (?P<other>[^\s.]+)\.")
_MEMORY = re.compile(r"workspace|out of memory|memory pool|insufficient memory", re.IGNORECASE)
_AMPERE = 8.0
"""Compute capability at which the next two arrived."""
_NEEDS_AMPERE = {"tf32", "bf16"}
_HALF_ALONE = "--precision fp16: below compute capability 8.0 TensorRT-RTX has 3D convolutions in no other."
"""In fp32 it has none there (1.7.1), and int8 leaves some of a network in fp32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """What the user may say about building."""

    workspace_mib: int | None = None
    """Limit of scratch memory; None leaves it to TensorRT, which takes what the GPU has."""
    optimisation_level: int = 3
    """0 (fast build) to 5 (long search), as TensorRT counts them; 3 is its own default."""
    aux_streams: int | None = None
    """Streams beside the main one that TensorRT may use; 0 forbids them, None leaves it to TensorRT."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of the network that TensorRT was given; in a strongly typed one its element type is binding."""

    name: str
    node: str
    """ONNX node that it came from; empty where TensorRT does not say."""
    kind: str
    element: str
    """Type of its first output, e.g. `FLOAT`, `HALF`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A serialised engine, and what it was built from."""

    data: bytes
    layers: tuple[Layer, ...]
    timing_cache: bytes | None
    """The tactics that were timed; None where the library keeps none."""


@no_collection()
def build_plan(
    flavour: Flavour,
    onnx: bytes,
    *,
    name: str,
    precision: Precision,
    capability: str | None,
    options: BuildOptions,
    timing_cache: bytes | None = None,
) -> Plan:
    """Build the plan of a typed ONNX graph.

    Args:
        flavour: which library.
        onnx: typed; the precision is in it, but for the TF32 flag.
        name: of the model, for messages.
        precision: fp32 clears the TF32 flag, tf32 sets it.
        capability: compute capability to build for, e.g. `8.6`; None builds for the GPU that is here.
        options: the user's.
        timing_cache: of an earlier build; ignored where the library keeps none.

    Raises:
        BackendUnavailableError: the library cannot be loaded.
        BadInputError: an unknown capability, or a graph that TensorRT refuses; layer and ONNX node are named.
    """
    trt = load(flavour)
    capability_value = None if capability is None else _capability(flavour, trt, capability, precision)
    log = make_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx):
        raise BadInputError(f"{flavour.title} refuses {name}: {_parser_error(parser)}", hint=_REFUSED)
    config = builder.create_builder_config()
    _configure(trt, config, precision, options)
    if capability_value is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(capability_value, 0)
    keeps_timings = _use_timing_cache(trt, config, timing_cache)
    layers = _layers(network)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _build_error(flavour, name, capability, precision, log)
    timings = bytes(config.get_timing_cache().serialize()) if keeps_timings else None
    return Plan(bytes(plan), layers, timings)


_REFUSED = "leave that op out of the space, or use another --backend."


def make_log(trt: Any) -> Any:
    """A logger that keeps errors for the message, instead of printing them among the user's own output."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in {trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR}:
                self.errors.append(message)

    return Log()


def _capability(flavour: Flavour, trt: Any, capability: str, precision: Precision) -> Any:
    known = known_capabilities(trt)
    if not known:
        raise BadInputError(
            f"{flavour.title} builds for the GPU that is here, and not for compute capability {capability}.",
            hint="leave --compute-capability out, or take --backend trt-rtx.",
        )
    if capability not in known:
        raise BadInputError(
            f"compute capability {capability!r} is unknown to {flavour.title}.", hint=f"it knows {', '.join(known)}."
        )
    check_supported(flavour, capability, precision)
    return getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}")


def check_supported(flavour: Flavour, capability: str, precision: Precision) -> None:
    """Refuse a precision that a GPU does not have.

    Raises:
        BadInputError: naming both.
    """
    if precision in _NEEDS_AMPERE and float(capability) < _AMPERE:
        raise BadInputError(
            f"precision {precision} is not supported by a GPU of compute capability {capability}, {_AMPERE} is the"
            " first.",
            hint=_HALF_ALONE if flavour is RTX else "fp32 or fp16.",
        )


def _configure(trt: Any, config: Any, precision: Precision, options: BuildOptions) -> None:
    if precision == "tf32":
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        # Set by default: fp32 must mean fp32.
        config.clear_flag(trt.BuilderFlag.TF32)
    # The audit and the per-layer profile need the names and types of all layers.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = options.optimisation_level
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if options.aux_streams is not None:
        config.max_aux_streams = options.aux_streams


def _use_timing_cache(trt: Any, config: Any, timing_cache: bytes | None) -> bool:
    """Give the builder a timing cache that it extends; False where the library keeps none (TensorRT-RTX)."""
    if known_capabilities(trt):
        return False
    if hasattr(trt.BuilderFlag, "EDITABLE_TIMING_CACHE"):
        config.set_flag(trt.BuilderFlag.EDITABLE_TIMING_CACHE)
    cache = config.create_timing_cache(timing_cache or b"")
    return bool(cache is not None and config.set_timing_cache(cache, ignore_mismatch=False))


def _parser_error(parser: Any) -> str:
    """The parser's first error, with the node that it is about."""
    error = parser.get_error(0)
    reason = str(error.desc()).strip().splitlines()[-1]
    if not error.node_operator():
        return f"{reason}."
    return f"op {error.node_operator()} (ONNX node {error.node_name() or error.node()}): {reason}."


def _build_error(flavour: Flavour, name: str, capability: str | None, precision: Precision, log: Any) -> BadInputError:
    reason = log.errors[0] if log.errors else "it does not say why"
    where = "" if capability is None else f" for compute capability {capability}"
    node = next(filter(None, map(_OPERATION.search, log.errors)), None)
    at = f" (layer {node['node'] or node['other']})" if node else ""
    hint = _REFUSED
    if any(_MEMORY.search(text) for text in log.errors):
        hint = "raise --workspace-mib."
    elif flavour is RTX and precision != "fp16" and capability is not None and float(capability) < _AMPERE:
        hint = _HALF_ALONE
    return BadInputError(f"{flavour.title} cannot build {name}{where}{at}: {reason.strip()}", hint=hint)


def _layers(network: Any) -> tuple[Layer, ...]:
    layers = []
    for position in range(network.num_layers):
        layer = network.get_layer(position)
        node = _NODE.search(str(getattr(layer, "metadata", "")))
        output = layer.get_output(0)
        element = "NONE" if output is None else output.dtype.name
        layers.append(Layer(layer.name, node["node"] if node else "", layer.type.name, element))
    return tuple(layers)
