"""The patients of a fold on the network's grid, batches of them, and the record of who was seen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cinert.architecture import InputGrid
from cinert.data.dataset import Sample
from cinert.data.folds import fold_count, split_patients
from cinert.data.grid import PreprocessingSpec
from cinert.data.layouts import read_patients
from cinert.data.nifti_file import content_files
from cinert.data.patients import Patient
from cinert.data.phantom_mark import is_phantom
from cinert.errors import BadInputError
from cinert.files import sha256_of, sha256_of_file
from cinert.progress import Advance, unheard
from cinert.provenance import counted, kind, patient_record
from cinert.space import CLASSES
from search.cache import SampleCache


@dataclass(frozen=True, kw_only=True)
class PatientRecord:
    """A patient that influenced a result, and the digest that recognises the patient under another name."""

    id: str
    digest: str
    phantom: bool | None = None
    """Whether `make-phantom` drew the patient; None where nobody wrote it down."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and YAML."""
        return patient_record(self.id, self.digest, self.phantom)


@dataclass(frozen=True, kw_only=True)
class FoldData:
    """Frames of the training and of the held-out patients, on the network's grid."""

    fold: int | None
    train: list[Sample]
    validation: list[Sample]
    seen: list[PatientRecord]
    """The training patients."""
    files: dict[str, str]
    """SHA-256 by patient and name of every image and label, held-out patients included: their Dice is followed."""
    phantoms: frozenset[str] = frozenset()
    """Those of all patients that `make-phantom` drew."""

    def counted(self, samples: Sequence[Sample]) -> str:
        """How many patients and phantoms are behind samples, in words."""
        return counted(*self.count(samples))

    def kind(self, samples: Sequence[Sample]) -> str:
        """What those behind samples are called: a phantom's Dice is no patient's."""
        return kind(*self.count(samples))

    def count(self, samples: Sequence[Sample]) -> tuple[int, int]:
        """How many patients, and how many phantoms, are behind samples."""
        ids = set(patients_of(samples))
        return len(ids - self.phantoms), len(ids & self.phantoms)

    @property
    def digest(self) -> str:
        """Short hash of what is learnt from and scored on: every frame's files, and the grid."""
        shapes = [[sample.patient_id, sample.frame, list(sample.x_DHW.shape)] for sample in self.train]
        return sha256_of(json.dumps([sorted(self.files.items()), shapes]).encode())[:16]


@dataclass(frozen=True)
class LoadedPatients:
    """All patients of a folder, on the network's grid."""

    patients: dict[str, Patient]
    samples: list[Sample]
    """Of all patients, by id."""
    digests: dict[str, str]
    """By patient (`patient_digest`)."""
    files: dict[str, str]
    """As in `FoldData`."""
    cache: SampleCache
    """Where they were read from, or kept."""
    phantoms: frozenset[str] = frozenset()
    """Those that `make-phantom` drew."""

    @property
    def folds(self) -> int:
        """How many there are."""
        return fold_count(self.patients.values())

    def digests_of(self, samples: Iterable[Sample]) -> dict[str, str]:
        """Digests of the patients behind samples, by id."""
        return {sample.patient_id: self.digests[sample.patient_id] for sample in samples}

    def fold(self, fold: int | None) -> FoldData:
        """Split them.

        Args:
            fold: counted from 0, or None to hold nobody out.

        Raises:
            BadInputError: too few patients.
        """
        parts = split_patients(self.patients.values(), fold)
        of = {id_: [sample for sample in self.samples if sample.patient_id == id_] for id_ in self.patients}
        return FoldData(
            fold=fold,
            train=[sample for id_ in parts.train for sample in of[id_]],
            validation=[sample for id_ in parts.validation for sample in of[id_]],
            seen=[
                PatientRecord(id=id_, digest=self.digests[id_], phantom=id_ in self.phantoms)
                for id_ in sorted(parts.train)
            ],
            files=self.files,
            phantoms=self.phantoms,
        )


