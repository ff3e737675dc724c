"""A bundle: the folder that carries one network from the lab to the bedside.

    manifest.json  arch.yaml  weights.safetensors  model.onnx  preprocessing.json  <backend>-<precision>.<suffix> ...
    localiser.safetensors  localiser.onnx  localiser-<backend>-<precision>.<suffix> ...  quality.json

An engine is executable code, so nothing is deserialised before every file has its SHA-256 and no file is there that the
manifest does not list. Free of torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cinert.arch import arch_from_dict
from cinert.architecture import Architecture
from cinert.backends import resolve_backend
from cinert.backends.base import Engine, Precision, Runner
from cinert.bundle_manifest import (
    ARCH,
    MANIFEST,
    PREPROCESSING,
    QUALITY,
    Manifest,
)
from cinert.data.grid import PreprocessingSpec
from cinert.environment import default_threads
from cinert.errors import BadInputError
from cinert.files import (
    parse_json,
    parse_yaml,
    read_bytes,
    sha256_of,
    sha256_of_file,
)
from cinert.quality import QualityModel
from cinert.space import CLASSES

LOCALISER_PREFIX = "localiser-"
# A suffix that opens with the GPU that the file is for.
_TARGET = re.compile(r"sm\d+\.")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle whose files were checked; the engine's bytes are those that were hashed."""

    folder: Path
    manifest: Manifest
    arch: Architecture
    preprocessing: PreprocessingSpec
    engine: Engine
    localiser: Engine | None
    """None: the crop is centred on the image."""
    quality: QualityModel | None
    """None: masks get no score, because nobody calibrated it (`add_quality`)."""
    digest: str
    """SHA-256 of manifest.json, which pins every other file."""

    @property
    def backend(self) -> str:
        """Name of the engine's back end."""
        return self.manifest.backend

    @property
    def precision(self) -> Precision:
        """Precision of the engine."""
        return self.manifest.precision

    @property
    def seen_patients(self) -> tuple[Mapping[str, Any], ...] | None:
        """Patients behind architecture and weights as {id, digest, phantom}; None where the weights do not say."""
        return self.manifest.seen_patients

    @property
    def findable(self) -> tuple[str, ...]:
        """Classes that the network can find: those of its output that its training's labels held."""
        provenance = self.manifest.provenance
        labelled = None if provenance is None else provenance.classes
        return tuple(name for name in self.manifest.classes if labelled is None or name in labelled)

    @property
    def estimate(self) -> Mapping[str, float] | None:
        """{ms, low_ms, high_ms, p50_ms, p99_ms, throughput_fps} by the LUT, or None."""
        return self.manifest.estimate

    def load_runner(self, device: str = "auto", threads: int | None = None) -> Runner:
        """Load the engine; it takes x_BCDHW float32 and gives logits_BCDHW.

        Args:
            device: `auto`, `cpu` or `cuda:N`.
            threads: CPU threads; None takes `cinert.environment.default_threads()`.

        Raises:
            BackendUnavailableError: the engine's back end is not available here (exit code 3).
            BadInputError: the engine does not take what the manifest says.
        """
        runner = self._load(self.engine, device, threads)
        promised = tuple(spec.shape for spec in self.manifest.inputs), self.manifest.outputs[0].shape
        if promised != (tuple(map(tuple, runner.input_shapes)), tuple(runner.output_shape)):
            runner.close()
            raise BadInputError(
                f"{self.folder / self.manifest.engine[0]} takes {runner.input_shapes} and gives {runner.output_shape},"
                f" the manifest promises {promised[0]} and {promised[1]}.",
                hint="export the bundle again.",
            )
        return runner

    def load_localiser(self, device: str = "auto", threads: int | None = None) -> Runner | None:
        """Load the localiser's engine (`cinert.data.localiser` uses it); None where the bundle has none.

        Raises:
            BackendUnavailableError: as `load_runner`.
        """
        return None if self.localiser is None else self._load(self.localiser, device, threads)

    def _load(self, engine: Engine, device: str, threads: int | None) -> Runner:
        backend = resolve_backend(self.backend, device, self.precision)
        return backend.load(engine, device=device, threads=threads or default_threads())


def engine_file_names(engine: Engine, *, prefix: str = "") -> dict[str, str]:
    """File name in a bundle for each of an engine's files, by suffix: `openvino-fp32.xml`, `trt-rtx-fp16-sm86.plan`."""
    start = f"{prefix}{engine.backend}-{engine.precision}"
    return {suffix: f"{start}{'-' if _TARGET.match(suffix) else '.'}{suffix}" for suffix in engine.files}


