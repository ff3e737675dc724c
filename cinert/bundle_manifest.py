"""The manifest of a bundle: what is in the folder, what the engine takes and gives, and what was proved about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from cinert.backends import BACKENDS
from cinert.backends.base import PRECISIONS, Precision
from cinert.errors import BadInputError
from cinert.provenance import Provenance
from cinert.schema import check_keys, check_schema

SCHEMA, VERSION = "cinert.bundle", 1
MANIFEST, ARCH, WEIGHTS, ONNX, PREPROCESSING = (
    "manifest.json",
    "arch.yaml",
    "weights.safetensors",
    "model.onnx",
    "preprocessing.json",
)
LOCALISER, LOCALISER_ONNX = "localiser.safetensors", "localiser.onnx"
QUALITY = "quality.json"
"""Listed in `files` where the bundle's score was calibrated."""
ESTIMATE_KEYS = ("ms", "low_ms", "high_ms", "p50_ms", "p99_ms", "throughput_fps")
ParityStatus = Literal["passed", "not_run"]

# Letters, digits, dash, dot and underscore: a name can never leave the folder.
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape (batch first) and element type of an input or output of the engine."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """How far the engine lies from PyTorch in fp32."""

    status: ParityStatus
    relative_logits: float | None
    """max |a - b| / max |b|, the worst over all inputs; None where the engine cannot run where it was built."""
    tolerance: float
    """Of `relative_logits` in fp32, of `dice_drop` below."""
    inputs: Mapping[str, int]
    """How many inputs of each kind were compared: `random`, `frames`."""
    dice_drop: float | None = None
    """Mean Dice of PyTorch less the engine's, on labelled frames; None in fp32, which is judged by its logits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What manifest.json says; every other file of the folder is pinned by its SHA-256."""

    files: Mapping[str, str]
    """SHA-256 by file name; the manifest itself is not among them."""
    engine: tuple[str, ...]
    """Files of the engine, the main one first."""
    localiser: tuple[str, ...]
    """Files of the localiser's engine, the main one first; none where the crop is centred on the image."""
    backend: str
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    classes: tuple[str, ...]
    fingerprint: Mapping[str, Any]
    """The device that the engine was built on (`cinert.environment.fingerprint`)."""
    estimate: Mapping[str, float] | None
    """{ms, low_ms, high_ms, p50_ms, p99_ms, throughput_fps} by the LUT, or None without one."""
    lut: Mapping[str, Any] | None
    """{id, device} of the LUT behind the estimate, and `busy` where it was taken with --allow-busy."""
    parity: Parity
    build: Mapping[str, Any]
    """How the engine was built, where the fingerprint does not say it all (TensorRT); {network, localiser}."""
    seen_patients: tuple[Mapping[str, Any], ...] | None
    """{id, digest, phantom} of the patients behind architecture and weights; None where the weights do not say."""
    versions: Mapping[str, str]
    created: str
    """UTC, ISO 8601."""
    provenance: Provenance | None = None
    """Whom `seen_patients` are, counted; None where the weights do not say."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        document = {"schema": SCHEMA, "version": VERSION, **asdict(self)}
        for key in ("inputs", "outputs"):
            document[key] = [{**asdict(spec), "shape": list(spec.shape)} for spec in getattr(self, key)]
        for key in ("engine", "localiser", "classes"):
            document[key] = list(getattr(self, key))
        document["seen_patients"] = None if self.seen_patients is None else [dict(item) for item in self.seen_patients]
        document["provenance"] = None if self.provenance is None else self.provenance.to_dict()
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> Manifest:
        """Read what `to_dict` wrote.

        Raises:
            BadInputError: another schema or version, an unknown or missing key, or a value of the wrong kind.
        """
        check_schema(document, schema=SCHEMA, version=VERSION, source=source)
        required = [name for name in cls.__dataclass_fields__ if name != "provenance"]
        check_keys(document, required=["schema", "version", *required], optional=["provenance"], source=source)
        for key, (kind, words) in _KINDS.items():
            if not isinstance(document[key], kind):
                raise BadInputError(f"{source}: {key} is {document[key]!r}, expected {words}.")
        _check_files(document["files"], document["engine"], document["localiser"], source)
        if document["backend"] not in BACKENDS:
            raise BadInputError(
                f"{source}: unknown back end {document['backend']!r}.", hint=f"known: {', '.join(BACKENDS)}."
            )
        if document["precision"] not in PRECISIONS:
            raise BadInputError(
                f"{source}: unknown precision {document['precision']!r}.", hint=f"known: {', '.join(PRECISIONS)}."
            )
        if document["estimate"] is not None:
            check_keys(document["estimate"], required=ESTIMATE_KEYS, source=f"{source}: estimate")
        if document["lut"] is not None:
            check_keys(document["lut"], required=("id", "device"), optional=("busy",), source=f"{source}: lut")
        seen = document["seen_patients"]
        values = {
            **{key: document[key] for key in required},
            "engine": tuple(document["engine"]),
            "localiser": tuple(document["localiser"]),
            "classes": tuple(document["classes"]),
            "inputs": _tensor_specs(document["inputs"], f"{source}: inputs"),
            "outputs": _tensor_specs(document["outputs"], f"{source}: outputs"),
            "parity": _parity(document["parity"], f"{source}: parity"),
            "seen_patients": None if seen is None else tuple(_patient(item, source) for item in seen),
            "provenance": _provenance(document, source),
        }
        return cls(**values)


_KINDS: dict[str, tuple[Any, str]] = {
    "files": (dict, "a mapping of file names to SHA-256"),
    "engine": (list, "a list of file names"),
    "localiser": (list, "a list of file names"),
    "inputs": (list, "a list of {name, shape, dtype}"),
    "outputs": (list, "a list of {name, shape, dtype}"),
    "classes": (list, "a list of names"),
    "fingerprint": (dict, "a mapping"),
    "estimate": (dict | None, "a mapping or null"),
    "lut": (dict | None, "a mapping or null"),
    "parity": (dict, "a mapping"),
    "build": (dict, "a mapping of {network, localiser} to how each was built"),
    "seen_patients": (list | None, "a list or null"),
    "versions": (dict, "a mapping"),
    "created": (str, "a time"),
}


def _check_files(files: Mapping[str, Any], engine: list[Any], localiser: list[Any], source: str) -> None:
    for name, digest in files.items():
        if not _FILE_NAME.fullmatch(name) or name == MANIFEST:
            raise BadInputError(f"{source}: files names {name!r}, which is no plain file name.")
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise BadInputError(f"{source}: files.{name} is {digest!r}, expected a SHA-256 in hexadecimal.")
    with_localiser = (LOCALISER, LOCALISER_ONNX, *localiser) if localiser else ()
    for name in (ARCH, WEIGHTS, ONNX, PREPROCESSING, *engine, *with_localiser):
        if name not in files:
            raise BadInputError(f"{source}: files does not list {name!r}.")
    if not engine:
        raise BadInputError(f"{source}: engine lists no file.")


def _tensor_specs(items: list[Any], source: str) -> tuple[TensorSpec, ...]:
    specs = []
    for item in items:
        if not isinstance(item, dict):
            raise BadInputError(f"{source}: {item!r} is not {{name, shape, dtype}}.")
        check_keys(item, required=["name", "shape", "dtype"], source=source)
        shape = item["shape"]
        if not isinstance(shape, list) or not all(isinstance(size, int) and size > 0 for size in shape):
            raise BadInputError(f"{source}: shape is {shape!r}, expected a list of positive whole numbers.")
        specs.append(TensorSpec(str(item["name"]), tuple(shape), str(item["dtype"])))
    return tuple(specs)


def _parity(item: Mapping[str, Any], source: str) -> Parity:
    check_keys(item, required=list(Parity.__dataclass_fields__), source=source)
    if item["status"] not in get_args(ParityStatus):
        raise BadInputError(f"{source}: status is {item['status']!r}, expected {' or '.join(get_args(ParityStatus))}.")
    return Parity(**item)


def _patient(item: Any, source: str) -> Mapping[str, Any]:
    if not isinstance(item, dict):
        raise BadInputError(f"{source}: seen_patients holds {item!r}, which is not {{id, digest}}.")
    check_keys(item, required=["id", "digest"], optional=["phantom"], source=f"{source}: seen_patients")
    return item


def _provenance(document: Mapping[str, Any], source: str) -> Provenance | None:
    """Bundles of before do not count; whom they name can be counted all the same."""
    found = document.get("provenance")
    if found is None:
        seen = document["seen_patients"]
        return None if seen is None else Provenance.of(seen)
    if not isinstance(found, dict):
        raise BadInputError(f"{source}: provenance is {found!r}, expected a mapping or null.")
    return Provenance.from_dict(found, source=f"{source}: provenance")
