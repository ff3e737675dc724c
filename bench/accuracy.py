"""Accuracy of a bundle on labelled patients, on the grid that the images were stored on.

A patient's scores are the mean over its frames (ED and ES), and means and spreads are over patients, so that each
patient counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bedside.pipeline import FramePipeline
from bedside.volumes import frame_volumes_ml
from bench.clinical import clinical_indices
from bench.metrics import CLASS_LABELS, FrameScore, Scores, mean_scores, score_mask, std_scores
from cinert.data.patients import Patient, load_frame
from cinert.data.phantom_mark import is_phantom
from cinert.provenance import counted, kind
from cinert.scores import Score, mean_of

SCHEMA, VERSION = "cinert.accuracy", 1


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameAccuracy:
    """One labelled frame, scored."""

    patient_id: str
    frame: int
    """Number in the cine, counted from 1."""
    phase: str
    score: FrameScore
    reference_ml: Mapping[str, float]
    """Volumes of the labelled structures, {rv, myo, lv}."""
    predicted_ml: Mapping[str, float]
    kept_share: float
    """Share of the labelled voxels that lie in the crop; what is outside cannot be found."""
    latency_ms: float
    """Frame in to mask out."""
    phantom: bool = False
    """Whether `make-phantom` drew the patient: a phantom's Dice is no patient's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Scores over patients."""

    dice_mean: Scores
    dice_std: Scores
    hd95_mean_mm: Scores
    hd95_std_mm: Scores
    patients: int
    """Phantoms included."""
    phantoms: int

    @property
    def mean_dice(self) -> Score:
        """Mean over classes of the mean over patients."""
        return mean_of(self.dice_mean.values())

    @property
    def who(self) -> str:
        """What was scored, in words: `5 phantoms`."""
        return counted(self.patients - self.phantoms, self.phantoms)

    @property
    def kind(self) -> str:
        """What they are called together: `phantoms`."""
        return kind(self.patients - self.phantoms, self.phantoms)

    @property
    def mean_hd95_mm(self) -> Score:
        """As `mean_dice`."""
        return mean_of(self.hd95_mean_mm.values())


def score_patients(
    pipeline: FramePipeline, patients: Iterable[Patient], *, on_frame: Callable[[], object]
) -> list[FrameAccuracy]:
    """Segment and score every labelled frame of the patients.

    Args:
        pipeline: is bound to each frame's geometry here.
        patients: from `read_patients`.
        on_frame: called after each frame.

    Raises:
        BadInputError: a file cannot be used.
    """
    scored = []
    for patient in patients:
        phantom = is_phantom(patient)
        for frame in patient.frames:
            image, label, geometry = load_frame(frame)
            result = pipeline.bind(geometry).segment(image)
            scored.append(
                FrameAccuracy(
                    patient_id=patient.id,
                    frame=frame.index,
                    phase=frame.phase,
                    score=score_mask(result.mask, label, geometry.spacing_mm),
                    reference_ml=frame_volumes_ml(label, geometry),
                    predicted_ml=frame_volumes_ml(result.mask, geometry),
                    kept_share=pipeline.kept_share(label),
                    latency_ms=result.total_ms,
                    phantom=phantom,
                )
            )
            on_frame()
    return scored


def summarise(frames: Sequence[FrameAccuracy]) -> Summary:
    """Average over the frames of each patient, then over patients.

    A class that is in neither labels nor mask of a frame leaves its mean; nothing else is left out.
    """
    ids = dict.fromkeys(frame.patient_id for frame in frames)
    dice, hd95 = [], []
    for patient_id in ids:
        own = [frame.score for frame in frames if frame.patient_id == patient_id]
        dice.append(mean_scores(score.dice for score in own))
        hd95.append(mean_scores(score.hd95_mm for score in own))
    return Summary(
        dice_mean=mean_scores(dice),
        dice_std=std_scores(dice),
        hd95_mean_mm=mean_scores(hd95),
        hd95_std_mm=std_scores(hd95),
        patients=len(ids),
        phantoms=len({frame.patient_id for frame in frames if frame.phantom}),
    )


def accuracy_document(
    frames: Sequence[FrameAccuracy],
    *,
    seen: Sequence[str] | None,
    fold: int | None,
    bundle: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
) -> dict[str, Any]:
    """What accuracy.json says (docs/schemas/accuracy.schema.json).

    Args:
        frames: scored.
        seen: ids among them that the weights saw; None where the weights do not say.
        fold: that was held out; None for every patient.
        bundle: {folder, digest, arch_digest}.
        fingerprint: of the device that ran the engine.
    """
    summary = summarise(frames)
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "bundle": dict(bundle),
        "fold": "all" if fold is None else fold,
        "patients": [
            {
                "id": frame.patient_id,
                "frame": frame.frame,
                "phase": frame.phase,
                "phantom": frame.phantom,
                "dice": frame.score.dice,
                "hd95_mm": frame.score.hd95_mm,
                "volumes_ml": {"reference": dict(frame.reference_ml), "predicted": dict(frame.predicted_ml)},
                "kept_share": frame.kept_share,
                "latency_ms": frame.latency_ms,
            }
            for frame in frames
        ],
        "mean": {
            "dice": {**summary.dice_mean, "mean": summary.mean_dice},
            "hd95_mm": {**summary.hd95_mean_mm, "mean": summary.mean_hd95_mm},
        },
        "std": {"dice": summary.dice_std, "hd95_mm": summary.hd95_std_mm},
        "clinical": clinical_indices(frames).to_dict(),
        "n_patients": summary.patients,
        "n_phantoms": summary.phantoms,
        "classes": CLASS_LABELS,
        "seen_patients": None if seen is None else list(seen),
        "fingerprint": dict(fingerprint),
    }