def open_bundle(folder: Path, *, digest: str | None = None) -> Bundle:
    """Check a bundle and read it; no engine is loaded yet.

    Args:
        folder: the bundle.
        digest: SHA-256 that manifest.json has to have: of a signature, or of a bundle that was opened before. It pins
            every file, and each file is hashed as it is read, so nobody can exchange one in between.

    Raises:
        BadInputError: no bundle, another version, a file that is missing, changed or not listed, or one that its
            reader refuses. The file is named.
    """
    if not folder.is_dir():
        raise BadInputError(f"there is no bundle {folder}.", hint="export-engine writes one.")
    if not (folder / MANIFEST).is_file():
        raise BadInputError(f"{folder} is no bundle: it has no {MANIFEST}.", hint="export-engine writes one.")
    source = folder / MANIFEST
    manifest_bytes = read_bytes(source, "the manifest")
    found = sha256_of(manifest_bytes)
    if digest is not None and found != digest:
        raise BadInputError(
            f"{source} is not the expected one: its SHA-256 is {found[:12]}..., expected {digest[:12]}....",
            hint="it was changed, or the bundle was exported again.",
        )
    manifest = Manifest.from_dict(parse_json(manifest_bytes, source, "the manifest"), source=str(source))
    content = _check_files(folder, manifest)
    arch = arch_from_dict(parse_yaml(content[ARCH], folder / ARCH, "the architecture"), source=str(folder / ARCH))
    preprocessing = PreprocessingSpec.from_dict(
        parse_json(content[PREPROCESSING], folder / PREPROCESSING, "the preprocessing"), folder / PREPROCESSING
    )
    _check_agreement(folder, manifest, arch, preprocessing)

    def engine(names: tuple[str, ...], prefix: str, part: str) -> Engine:
        start = f"{prefix}{manifest.backend}-{manifest.precision}"
        files = {name.removeprefix(start)[1:]: content[name] for name in names}
        return Engine(manifest.backend, manifest.precision, files, build=manifest.build.get(part, {}))

    return Bundle(
        folder=folder,
        manifest=manifest,
        arch=arch,
        preprocessing=preprocessing,
        engine=engine(manifest.engine, "", "network"),
        localiser=engine(manifest.localiser, LOCALISER_PREFIX, "localiser") if manifest.localiser else None,
        quality=(
            QualityModel.from_dict(
                parse_json(content[QUALITY], folder / QUALITY, "the calibration"), source=str(folder / QUALITY)
            )
            if QUALITY in content
            else None
        ),
        digest=found,
    )


def _check_files(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Compare folder and manifest; return the files that are used, read once, so that what runs is what was hashed."""
    present = {path.name: path for path in folder.iterdir()}
    if extra := sorted(present.keys() - manifest.files.keys() - {MANIFEST}):
        raise BadInputError(
            f"bundle {folder} holds {extra[0]}, which its manifest does not list.",
            hint="a bundle is used as it was exported; keep other files elsewhere.",
        )
    used = {ARCH, PREPROCESSING, *manifest.engine, *manifest.localiser} | ({QUALITY} & manifest.files.keys())
    content = {}
    for name, expected in manifest.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise BadInputError(f"bundle {folder} lacks the file {name}.", hint="copy the whole folder again.")
        try:
            if name in used:
                content[name] = path.read_bytes()
                digest = sha256_of(content[name])
            else:
                digest = sha256_of_file(path)
        except OSError as error:
            raise BadInputError(f"cannot read {path}: {error.strerror or error}.") from error
        if digest != expected:
            raise BadInputError(
                f"{path} is not the file that was exported: its SHA-256 is {digest[:12]}..., the manifest says"
                f" {expected[:12]}....",
                hint="copy the bundle again, or export it again.",
            )
    return content


def _check_agreement(folder: Path, manifest: Manifest, arch: Architecture, spec: PreprocessingSpec) -> None:
    image, logits = (1, arch.grid.in_channels, *spec.shape_DHW), (1, len(CLASSES), *spec.shape_DHW)
    if [item.shape for item in manifest.inputs] != [image] or [item.shape for item in manifest.outputs] != [logits]:
        raise BadInputError(
            f"{folder / MANIFEST}: inputs and outputs do not fit {PREPROCESSING}, which asks for {image} and {logits}."
        )
    if manifest.classes != CLASSES:
        raise BadInputError(f"{folder / MANIFEST}: classes are {manifest.classes}, expected {CLASSES}.")