def load_patients(folder: Path | None, grid: InputGrid, *, progress: Advance = unheard) -> LoadedPatients:
    """Read the patients of a folder, from the cache where they are there.

    Args:
        folder: of patients in a known layout; None is refused with a hint.
        grid: of the network, a space or an architecture's; gives spacing and shape.
        progress: called with (what, frames done, frames in all).

    Raises:
        BadInputError: no folder, or one that cannot be used.
    """
    if folder is None:
        raise BadInputError(
            "no data given.",
            hint="name a folder of patients with --data DIR, or set CINERT_DATA; make-phantom makes one.",
        )
    patients = {patient.id: patient for patient in read_patients(folder)}
    frames = [frame for _, patient in sorted(patients.items()) for frame in patient.frames]
    # One file may hold all frames of a patient.
    paths = {path for frame in frames for path in (frame.image_path, frame.label_path)}
    hashes = {path: _hash(path) for path in paths}
    spec = PreprocessingSpec(spacing_mm=grid.spacing_mm, shape_DHW=grid.input_shape_DHW)
    cache = SampleCache(spec, hashes)
    found = cache.load(frames, progress)
    digests: dict[str, str] = {}
    for frame, cached in zip(frames, found, strict=True):
        # Of the first frame.
        digests.setdefault(frame.patient_id, cached.digest)
    return LoadedPatients(
        patients,
        [cached.sample for cached in found],
        digests,
        {
            f"{frame.patient_id}/{path.name}": hashes[path]
            for frame in frames
            for path in (frame.image_path, frame.label_path)
        },
        cache,
        frozenset(patient.id for patient in patients.values() if is_phantom(patient)),
    )


def _hash(path: Path) -> str:
    try:
        hashes = [sha256_of_file(file) for file in content_files(path)]
    except OSError as error:
        raise BadInputError(f"cannot read {error.filename or path}: {error.strerror}.") from error
    return hashes[0] if len(hashes) == 1 else sha256_of("".join(hashes).encode())


def load_fold(folder: Path | None, grid: InputGrid, fold: int | None, *, progress: Advance = unheard) -> FoldData:
    """Read the patients of a folder and split them; arguments and errors as of `load_patients` and its `fold`."""
    return load_patients(folder, grid, progress=progress).fold(fold)


def halve_patients(samples: Sequence[Sample], seed: int) -> tuple[list[Sample], list[Sample]]:
    """Split samples into two halves that share no patient: one for the weights, one for the architecture.

    The first half takes the odd patient.

    Raises:
        BadInputError: fewer than 2 patients.
    """
    ids = patients_of(samples)
    if len(ids) < 2:
        raise BadInputError(
            f"the search learns weights and architecture on different patients, and there is {len(ids)} to train on.",
            hint="give more patients.",
        )
    np.random.default_rng([seed, 1]).shuffle(ids)
    first = set(ids[: (len(ids) + 1) // 2])
    return (
        [sample for sample in samples if sample.patient_id in first],
        [sample for sample in samples if sample.patient_id not in first],
    )


def patients_of(samples: Sequence[Sample]) -> list[str]:
    """Ids of the patients behind samples, sorted, each once."""
    return sorted({sample.patient_id for sample in samples})


def labelled_classes(samples: Sequence[Sample]) -> list[str]:
    """Classes that the labels of samples hold: no other can be learnt."""
    found = set().union(*(np.unique(sample.y_DHW).tolist() for sample in samples))
    return [name for number, name in enumerate(CLASSES) if number in found]


def to_tensors(samples: Sequence[Sample], device: torch.device) -> tuple[Tensor, Tensor]:
    """Stack samples: images (N, 1, D, H, W) float32 and labels (N, D, H, W) int64, on the device."""
    images = torch.from_numpy(np.stack([sample.x_DHW for sample in samples]))[:, None]
    labels = torch.from_numpy(np.stack([sample.y_DHW for sample in samples])).long()
    return images.to(device), labels.to(device)


def epoch_batches(count: int, batch_size: int, *steps: int) -> list[list[int]]:
    """Shuffle `count` indices into batches; the order follows from the numbers in `steps` (seed, epoch, stream) alone.

    An epoch's order depends on nothing that came before, so that a resumed run sees the same batches.
    """
    order = np.random.default_rng(list(steps)).permutation(count)
    return [order[start : start + batch_size].tolist() for start in range(0, count, batch_size)]


def mix_seed(*steps: int) -> int:
    """One seed from several numbers (seed, epoch, stream)."""
    return int(np.random.SeedSequence(list(steps)).generate_state(1, np.uint64)[0] >> np.uint64(1))
