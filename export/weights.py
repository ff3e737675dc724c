"""Trained weights and what they say about themselves: for which architecture, and from which patients."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cinert.architecture import Architecture
from cinert.bundle_manifest import WEIGHTS
from cinert.errors import BadInputError
from cinert.network import build_network, load_weights
from cinert.provenance import merge_records
from cinert.schema import check_schema
from cinert.segmenter import Segmenter
from cinert.space import CLASSES

SCHEMA, VERSION = "cinert.weights", 1


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A network with its weights loaded, and their origin."""

    network: Segmenter
    """In eval mode, batch norm not folded."""
    path: Path
    data: bytes
    """The weights file as it was read."""
    seen_patients: tuple[Mapping[str, Any], ...] | None
    """{id, digest, phantom} of every patient behind architecture and weights; None where the file does not say."""
    labelled: tuple[str, ...] | None = None
    """Classes that their labels hold; None where the file does not say."""


def find_weights(arch_path: Path, weights: Path | None) -> Path:
    """The weights named by the user, or `weights.safetensors` beside the architecture."""
    return weights if weights is not None else arch_path.parent / WEIGHTS


def load_trained(arch: Architecture, path: Path) -> TrainedNetwork:
    """Load weights into the network of `arch`.

    Raises:
        BadInputError: the file is missing or unreadable, its tensors do not fit, or it was trained for another
            architecture or other classes.
    """
    network = build_network(arch)
    metadata = load_weights(network, path)
    source = f"{path}: metadata cinert"
    record = _record(metadata, arch, path, source)
    return TrainedNetwork(
        network=network.eval(),
        path=path,
        data=path.read_bytes(),
        seen_patients=None if record is None else _seen_patients(record, arch, source),
        labelled=None if record is None else _labelled(record, source),
    )


def _record(metadata: Mapping[str, str], arch: Architecture, path: Path, source: str) -> dict[str, Any] | None:
    """What the weights say of themselves; None where they say nothing."""
    if "cinert" not in metadata:
        return None
    try:
        record: Any = json.loads(metadata["cinert"])
    except json.JSONDecodeError as error:
        raise BadInputError(f"{source} is not JSON: {error}.") from error
    if not isinstance(record, dict):
        raise BadInputError(f"{source} is {record!r}, expected a mapping.")
    check_schema(record, schema=SCHEMA, version=VERSION, source=source)
    if record.get("arch_digest") not in {None, arch.digest}:
        raise BadInputError(
            f"weights {path} were trained for architecture {record['arch_digest']},"
            f" and {arch.source} is {arch.digest}.",
            hint="name the weights of this architecture with --weights, or train it with train-arch.",
        )
    if record.get("classes", list(CLASSES)) != list(CLASSES):
        raise BadInputError(f"{source}: classes are {record['classes']}, expected {list(CLASSES)}.")
    return record


def _seen_patients(record: Mapping[str, Any], arch: Architecture, source: str) -> tuple[Mapping[str, Any], ...]:
    try:
        return tuple(merge_records(record.get("seen_patients", []), arch.provenance.get("seen_patients", [])))
    except (TypeError, KeyError, AttributeError) as error:
        raise BadInputError(f"{source}: seen_patients does not hold {{id, digest}} records.") from error


def _labelled(record: Mapping[str, Any], source: str) -> tuple[str, ...] | None:
    labelled = record.get("labelled")
    if labelled is not None and not (isinstance(labelled, list) and set(labelled) <= set(CLASSES)):
        raise BadInputError(f"{source}: labelled is {labelled!r}, expected some of {', '.join(CLASSES)}.")
    return None if labelled is None else tuple(labelled)
