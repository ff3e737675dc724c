"""Writing whole files or nothing, and reading JSON and YAML with errors that name the file."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from cinert.errors import BadInputError

_PARTIAL, _PREVIOUS = ".partial-", "previous"
_ABANDONED_S = 60.0
# Of `cinert.bundle_manifest`, which reads its files by this module.
_MANIFEST, _BUNDLE_SCHEMA = "manifest.json", "cinert.bundle"


def check_writable(path: Path) -> None:
    """Refuse an output that cannot be written, before any work is spent on it; no folder is left behind.

    Raises:
        BadInputError: the folder cannot be made or written, or lies in a bundle.
    """
    if (bundle := bundle_around(path)) is not None:
        raise BadInputError(
            f"cannot write {path}: it lies in the bundle {bundle}, which may hold what its manifest lists and nothing"
            " else.",
            hint="name a place outside of it.",
        )
    folder = Path(os.path.normpath(Path.cwd() / path.parent))
    # What is there already, a link to nowhere included.
    there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
    with _refusing(path):
        if there == folder:
            _try_folder(folder, path.name)
            return
        # In a folder of its own, because another process may be about to use the one that is asked for.
        with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=there) as probe:
            inside = Path(probe) / folder.relative_to(there)
            inside.mkdir(parents=True)
            _try_folder(inside, path.name)


def _try_folder(folder: Path, name: str) -> None:
    """Raise what writing a file of that name there would raise."""
    with tempfile.TemporaryFile(dir=folder):
        pass
    # The name may be too long for any file.
    with contextlib.suppress(FileNotFoundError):
        (folder / name).lstat()


def bundle_around(path: Path) -> Path | None:
    """The bundle that a file would lie in, to be broken by it; None where there is none."""
    for folder in Path(os.path.realpath(path)).parents:
        manifest = folder / _MANIFEST
        # One that cannot be read is no bundle that could still be opened.
        with contextlib.suppress(BadInputError, OSError):
            if manifest.is_file() and read_json(manifest, "the manifest").get("schema") == _BUNDLE_SCHEMA:
                return folder
    return None


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInputError(
            f"cannot write {path}: {error.strerror or error}.", hint="choose an output in a folder that you may write."
        ) from error


def _make_folder_of(path: Path) -> None:
    """Make the folder of an output that is about to be written; raises BadInputError where it cannot be."""
    with _refusing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _try_folder(path.parent, path.name)


def check_output_file(path: Path) -> None:
    """The same for a file.

    Raises:
        BadInputError: as `check_writable`, and where a folder lies there.
    """
    check_writable(path)
    if path.is_dir():
        raise BadInputError(f"cannot write {path}: it is a folder.", hint="name a file with -o.")


@contextlib.contextmanager
def _workspace(parent: Path) -> Iterator[Path]:
    """Make a hidden folder to write in, removed at the end; what a killed process left of its own is removed first."""
    for left in parent.glob(f"{_PARTIAL}*"):
        _remove_if_abandoned(left)
    folder = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=parent))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Says that somebody works here, for as long as the process lives.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _remove_if_abandoned(folder: Path) -> None:
    # Whatever cannot be read or locked is somebody else's, or is just being removed.
    with contextlib.suppress(OSError):
        # Young ones may not be locked yet. One that holds `previous` was killed while it replaced a folder.
        if time.time() - folder.stat().st_mtime < _ABANDONED_S or (folder / _PREVIOUS).exists():
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, otherwise nothing is left.

    The temporary name keeps the suffixes of `path`, because nibabel and OpenVINO choose the format by them.
    """
    _make_folder_of(path)
    with _workspace(path.parent) as folder:
        try:
            partial = folder / path.name
            yield partial
            partial.replace(path)
        except OSError as error:
            raise BadInputError(
                f"cannot write {path}: {error.strerror or error}.", hint="is the disk full, or is it a folder?"
            ) from error


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; on success it replaces the folder `path` as a whole.

    Raises:
        BadInputError: `path` is a file.
    """
    if path.exists() and not path.is_dir():
        raise BadInputError(f"cannot write the folder {path}: a file of that name exists.")
    _make_folder_of(path)
    with _workspace(path.parent) as holder:
        try:
            partial = holder / path.name
            partial.mkdir()
            yield partial
            if path.exists():
                path.replace(holder / _PREVIOUS)
            partial.replace(path)
        except OSError as error:
            raise BadInputError(f"cannot write the folder {path}: {error.strerror or error}.") from error


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write `document` as indented JSON; NaN and infinity are refused, because JSON has no word for them."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def read_bytes(path: Path, what: str) -> bytes:
    """Read a whole file; `what` names it in errors.

    Raises:
        BadInputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {what} {path}: {error.strerror}.") from error


def _decoded(data: bytes, path: Path, what: str) -> str:
    try:
        # Some editors begin a file with a byte order mark.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(f"cannot read {what} {path}: it is not UTF-8 text.") from error


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object; `what` names it in errors ("the LUT").

    Raises:
        BadInputError: the file is missing, is not JSON, or holds something else than an object.
    """
    return parse_json(read_bytes(path, what), path, what)


def parse_json(data: bytes, path: Path, what: str) -> dict[str, Any]:
    """The same for content that was read before, so that what is used is what was hashed."""
    try:
        document = json.loads(_decoded(data, path, what))
    except json.JSONDecodeError as error:
        raise BadInputError(f"{what} {path} is not JSON: {error}.") from error
    return _expect_mapping(document, path, what)


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """Read a YAML mapping; raises as `read_json` does."""
    return parse_yaml(read_bytes(path, what), path, what)


def parse_yaml(data: bytes, path: Path, what: str) -> dict[str, Any]:
    """The same for content that was read before."""
    try:
        document = yaml.safe_load(_decoded(data, path, what))
    except yaml.YAMLError as error:
        raise BadInputError(f"{what} {path} is not YAML: {error}.") from error
    return _expect_mapping(document, path, what)


def _expect_mapping(document: object, path: Path, what: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise BadInputError(f"{what} {path} holds {type(document).__name__}, not a mapping of keys to values.")
    return document


def sha256_of(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
