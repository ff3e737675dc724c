"""Every labelled frame, clean and corrupted, segmented by a bundle: its Dice and the features of its quality score."""

from __future__ import annotations

import statistics
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bedside.pipeline import FramePipeline
from bedside.quality import features_of
from bedside.quality_history import MaskHistory
from bedside.volumes import frame_volumes_ml
from bench.corruptions import CORRUPTIONS, Corruption, Scan
from bench.corruptions.scan import stored
from bench.metrics import CLASS_LABELS
from cinert.data.nifti import Geometry, read_cine
from cinert.data.patients import Patient, load_frame
from cinert.quality import VolumeRange
from cinert.scores import Score

CLEAN = "clean"
_BEFORE = 3
"""Phases of the cine that are segmented before a labelled one."""
# Volumes are held against other hearts after the sweep, when it is known which ones.
_ANY = dict.fromkeys(CLASS_LABELS, VolumeRange(0.0, 1.0))

Previous = Literal["cine", "other phase", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskSample:
    """A mask, what it is worth, and what can be known of it without the truth."""

    patient_id: str
    frame: int
    phase: str
    corruption: str
    """`clean`, or one of `CORRUPTIONS`."""
    strength: float
    dice: Mapping[str, Score]
    """{rv, myo, lv} on the stored grid; None for a structure that neither mask nor labels hold."""
    features: Mapping[str, float | None] | None
    """As `bedside.quality.features_of`; `volume` is not held against other hearts yet. None for an empty mask."""
    volumes_ml: Mapping[str, float]
    """Of the mask, {rv, myo, lv}."""
    reference_ml: Mapping[str, float]
    """Of the labels of the frame before it was corrupted."""
    previous: Previous
    """What the mask was held against over time."""

    @property
    def mean_dice(self) -> float:
        """Mean over the structures that have a Dice, which is one at least: no labels are empty."""
        return statistics.fmean(score for score in self.dice.values() if score is not None)


def planned(patients: Sequence[Patient], corruptions: Mapping[str, Corruption] = CORRUPTIONS) -> int:
    """Masks that `sweep` makes at most."""
    per_frame = 1 + sum(len(corruption.strengths) for corruption in corruptions.values())
    return per_frame * sum(len(patient.frames) for patient in patients)


def sweep(
    pipeline: FramePipeline,
    patients: Sequence[Patient],
    *,
    corruptions: Mapping[str, Corruption] = CORRUPTIONS,
    seed: int = 0,
    on_mask: Callable[[], object],
) -> list[MaskSample]:
    """Segment every labelled frame clean and with each corruption at each strength.

    The localiser finds the heart in each of them anew. Over time a mask is held against the clean phases of the
    patient's cine before it; where there is no cine, against the clean mask of the other labelled phase, the largest
    change that a beat makes.

    Args:
        pipeline: of the bundle; a scorer of its own is put aside.
        patients: labelled.
        corruptions: to simulate.
        seed: the same seed gives the same images.
        on_mask: called after each mask.

    Raises:
        BadInputError: a file cannot be used.
    """
    recorder = _Recorder(pipeline.spec.spacing_mm)
    own, pipeline.scorer = pipeline.scorer, recorder
    try:
        return [
            sample
            for patient in patients
            for sample in _of_patient(pipeline, recorder, patient, corruptions, seed, on_mask)
        ]
    finally:
        pipeline.scorer = own


class _Recorder:
    """A scorer that notes the features of the latest mask; its past outlives `bind`, which `sweep` needs per mask."""

    def __init__(self, spacing_mm: tuple[float, float, float]) -> None:
        self.spacing_mm = spacing_mm
        self.history: MaskHistory | None = None
        self.features: dict[str, float | None] | None = None

    def bind(self, geometry: Geometry) -> None:
        self.history = self.history or MaskHistory(geometry)

    def fork(self) -> _Recorder:
        return _Recorder(self.spacing_mm)

    def score(self, logits_CDHW: NDArray[np.float32], mask_stored: NDArray[np.uint8]) -> None:
        assert self.history is not None
        self.features = features_of(
            logits_CDHW, mask_stored, spacing_mm=self.spacing_mm, history=self.history, volumes=_ANY
        )


def _of_patient(
    pipeline: FramePipeline,
    recorder: _Recorder,
    patient: Patient,
    corruptions: Mapping[str, Corruption],
    seed: int,
    on_mask: Callable[[], object],
) -> Iterator[MaskSample]:
    loaded = [load_frame(frame) for frame in patient.frames]
    for number, (frame, (image, label, geometry)) in enumerate(zip(patient.frames, loaded, strict=True)):
        others = [item for place, item in enumerate(loaded) if place != number and item[2].same_grid(geometry)]
        other = (others[0][0], others[0][1]) if others else None
        previous, past = _past(pipeline, recorder, patient, frame.index, geometry, other)
        scan = Scan.of(image, label, geometry, other)
        reference = frame_volumes_ml(label, geometry)
        for name, strength, corrupted in _versions(scan, corruptions, [seed, *_numbers(patient.id), frame.index]):
            recorder.history, recorder.features = None if past is None else past.copy(), None
            result = pipeline.bind(geometry).segment(stored(corrupted.image_DHW, geometry))
            scores = dice(result.mask, stored(corrupted.label_DHW, geometry))
            if all(score is None for score in scores.values()):
                continue  # slices were shifted out of the image: there is nothing to find, and nothing was found
            yield MaskSample(
                patient_id=patient.id,
                frame=frame.index,
                phase=frame.phase,
                corruption=name,
                strength=strength,
                dice=scores,
                features=recorder.features,
                volumes_ml=frame_volumes_ml(result.mask, geometry),
                reference_ml=reference,
                previous=previous,
            )
            on_mask()


def _versions(scan: Scan, corruptions: Mapping[str, Corruption], seeds: list[int]) -> Iterator[tuple[str, float, Scan]]:
    yield CLEAN, 0.0, scan
    for name, corruption in corruptions.items():
        if name == "arrhythmia" and scan.other is None:
            continue
        for strength in corruption.strengths:
            # The same draw at every strength, so that only the strength differs.
            yield name, strength, corruption.apply(scan, strength, np.random.default_rng([*seeds, *_numbers(name)]))


def _past(
    pipeline: FramePipeline,
    recorder: _Recorder,
    patient: Patient,
    index: int,
    geometry: Geometry,
    other: tuple[NDArray[np.float32], NDArray[np.uint8]] | None,
) -> tuple[Previous, MaskHistory | None]:
    """Segment what came before a frame, clean."""
    before: list[NDArray[Any]] = []
    previous: Previous = "none"
    if patient.cine_path is not None and index > 1:
        cine = read_cine(patient.cine_path)
        if cine.geometry.same_grid(geometry):
            before = [cine.image[..., phase] for phase in range(max(0, index - 1 - _BEFORE), index - 1)]
            previous = "cine"
    if not before and other is not None:
        before, previous = [other[0]], "other phase"
    recorder.history = None
    pipeline.bind(geometry)
    for image in before:
        pipeline.segment(image)
        pipeline.look(image)
    return previous, recorder.history


def dice(mask: NDArray[np.uint8], truth: NDArray[np.uint8]) -> dict[str, Score]:
    """Dice of {rv, myo, lv}; None for a structure that is in neither, 0 for one that is in one alone."""
    scores: dict[str, Score] = {}
    for name, label in CLASS_LABELS.items():
        found, present = mask == label, truth == label
        total = np.count_nonzero(found) + np.count_nonzero(present)
        scores[name] = 2 * np.count_nonzero(found & present) / total if total else None
    return scores


def _numbers(word: str) -> list[int]:
    """A number that follows from a word on every machine."""
    return [zlib.crc32(word.encode())]
