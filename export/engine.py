"""From an architecture and its weights to a bundle: compile, hold against PyTorch, write."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from cinert.architecture import Architecture
from cinert.backends.base import Backend, Engine, Model, Precision
from cinert.bundle import Bundle
from cinert.bundle_manifest import TensorSpec
from cinert.bundle_write import BundleContent, write_bundle
from cinert.data.dataset import Sample
from cinert.data.grid import PreprocessingSpec
from cinert.environment import fingerprint, library_version
from cinert.onnx import network_model
from cinert.provenance import merge_records
from export.calibration import Calibration
from export.dice_gate import check_dice, parity_not_run, require_frames
from export.localiser import TrainedLocaliser, compile_localiser
from export.parity import TOLERANCE, Images, check_parity
from export.pricing import Pricing
from export.weights import TrainedNetwork

_LIBRARIES = ("cinert", "torch", "onnx", "onnxscript", "onnxslim", "numpy", "safetensors")


def spec_of(arch: Architecture) -> PreprocessingSpec:
    """The grid that a network of this architecture reads."""
    return PreprocessingSpec(spacing_mm=arch.grid.spacing_mm, shape_DHW=arch.grid.input_shape_DHW)


def tensor_specs(onnx_bytes: bytes) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Names and shapes of a model's inputs and outputs, as engines made from it have them."""
    graph = onnx.load_from_string(onnx_bytes).graph

    def read(values: Iterable[Any]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(value.name, tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim))
            for value in values
        )

    return read(graph.input), read(graph.output)


@dataclass(frozen=True, kw_only=True)
class EngineTarget:
    """What engines are built by and for."""

    backend: Backend
    """Builds them."""
    precision: Precision
    device: str
    """`auto`, `cpu` or `cuda:N`."""
    threads: int
    """CPU threads."""


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What an engine is judged by before it is written, and where int8 takes its ranges from."""

    images: Mapping[str, Images]
    """Inputs by kind, on which an engine in fp32 has to give PyTorch's logits."""
    frames: Sequence[Sample] = ()
    """Labelled frames, on which an engine below fp32 has to give PyTorch's Dice."""
    calibration: Calibration | None = None
    """Frames that int8 takes its ranges from."""


def export_bundle(
    folder: Path,
    trained: TrainedNetwork,
    target: EngineTarget,
    trials: Trials,
    *,
    localiser: TrainedLocaliser | None = None,
    pricing: Pricing | None = None,
) -> Bundle:
    """Build the engines, check them against PyTorch where they can run, and write the bundle.

    Args:
        folder: to write.
        trained: the network with its weights.
        target: what the engines are built by and for.
        trials: what they are judged by.
        localiser: to go with the network.
        pricing: the estimate to store.

    Raises:
        VerdictError: parity failed; nothing was written.
        BadInputError: the folder cannot be written, or an engine that could be run here has nothing to be judged by.
    """
    backend, precision, device, threads = target.backend, target.precision, target.device, target.threads
    arch, frames, calibration = trained.network.arch, trials.frames, trials.calibration
    if backend.available(device).ok:
        require_frames(precision, frames)
    model: Model = replace(
        network_model(arch, trained.network), calibration=() if calibration is None else calibration.network
    )
    engine: Engine = backend.compile(model, precision=precision, device=device, threads=threads)
    parity = parity_not_run(precision, TOLERANCE)
    if backend.runs_here(engine, device):
        with backend.load(engine, device=device, threads=threads) as runner:
            if precision == "fp32":
                parity = check_parity(runner, trained.network, trials.images)
            else:
                parity = check_dice(runner, trained.network, frames, precision)
    inputs, outputs = tensor_specs(model.onnx)
    localiser_files = (
        None
        if localiser is None
        else compile_localiser(
            localiser,
            backend,
            precision=precision,
            device=device,
            threads=threads,
            calibration=() if calibration is None else calibration.localiser,
        )
    )
    content = BundleContent(
        arch=arch,
        weights=trained.data,
        onnx=engine.onnx or model.onnx,
        engine=engine,
        preprocessing=spec_of(arch),
        inputs=inputs,
        outputs=outputs,
        fingerprint=fingerprint(backend, device=device, threads=threads, precision=precision),
        estimate=None if pricing is None else pricing.estimate,
        lut=None if pricing is None else pricing.lut,
        parity=parity,
        seen_patients=_all_seen(trained, localiser, calibration),
        labelled=trained.labelled,
        localiser=localiser_files,
        versions={"python": platform.python_version(), **{name: library_version(name) for name in _LIBRARIES}},
    )
    return write_bundle(folder, content)


def _all_seen(
    trained: TrainedNetwork, localiser: TrainedLocaliser | None, calibration: Calibration | None
) -> tuple[Mapping[str, Any], ...] | None:
    """Patients behind network, localiser and calibration; None where the weights do not say."""
    if trained.seen_patients is None or (localiser is None and calibration is None):
        return trained.seen_patients
    others = [source.seen_patients for source in (localiser, calibration) if source is not None]
    return tuple(merge_records(trained.seen_patients, *others))
