"""The localiser that a bundle carries: its trained weights, compiled like the network and held against PyTorch too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from cinert.backends.base import Backend, Precision, Runner
from cinert.bundle_manifest import LOCALISER
from cinert.bundle_write import LocaliserFiles
from cinert.errors import BadInputError, VerdictError
from cinert.localiser_net import NETWORKS, SCHEMA, VERSION, AnyLocaliserNet, localiser_model
from cinert.provenance import merge_records
from cinert.schema import check_schema
from cinert.tensors import read_tensors
from export.parity import TOLERANCE, random_images, worst_difference

# The heart's middle is taken over hundreds of voxels, so that the logits of one may err.
LOCALISER_TOLERANCE: dict[Precision, float] = {
    "fp32": TOLERANCE,
    "tf32": 0.01,
    "fp16": 0.01,
    "bf16": 0.1,
    "int8": 0.1,
}
"""Largest relative logit difference of the localiser."""


@dataclass(frozen=True, kw_only=True)
class TrainedLocaliser:
    """A localiser with its weights, and their origin."""

    network: AnyLocaliserNet
    """In eval mode."""
    data: bytes
    """The file as it was read."""
    seen_patients: tuple[Mapping[str, Any], ...]
    """{id, digest, phantom} of the patients that it was trained on."""


def find_localiser(weights: Path, localiser: Path | None) -> Path | None:
    """The localiser named by the user, or the one beside the weights; None if there is neither."""
    beside = weights.parent / LOCALISER
    return localiser if localiser is not None else (beside if beside.is_file() else None)


def load_trained_localiser(path: Path) -> TrainedLocaliser:
    """Read localiser.safetensors.

    Raises:
        BadInputError: the file is missing or unreadable, or its tensors are not a localiser's.
    """
    if not path.is_file():
        raise BadInputError(f"localiser {path} does not exist.", hint="train-arch writes it beside the weights.")
    try:
        tensors, metadata = read_tensors(path)
        record: Any = json.loads(metadata.get("cinert", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInputError(f"localiser {path} cannot be read: {error}.") from error
    # Localisers of older releases do their work as before.
    made = record.get("version") if record.get("version") in NETWORKS else VERSION
    check_schema(record, schema=SCHEMA, version=made, source=f"{path}: metadata cinert")
    network = NETWORKS[made]()
    try:
        network.load_state_dict(tensors)
        seen = tuple(merge_records(record["seen_patients"]))
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path} is not a localiser of this version: {str(error).splitlines()[0]}") from error
    return TrainedLocaliser(network=network.eval(), data=path.read_bytes(), seen_patients=seen)


def compile_localiser(
    trained: TrainedLocaliser,
    backend: Backend,
    *,
    precision: Precision,
    device: str,
    threads: int,
    calibration: tuple[NDArray[np.float32], ...] = (),
) -> LocaliserFiles:
    """Build the localiser's engine and, where it can run, hold it against PyTorch.

    Raises:
        VerdictError: its logits differ from PyTorch's by more than the parity gate allows.
    """
    model = replace(localiser_model(trained.network), calibration=calibration)
    engine = backend.compile(model, precision=precision, device=device, threads=threads)
    files = LocaliserFiles(weights=trained.data, onnx=engine.onnx or model.onnx, engine=engine)
    if not backend.runs_here(engine, device):
        return files
    tolerance = LOCALISER_TOLERANCE[precision]
    with backend.load(engine, device=device, threads=threads) as runner:
        difference = localiser_difference(runner, trained.network)
    if not difference <= tolerance:
        raise VerdictError(
            f"the localiser's logits differ from PyTorch's by {difference:.2e} (relative), more than"
            f" {tolerance:g}; no bundle was written.",
            hint="try another --backend.",
        )
    return files


def localiser_difference(runner: Runner, network: AnyLocaliserNet) -> float:
    """Largest relative difference of the logits from PyTorch's, on random views."""
    return worst_difference(runner, network, {"random": random_images((1, 1, *network.view.shape_DHW))})[0]
