"""What a quality score is worth: how well it tells bad masks from good ones, on patients that it was not fitted to."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from bench.quality_fit import Aim, fit_quality, predict
from bench.robustness import CLEAN, MaskSample
from cinert.quality import QualityModel
from cinert.scores import mean_of

_BINS = 10
_stats: Any = stats  # untyped in scipy


@dataclass(frozen=True, slots=True)
class ScoredMask:
    """A mask and what the bedside would say of it."""

    sample: MaskSample
    score: float
    unsure: bool


def score_with(model: QualityModel, samples: Sequence[MaskSample]) -> list[ScoredMask]:
    """Score masks with a model."""
    scores = [predict(model, sample) for sample in samples]
    return [ScoredMask(s, score, score < model.threshold) for s, score in zip(samples, scores, strict=True)]


def cross_validated(samples: Sequence[MaskSample], aim: Aim) -> list[ScoredMask]:
    """Score each patient's masks with a model that was fitted to all other patients, threshold included."""
    scored = []
    for patient in dict.fromkeys(sample.patient_id for sample in samples):
        model = fit_quality([sample for sample in samples if sample.patient_id != patient], aim)
        scored += score_with(model, [sample for sample in samples if sample.patient_id == patient])
    return scored


def unseen_corruption_auroc(samples: Sequence[MaskSample], aim: Aim) -> dict[str, float | None]:
    """AUROC on each kind of corruption, by models that saw neither it nor the patient.

    Returns:
        By the name of the corruption; None where its masks are all good or all bad.
    """
    result = {}
    for name in dict.fromkeys(sample.corruption for sample in samples if sample.corruption != CLEAN):
        scored: list[ScoredMask] = []
        for patient in dict.fromkeys(sample.patient_id for sample in samples):
            others = [s for s in samples if s.patient_id != patient and s.corruption != name]
            own = [s for s in samples if s.patient_id == patient and s.corruption in (name, CLEAN)]
            scored += score_with(fit_quality(others, aim), own)
        result[name] = auroc(scored, aim.good_dice)
    return result


def auroc(scored: Sequence[ScoredMask], good_dice: float) -> float | None:
    """Chance that a bad mask scores below a good one, ties counted half; None where there is none of either."""
    bad = np.array([mask.sample.mean_dice < good_dice for mask in scored])
    if bad.all() or not bad.any():
        return None
    rank = _stats.rankdata([-mask.score for mask in scored])
    positives = int(bad.sum())
    return float((rank[bad].sum() - positives * (positives + 1) / 2) / (positives * (len(scored) - positives)))


def worth(scored: Sequence[ScoredMask], good_dice: float) -> dict[str, Any]:
    """Figures over all masks.

    Returns:
        patients, masks, bad_masks: how many. auroc. caught: share of the bad masks that are unsure. false_alarms: share
        of the good masks that are unsure. false_alarms_clean: the same among frames that nothing was done to.
        mean_absolute_error: of the score against the Dice. Each share is None where there is nothing to share.
    """
    bad = [mask for mask in scored if mask.sample.mean_dice < good_dice]
    good = [mask for mask in scored if mask.sample.mean_dice >= good_dice]
    return {
        "patients": len({mask.sample.patient_id for mask in scored}),
        "masks": len(scored),
        "bad_masks": len(bad),
        "bad_clean": sum(mask.sample.corruption == CLEAN for mask in bad),
        "auroc": auroc(scored, good_dice),
        "caught": _unsure_share(bad),
        "false_alarms": _unsure_share(good),
        "false_alarms_clean": _unsure_share([mask for mask in good if mask.sample.corruption == CLEAN]),
        "mean_absolute_error": statistics.fmean(abs(mask.score - mask.sample.mean_dice) for mask in scored),
    }


def _unsure_share(masks: Sequence[ScoredMask]) -> float | None:
    return statistics.fmean(mask.unsure for mask in masks) if masks else None


def by_strength(scored: Sequence[ScoredMask]) -> list[dict[str, Any]]:
    """A row per corruption and strength, clean frames first: means over its masks, and the share that is unsure."""
    keys = dict.fromkeys((mask.sample.corruption, mask.sample.strength) for mask in scored)
    rows = []
    for name, strength in sorted(keys, key=lambda key: key[0] != CLEAN):
        masks = [m for m in scored if (m.sample.corruption, m.sample.strength) == (name, strength)]
        rows.append(
            {
                "corruption": name,
                "strength": strength,
                "masks": len(masks),
                "dice": {
                    structure: mean_of(m.sample.dice[structure] for m in masks) for structure in masks[0].sample.dice
                },
                "mean_dice": statistics.fmean(m.sample.mean_dice for m in masks),
                "score": statistics.fmean(m.score for m in masks),
                "unsure": statistics.fmean(m.unsure for m in masks),
            }
        )
    return rows


def reliability(scored: Sequence[ScoredMask]) -> list[dict[str, Any]]:
    """Masks in bins of their score, a tenth each: {low, high, masks, score, mean_dice}; empty bins are left out."""
    rows = []
    for number in range(_BINS):
        masks = [m for m in scored if min(int(m.score * _BINS), _BINS - 1) == number]
        if masks:
            rows.append(
                {
                    "low": number / _BINS,
                    "high": (number + 1) / _BINS,
                    "masks": len(masks),
                    "score": statistics.fmean(m.score for m in masks),
                    "mean_dice": statistics.fmean(m.sample.mean_dice for m in masks),
                }
            )
    return rows
