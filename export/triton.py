"""A model repository for NVIDIA Triton Inference Server: a folder per network, with configuration, engine and README.

Triton runs the engine and nothing else: preprocessing, localiser logic and the way back are the client's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cinert.backends.base import Engine
from cinert.bundle import Bundle
from cinert.bundle_manifest import LOCALISER_ONNX, PREPROCESSING, TensorSpec
from cinert.errors import BadInputError
from cinert.files import atomic_folder, check_writable, read_bytes, sha256_of, write_json
from export.engine import tensor_specs
from export.triton_readme import readme

CONFIG, README, SUMS = "config.pbtxt", "README.md", "SHA256SUMS"
PLATFORMS = {"ort": "onnxruntime_onnx", "trt": "tensorrt_plan"}
"""Triton's name for the format of each back end that it can run."""
_HEADER = "# Written by export-engine --triton for CineRT bundle"
_VERSION = "1"
_WARMUP_RUNS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class TritonModel:
    """One model of the repository.

    Attributes:
        name: of its folder.
        platform: `onnxruntime_onnx` or `tensorrt_plan`.
        file: name of the engine in the folder of the version.
        content: of that file.
        gpu: whether it runs on one.
        inputs: with the batch, which is 1.
        outputs: likewise.
        parameters: what Triton hands to whoever asks for the configuration.
    """

    name: str
    platform: str
    file: str
    content: bytes
    gpu: bool
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, str]


def check_triton(repository: Path, backend: str) -> None:
    """Refuse what cannot be written, before any work is spent on it.

    Raises:
        BadInputError: a back end that Triton has no platform for, or a folder that cannot be written.
    """
    if backend not in PLATFORMS:
        raise BadInputError(
            f"--triton: Triton has no platform for the back end {backend!r}.",
            hint=f"choose one of {', '.join(PLATFORMS)} with --backend.",
        )
    if repository.exists() and not repository.is_dir():
        raise BadInputError(f"--triton {repository} is a file; it has to be a folder.")
    check_writable(repository / "model")


def triton_models(bundle: Bundle) -> list[TritonModel]:
    """The network and, where there is one, the localiser; named by the bundle's digest."""
    name = f"cinert_{bundle.digest[:8]}"
    gpu = bundle.manifest.fingerprint["device"].get("kind") == "cuda"
    platform = PLATFORMS[bundle.backend]
    parameters = {
        "cinert_bundle": bundle.digest,
        "cinert_arch": bundle.arch.digest,
        "cinert_precision": bundle.precision,
    }

    def model(name: str, engine: Engine, tensors: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]) -> TritonModel:
        file, content = _engine_file(engine)
        return TritonModel(
            name=name,
            platform=platform,
            file=file,
            content=content,
            gpu=gpu,
            inputs=tensors[0],
            outputs=tensors[1],
            parameters={**parameters, f"sha256_{file}": sha256_of(content)},
        )

    models = [model(name, bundle.engine, (bundle.manifest.inputs, bundle.manifest.outputs))]
    if bundle.localiser is not None:
        onnx = read_bytes(bundle.folder / LOCALISER_ONNX, "the localiser")
        models.append(model(f"{name}_localiser", bundle.localiser, tensor_specs(onnx)))
    return models


def _engine_file(engine: Engine) -> tuple[str, bytes]:
    """Name, as Triton expects it in the folder of a version, and content."""
    if engine.backend == "ort":
        return "model.onnx", engine.files["onnx"]
    # TensorRT builds one plan, for the GPU that is here. TensorRT-RTX, which builds several, is nothing for Triton.
    (plan,) = (content for suffix, content in engine.files.items() if suffix.endswith("plan"))
    return "model.plan", plan


def config_text(model: TritonModel) -> str:
    """The model's config.pbtxt (text format of Triton's `ModelConfig`)."""
    lines = [
        f"{_HEADER} {model.parameters['cinert_bundle']}.",
        "# Preprocessing is not in the model: see README.md.",
        f"name: {_quoted(model.name)}",
        f"platform: {_quoted(model.platform)}",
        "# The shapes hold the batch, which is 1. Dynamic batching is off, because it waits for other frames: a frame",
        "# that waits for another is late.",
        "max_batch_size: 0",
        *(f"input {_tensor(spec)}" for spec in model.inputs),
        *(f"output {_tensor(spec)}" for spec in model.outputs),
        "# One instance: two on one device take turns at it and make each other late.",
        f"instance_group {{ count: 1 kind: {'KIND_GPU' if model.gpu else 'KIND_CPU'} }}",
        "# Another bundle is another model. A version that is put beside this one is not served by accident.",
        f"version_policy {{ specific {{ versions: {_VERSION} }} }}",
        "# The first frames allocate memory and wake the cores; no client should wait for that.",
        f'model_warmup {{ name: "noise" batch_size: 1 count: {_WARMUP_RUNS} {_warmup(model)} }}',
    ]
    if model.platform == "tensorrt_plan":
        lines.append("optimization { cuda { graphs: true } }")
    lines += [
        f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"
        for key, value in model.parameters.items()
    ]
    return "\n".join(lines) + "\n"


def write_triton(repository: Path, bundle: Bundle) -> list[Path]:
    """Write the models of a bundle into a repository; each folder whole or not at all.

    Returns:
        The models' folders.

    Raises:
        BadInputError: the folder of a model cannot be written, or holds something else.
    """
    models = triton_models(bundle)
    for model in models:
        _check_ours(repository / model.name)
    for model in models:
        with atomic_folder(repository / model.name) as partial:
            (partial / _VERSION).mkdir()
            (partial / _VERSION / model.file).write_bytes(model.content)
            (partial / CONFIG).write_text(config_text(model), encoding="utf-8")
            write_json(partial / PREPROCESSING, bundle.preprocessing.to_dict())
            (partial / SUMS).write_text(f"{sha256_of(model.content)}  {_VERSION}/{model.file}\n")
            (partial / README).write_text(readme(bundle, [each.name for each in models], sums=SUMS), encoding="utf-8")
    return [repository / model.name for model in models]


def _check_ours(folder: Path) -> None:
    if not folder.exists():
        return
    config = folder / CONFIG
    if not (config.is_file() and config.read_text(encoding="utf-8", errors="replace").startswith(_HEADER)):
        raise BadInputError(f"cannot write the model {folder}: something else is there.", hint="move it away.")


def _tensor(spec: TensorSpec) -> str:
    return f"{{ name: {_quoted(spec.name)} data_type: TYPE_FP32 dims: [ {_sizes(spec)} ] }}"


def _warmup(model: TritonModel) -> str:
    return " ".join(
        f"inputs {{ key: {_quoted(spec.name)}"
        f" value {{ data_type: TYPE_FP32 dims: [ {_sizes(spec)} ] random_data: true }} }}"
        for spec in model.inputs
    )


def _sizes(spec: TensorSpec) -> str:
    return ", ".join(map(str, spec.shape))


def _quoted(text: str) -> str:
    # Text format takes JSON's escapes for what can occur here: names, hashes, numbers.
    return json.dumps(text)
