"""Preprocessed frames on disk, so that reading the patients of a data set is done once for each grid.

A frame is kept under the hash of what it follows from: the content of its files, how they are read, the grid, and the
version of the preprocessing. A file that is cut short, altered or of another frame is made again, never trusted. Files
are written whole, so that processes may share the folder; it can be deleted at any time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from cinert.data.dataset import Sample, load_sample
from cinert.data.grid import PreprocessingSpec
from cinert.data.patients import Frame, voxel_digest
from cinert.environment import cache_folder
from cinert.errors import BadInputError
from cinert.files import atomic_path, sha256_of
from cinert.progress import Advance, unheard

VERSION = 2
"""To be raised with every change of what preprocessing computes."""
_KEY = "cinert"


@dataclass(frozen=True)
class CachedFrame:
    """A frame on the network's grid."""

    sample: Sample
    digest: str
    """Of the frame's voxels as stored (`voxel_digest`)."""


class SampleCache:
    """Reads frames, from the cache where it can.

    Args:
        spec: the network's grid.
        files: SHA-256 of each file's content.
        folder: of the cache; `$CINERT_CACHE/samples` or that of the user's cache folder.
    """

    def __init__(self, spec: PreprocessingSpec, files: Mapping[Path, str], folder: Path | None = None) -> None:
        self._spec, self._files = spec, files
        self.folder = folder or cache_folder() / "samples"
        self.made = 0
        """Frames that were not there, or not whole."""
        self.trouble: str | None = None
        """Why the cache could not be written, if so: frames are then read anew each time."""

    def load(self, frames: Sequence[Frame], progress: Advance = unheard) -> list[CachedFrame]:
        """Read frames in their order.

        Args:
            frames: of patients.
            progress: called with (what, frames done, frames in all) after each.

        Raises:
            BadInputError: a file cannot be used.
        """
        found = []
        for done, frame in enumerate(frames, start=1):
            found.append(self._load(frame))
            progress("reading", done, len(frames))
        return found

    def path(self, frame: Frame) -> Path:
        """Where a frame is kept."""
        return self.folder / f"{self._key(frame)}.safetensors"

    def _key(self, frame: Frame) -> str:
        follows_from = [
            VERSION,
            self._files[frame.image_path],
            self._files[frame.label_path],
            frame.volume,
            frame.stored_labels,
            self._spec.spacing_mm,
            self._spec.shape_DHW,
        ]
        return sha256_of(json.dumps(follows_from).encode())

    def _load(self, frame: Frame) -> CachedFrame:
        kept = self._read(frame)
        if kept is not None:
            return kept
        self.made += 1
        sample, image, label = load_sample(frame, self._spec)
        cached = CachedFrame(sample, voxel_digest(image, label))
        self._write(frame, cached)
        return cached

    def _read(self, frame: Frame) -> CachedFrame | None:
        """The kept frame, if it is whole and that very one."""
        try:
            with safe_open(self.path(frame), framework="np") as stream:
                values = json.loads((stream.metadata() or {})[_KEY])
                x_DHW, y_DHW = stream.get_tensor("x_DHW"), stream.get_tensor("y_DHW")
            whole = values["key"] == self._key(frame) and values["content"] == _content(x_DHW, y_DHW)
            sample = Sample(frame.patient_id, frame.index, frame.phase, x_DHW, y_DHW, float(values["kept_share"]))
            return CachedFrame(sample, str(values["digest"])) if whole else None
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            return None

    def _write(self, frame: Frame, cached: CachedFrame) -> None:
        sample = cached.sample
        values = {
            "key": self._key(frame),
            "content": _content(sample.x_DHW, sample.y_DHW),
            "kept_share": sample.kept_share,
            "digest": cached.digest,
        }
        tensors: dict[str, NDArray[Any]] = {
            "x_DHW": np.ascontiguousarray(sample.x_DHW),
            "y_DHW": np.ascontiguousarray(sample.y_DHW),
        }
        try:
            # Patients' images: for this user alone.
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with atomic_path(self.path(frame)) as partial:
                partial.write_bytes(save(tensors, metadata={_KEY: json.dumps(values)}))
        except (BadInputError, OSError) as error:
            self.trouble = str(error)


def _content(x_DHW: NDArray[np.float32], y_DHW: NDArray[np.uint8]) -> str:
    """Hash of shapes and values."""
    shape = f"{x_DHW.shape} {x_DHW.dtype} {y_DHW.shape} {y_DHW.dtype}"
    return sha256_of(shape.encode() + x_DHW.tobytes() + y_DHW.tobytes())
