"""Typed ONNX of a part or a network, cached: `torch.onnx.export` takes seconds, a cached file milliseconds."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import onnx
import onnxslim
import torch
from torch import nn

from cinert.arch import ops_of
from cinert.architecture import Architecture
from cinert.backends.base import Model, Shape
from cinert.environment import cache_folder, library_version
from cinert.files import sha256_of
from cinert.network import build_network, fold_batch_norm, random_weights
from cinert.op_registry import added_ops, specs_of
from cinert.segmenter import Segmenter
from cinert.ushape.arch import UShapeArch
from cinert.ushape.graph import module_onnx
from cinert.ushape.network import UShapeNetwork

OPSET = 20
# Raise when the exported graph changes for the same input, so that older cache entries are not found.
_EXPORTER = 3


def export_onnx(module: nn.Module, input_shapes: Sequence[Shape]) -> bytes:
    """Export a module in eval mode as fp32 ONNX, batch norm folded, simplified and checked.

    Args:
        module: left as it is; a copy is folded.
        input_shapes: of its inputs, batch included, e.g. `[(1, 1, 20, 128, 112)]`.
    """
    module = fold_batch_norm(copy.deepcopy(module).eval())
    inputs = tuple(torch.zeros(shape) for shape in input_shapes)
    names = ["image"] if len(inputs) == 1 else [f"input{number}" for number in range(len(inputs))]
    with _quiet():
        program = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            opset_version=OPSET,
            input_names=names,
            output_names=["logits"],
            verbose=False,
        )
        assert program is not None
        graph = onnxslim.slim(program.model_proto)
    _strip_metadata(graph)
    onnx.checker.check_model(graph, full_check=True)
    data: bytes = graph.SerializeToString(deterministic=True)
    return data


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter logs what it skips (torchvision) and prints its steps; neither concerns the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            # torch.onnx 2.13 warns of what torch's own pytree deprecates.
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _strip_metadata(graph: onnx.ModelProto) -> None:
    """Drop the exporter's stack traces: they carry paths of the exporting machine and double the size."""
    del graph.metadata_props[:]
    del graph.graph.metadata_props[:]
    for item in [*graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output]:
        del item.metadata_props[:]
        item.doc_string = ""


def cached(key: str, make: Callable[[], bytes]) -> bytes:
    """Return the bytes stored under `key`, or make and store them."""
    full_key = f"{_EXPORTER}|{OPSET}|{torch.__version__}|{library_version('onnxscript')}|{key}"
    path = cache_folder() / f"{sha256_of(full_key.encode())[:32]}.onnx"
    if path.is_file():
        return path.read_bytes()
    data = make()
    # A cache that cannot be written is no reason to stop.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as stream:
            stream.write(data)
        Path(stream.name).replace(path)
    return data


def network_input_shape(arch: Architecture) -> Shape:
    """Shape of the image that a network takes: (1, in_channels, D, H, W)."""
    return (1, arch.grid.in_channels, *arch.grid.input_shape_DHW)


def network_model(arch: Architecture, network: Segmenter | None = None) -> Model:
    """Describe a network to the back ends.

    Args:
        arch: what to build.
        network: with trained weights; None takes random ones, which is enough for timing, and caches the export.
    """
    shapes = (network_input_shape(arch),)
    held = ops_of(arch)
    half_safe = frozenset[str]().union(*(spec.half_safe for spec in specs_of(held).values()))
    if network is not None:
        return Model(
            name=f"network {arch.digest}",
            input_shapes=shapes,
            half_safe=half_safe,
            make_onnx=lambda: export_onnx(network, shapes),
            make_module=lambda: fold_batch_norm(copy.deepcopy(network).eval()),
        )

    def make() -> nn.Module:
        return random_weights(build_network(arch), seed=0)

    def make_onnx() -> bytes:
        if isinstance(arch, UShapeArch):
            return plain_onnx(make())
        if added_ops(held):
            # Their files may change, and the architecture would still be the same.
            return export_onnx(make(), shapes)
        return cached(f"network {arch.digest}", lambda: export_onnx(make(), shapes))

    def plain_onnx(module: nn.Module) -> bytes:
        """Written in milliseconds: what is timed and not deployed."""
        network = fold_batch_norm(module)
        assert isinstance(network, UShapeNetwork)
        return module_onnx(network.body, shapes)

    return Model(
        name=f"network {arch.digest}",
        input_shapes=shapes,
        make_onnx=make_onnx,
        make_module=lambda: fold_batch_norm(make()),
        half_safe=half_safe,
    )
