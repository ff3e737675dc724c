"""Trained weights that a training takes something from, and whom they have seen."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from cinert.arch import load_arch
from cinert.architecture import Architecture, InputGrid
from cinert.bundle_manifest import WEIGHTS
from cinert.errors import BadInputError
from cinert.files import sha256_of_file
from cinert.provenance import merge_records
from cinert.schema import plain
from cinert.space import CLASSES
from cinert.tensors import read_tensors
from search.checkpoint import KEY
from search.run_folder import ARCH, SUPERNET

# Schemas of files with weights, and what stands before the names of a network's tensors in them.
_PREFIXES = {"cinert.weights": "", "cinert.supernet": "supernet."}


@dataclass(frozen=True, kw_only=True)
class Source:
    """Weights of another training, or of a search."""

    path: Path
    tensors: Mapping[str, Tensor]
    """By their names in a network."""
    digest: str
    """Short SHA-256 of the file."""
    arch: Architecture | None
    """What they were trained for; None where no arch.yaml of it lies beside them."""
    grid: Mapping[str, Any] | None
    """`describe_grid` of what they were trained on; None where nothing says it."""
    seen: tuple[Mapping[str, Any], ...]
    """{id, digest} of every patient behind them."""


def describe_grid(grid: InputGrid) -> dict[str, Any]:
    """The image that a network reads, as weights note it."""
    return {"shape_DHW": plain(grid.input_shape_DHW), "spacing_mm": plain(grid.spacing_mm)}


def find_source(path: Path, *, names: Sequence[str], written: Collection[Path]) -> Path:
    """The file that a user means by a run folder or a file.

    Args:
        path: a run folder, or a file.
        names: of the files that a folder is searched for, the first one first.
        written: files that the training itself will write, and so cannot read.

    Raises:
        BadInputError: there are none, or only those.
    """
    meant = [path / name for name in names] if path.is_dir() else [path]
    there = [file for file in meant if file.is_file()]
    if not there and path.is_dir():
        raise BadInputError(f"{path} holds no {' and no '.join(names)}.", hint="name the folder of a finished run.")
    if not there:
        raise BadInputError(f"weights {path} do not exist.", hint=f"name a run folder, or its {WEIGHTS}.")
    own = {file.resolve() for file in written}
    others = [file for file in there if file.resolve() not in own]
    if not others:
        raise BadInputError(
            f"weights {there[0]} are what this training writes, and cannot be what it reads.",
            hint="choose another output with -o.",
        )
    return others[0]


def read_source(path: Path) -> Source:
    """Read weights and what they say about themselves.

    Args:
        path: a file, as `find_source` gives it.

    Raises:
        BadInputError: it cannot be read, holds no weights of a network, other classes or values that are not finite, or
            does not say which patients it has seen.
    """
    try:
        tensors, metadata = read_tensors(path)
    except (SafetensorError, OSError) as error:
        raise BadInputError(f"weights {path} cannot be read: {error}.") from error
    record = _record(metadata, path)
    prefix = _PREFIXES[record["schema"]]
    named = {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}
    broken = sorted(name for name, each in named.items() if not torch.isfinite(each).all())
    if broken:
        raise BadInputError(f"weights {path}: {broken[0]} holds values that are not finite ({len(broken)} tensors do).")
    arch = _arch_beside(path, record)
    return Source(
        path=path,
        tensors=named,
        digest=sha256_of_file(path)[:16],
        arch=arch,
        grid=_grid(record, arch, path),
        seen=_seen(record, arch, path),
    )


def refuse_other_grid(source: Source, arch: Architecture) -> None:
    """Refuse weights that are known to have learnt from images of another shape or voxel size.

    Raises:
        BadInputError: naming both grids.
    """
    now = describe_grid(arch.grid)
    if source.grid is not None and source.grid != now:
        raise BadInputError(
            f"weights {source.path} were trained on the grid {_say(source.grid)}, and {arch.source} reads {_say(now)}.",
            hint="name weights that were trained on this grid.",
        )


def refuse_source_that_saw(source: Source, held_out: Mapping[str, str]) -> None:
    """Refuse weights that saw patients whom the training holds out: their Dice would flatter.

    Args:
        source: the weights.
        held_out: digests of the held-out patients by id.

    Raises:
        BadInputError: naming them.
    """
    ids = {record["id"] for record in source.seen}
    digests = {record["digest"] for record in source.seen}
    both = sorted(id_ for id_, digest in held_out.items() if id_ in ids or digest in digests)
    if both:
        raise BadInputError(
            f"weights {source.path} saw {len(both)} of the held-out patients: {', '.join(both)}.",
            hint="name weights that were trained without them, or hold nobody out with --fold all.",
        )


def _record(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    try:
        record = json.loads(metadata.get(KEY, "{}"))
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path}: metadata {KEY} is not JSON: {error}.") from error
    if not isinstance(record, dict) or not record:
        raise BadInputError(
            f"weights {path} do not say which patients they have seen.", hint="train with train-arch, which notes it."
        )
    if record.get("schema") not in _PREFIXES or record.get("version") != 1:
        raise BadInputError(
            f"{path} is {record.get('schema')!r} version {record.get('version')!r}, which holds no weights to take.",
            hint=f"name {WEIGHTS} of train-arch or {SUPERNET} of nas-search.",
        )
    if record.get("classes", list(CLASSES)) != list(CLASSES):
        raise BadInputError(f"weights {path} are of classes {record['classes']}, expected {list(CLASSES)}.")
    return record


def _arch_beside(path: Path, record: Mapping[str, Any]) -> Architecture | None:
    beside = path.with_name(ARCH)
    if not beside.is_file():
        return None
    arch = load_arch(beside)
    return arch if record.get("arch_digest", arch.digest) == arch.digest else None


def _grid(record: Mapping[str, Any], arch: Architecture | None, path: Path) -> Mapping[str, Any] | None:
    noted = record.get("provenance", {})
    if not isinstance(noted, dict):
        raise BadInputError(f"{path}: provenance is {noted!r}, expected a mapping.")
    found = noted.get("grid")
    if found is None:
        return None if arch is None else describe_grid(arch.grid)
    try:
        _say(found)
    except (TypeError, KeyError, ValueError) as error:
        raise BadInputError(f"{path}: provenance.grid is {found!r}, expected shape_DHW and spacing_mm.") from error
    return {key: list(found[key]) for key in ("shape_DHW", "spacing_mm")}


def _seen(record: Mapping[str, Any], arch: Architecture | None, path: Path) -> tuple[Mapping[str, Any], ...]:
    of_arch = None if arch is None else arch.provenance.get("seen_patients")
    if "seen_patients" not in record and of_arch is None:
        raise BadInputError(
            f"weights {path} do not say which patients they have seen, and no {ARCH} beside them does.",
            hint="name the folder of a finished search.",
        )
    try:
        return tuple(merge_records(record.get("seen_patients", []), of_arch or []))
    except (TypeError, KeyError, AttributeError) as error:
        raise BadInputError(f"{path}: seen_patients does not hold {{id, digest}} records.") from error


def _say(grid: Mapping[str, Any]) -> str:
    shape, spacing = ("x".join(f"{each:g}" for each in grid[key]) for key in ("shape_DHW", "spacing_mm"))
    return f"{shape} at {spacing} mm"
