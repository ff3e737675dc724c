"""From an architecture and its weights to a bundle: compile, hold against PyTorch, write."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

import onnx

from cinert.architecture import Architecture
from cinert.backends.base import Backend, Engine, Model, Precision
from cinert.bundle import Bundle, write_bundle
from cinert.bundle_manifest import TensorSpec
from cinert.data.grid import PreprocessingSpec
from cinert.environment import fingerprint, library_version
from cinert.errors import BadInputError
from cinert.onnx import network_model
from export.localiser import TrainedLocaliser, compile_localiser
from export.parity import Images, check_parity
from export.pricing import Pricing
from export.weights import TrainedNetwork

_LIBRARIES = ("cinert", "torch", "onnx", "onnxscript", "onnxslim", "numpy", "safetensors")


def spec_of(arch: Architecture) -> PreprocessingSpec:
    """The grid that a network of this architecture reads."""
    return PreprocessingSpec(spacing_mm=arch.grid.spacing_mm, shape_DHW=arch.grid.input_shape_DHW)


def tensor_specs(onnx_bytes: bytes) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Names and shapes of a model's inputs and outputs, as engines made from it have them."""
    graph = onnx.load_from_string(onnx_bytes).graph

    def read(values: object) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(value.name, tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim))
            for value in values  # type: ignore[attr-defined]
        )

    return read(graph.input), read(graph.output)


def export_bundle(
    folder: Path,
    *,
    arch: Architecture,
    trained: TrainedNetwork,
    backend: Backend,
    precision: Precision,
    device: str,
    threads: int,
    images: Mapping[str, Images],
    localiser: TrainedLocaliser | None = None,
    pricing: Pricing | None = None,
) -> Bundle:
    """Build the engines, check them against PyTorch, the network's on `images`, and write the bundle.

    Raises:
        VerdictError: parity failed; nothing was written.
        BadInputError: the folder cannot be written.
    """
    require_gate(precision)
    model: Model = network_model(arch, trained.network)
    engine: Engine = backend.compile(model, precision=precision, device=device, threads=threads)
    with backend.load(engine, device=device, threads=threads) as runner:
        parity = check_parity(runner, trained.network, images)
    inputs, outputs = tensor_specs(model.onnx)
    localiser_files = (
        None
        if localiser is None
        else compile_localiser(localiser, backend, precision=precision, device=device, threads=threads)
    )
    return write_bundle(
        folder,
        arch=arch,
        weights=trained.data,
        onnx=model.onnx,
        engine=engine,
        preprocessing=spec_of(arch),
        inputs=inputs,
        outputs=outputs,
        fingerprint=fingerprint(backend, device=device, threads=threads, precision=precision),
        estimate=None if pricing is None else pricing.estimate,
        lut=None if pricing is None else pricing.lut,
        parity=parity,
        seen_patients=_all_seen(trained, localiser),
        localiser=localiser_files,
        versions={"python": platform.python_version(), **{name: library_version(name) for name in _LIBRARIES}},
    )


def _all_seen(trained: TrainedNetwork, localiser: TrainedLocaliser | None) -> tuple[Mapping[str, str], ...] | None:
    """Patients behind network and localiser; None where the weights do not say."""
    if trained.seen_patients is None or localiser is None:
        return trained.seen_patients
    unique = {(item["id"], item["digest"]) for item in (*trained.seen_patients, *localiser.seen_patients)}
    return tuple({"id": name, "digest": digest} for name, digest in sorted(unique))


def require_gate(precision: Precision) -> None:
    """Refuse a precision for which this release cannot prove an engine good.

    Raises:
        BadInputError: any precision but fp32.
    """
    if precision != "fp32":
        raise BadInputError(
            f"export in {precision} is refused: this release has a parity gate for fp32 only.",
            hint="leave --precision out.",
        )
