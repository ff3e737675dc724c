"""Writing a bundle: whole or not at all. Free of torch."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cinert.arch import save_arch
from cinert.architecture import Architecture
from cinert.backends.base import Engine
from cinert.bundle import LOCALISER_PREFIX, Bundle, engine_file_names, open_bundle
from cinert.bundle_manifest import (
    ARCH,
    LOCALISER,
    LOCALISER_ONNX,
    MANIFEST,
    ONNX,
    PREPROCESSING,
    QUALITY,
    SCHEMA,
    WEIGHTS,
    Manifest,
    Parity,
    TensorSpec,
)
from cinert.data.grid import PreprocessingSpec
from cinert.errors import BadInputError
from cinert.files import (
    atomic_folder,
    check_writable,
    read_json,
    sha256_of_file,
    write_json,
)
from cinert.provenance import Provenance
from cinert.quality import QualityModel
from cinert.space import CLASSES


@dataclass(frozen=True, kw_only=True, slots=True)
class LocaliserFiles:
    """What a bundle holds of the localiser: its weights file, its ONNX and its engine."""

    weights: bytes
    onnx: bytes
    engine: Engine


def check_bundle_target(folder: Path) -> None:
    """Refuse an output folder that a bundle cannot take the place of, before any work is spent on it.

    Raises:
        BadInputError: it cannot be written, is a file, or holds anything but an older bundle.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"cannot write the bundle {folder}: a file of that name exists.")
    check_writable(folder)
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not present:
        return
    document = read_json(folder / MANIFEST, "the manifest") if MANIFEST in present else {}
    known = {MANIFEST, *document.get("files", {})} if document.get("schema") == SCHEMA else set()
    if foreign := sorted(present - known):
        raise BadInputError(
            f"cannot write the bundle {folder}: the folder holds {foreign[0]}, which would be lost.",
            hint="choose a new or empty folder with -o.",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleContent:
    """All that a bundle holds; its manifest is made from it."""

    arch: Architecture
    weights: bytes
    """The file."""
    onnx: bytes
    """That the engine was built from."""
    engine: Engine
    preprocessing: PreprocessingSpec
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    fingerprint: Mapping[str, Any]
    """Of the machine that built it."""
    parity: Parity
    versions: Mapping[str, str]
    """Of the libraries that it was made with."""
    seen_patients: tuple[Mapping[str, Any], ...] | None
    """{id, digest, phantom} of every patient behind it; None where nobody knows."""
    labelled: tuple[str, ...] | None = None
    """Classes that the labels of `seen_patients` hold; None where nobody knows."""
    localiser: LocaliserFiles | None = None
    estimate: Mapping[str, float] | None = None
    lut: Mapping[str, Any] | None = None
    """That the estimate is by."""


def write_bundle(folder: Path, content: BundleContent) -> Bundle:
    """Write the folder, whole or not at all, and open it as a user would.

    An older bundle of that name is replaced; a folder that holds anything else is refused.

    Raises:
        BadInputError: the folder cannot be written.
    """
    check_bundle_target(folder)
    with atomic_folder(folder) as partial:
        save_arch(partial / ARCH, content.arch)
        write_json(partial / PREPROCESSING, content.preprocessing.to_dict())
        (partial / WEIGHTS).write_bytes(content.weights)
        (partial / ONNX).write_bytes(content.onnx)
        names = _write_engine(partial, content.engine)
        localiser_names: tuple[str, ...] = ()
        if content.localiser is not None:
            (partial / LOCALISER).write_bytes(content.localiser.weights)
            (partial / LOCALISER_ONNX).write_bytes(content.localiser.onnx)
            localiser_names = _write_engine(partial, content.localiser.engine, prefix=LOCALISER_PREFIX)
        write_json(partial / MANIFEST, _manifest(partial, content, names, localiser_names).to_dict())
    return open_bundle(folder)


def _write_engine(folder: Path, engine: Engine, **naming: str) -> tuple[str, ...]:
    names = engine_file_names(engine, **naming)
    for suffix, name in names.items():
        (folder / name).write_bytes(engine.files[suffix])
    return tuple(names.values())


def _manifest(folder: Path, content: BundleContent, engine: tuple[str, ...], localiser: tuple[str, ...]) -> Manifest:
    """The manifest of what lies in a folder."""
    seen = content.seen_patients
    return Manifest(
        files={path.name: sha256_of_file(path) for path in sorted(folder.iterdir())},
        engine=engine,
        localiser=localiser,
        backend=content.engine.backend,
        precision=content.engine.precision,
        inputs=content.inputs,
        outputs=content.outputs,
        classes=CLASSES,
        fingerprint=content.fingerprint,
        estimate=content.estimate,
        lut=content.lut,
        parity=content.parity,
        build=_builds(content.engine, None if content.localiser is None else content.localiser.engine),
        seen_patients=seen,
        provenance=None if seen is None else Provenance.of(seen, content.labelled),
        versions=content.versions,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _builds(network: Engine, localiser: Engine | None) -> dict[str, Mapping[str, Any]]:
    engines = {"network": network, **({} if localiser is None else {"localiser": localiser})}
    return {part: engine.build for part, engine in engines.items() if engine.build}


def add_quality(bundle: Bundle, model: QualityModel) -> Bundle:
    """Put a calibrated score into a bundle, in place of an earlier one; whole or not at all.

    The bundle's digest changes, so a signature or a certificate of it has to be made again.

    Raises:
        BadInputError: the folder cannot be written, or was changed since it was opened.
    """
    folder = bundle.folder
    if sha256_of_file(folder / MANIFEST) != bundle.digest:
        raise BadInputError(f"bundle {folder} was changed meanwhile.", hint="start again.")
    with atomic_folder(folder) as partial:
        for name in bundle.manifest.files.keys() - {QUALITY}:
            shutil.copyfile(folder / name, partial / name)
        write_json(partial / QUALITY, model.to_dict())
        files = {**bundle.manifest.files, QUALITY: sha256_of_file(partial / QUALITY)}
        write_json(partial / MANIFEST, replace(bundle.manifest, files=files).to_dict())
        # What was copied is checked like any other bundle before it takes the place of the old one.
        open_bundle(partial)
    return open_bundle(folder)
