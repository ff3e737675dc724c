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
    seen_patients: tuple[Mapping[str, str], ...] | None
    """{id, digest} of every patient behind the architecture and the weights; None where the file does not say."""


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
    return TrainedNetwork(
        network=network.eval(),
        path=path,
        data=path.read_bytes(),
        seen_patients=_seen_patients(metadata, arch, path),
    )


def _seen_patients(metadata: Mapping[str, str], arch: Architecture, path: Path) -> tuple[Mapping[str, str], ...] | None:
    if "cinert" not in metadata:
        return None
    source = f"{path}: metadata cinert"
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
    patients = [*record.get("seen_patients", []), *arch.provenance.get("seen_patients", [])]
    try:
        unique = {(str(item["id"]), str(item["digest"])) for item in patients}
    except (TypeError, KeyError) as error:
        raise BadInputError(f"{source}: seen_patients does not hold {{id, digest}} records.") from error
    return tuple({"id": name, "digest": digest} for name, digest in sorted(unique))
