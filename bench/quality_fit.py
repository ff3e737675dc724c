"""The quality score, fitted: expected mean Dice from the features of a mask."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from bedside.quality_history import volume_distance
from bench.metrics import CLASS_LABELS
from bench.robustness import CLEAN, MaskSample
from cinert.errors import BadInputError
from cinert.quality import FEATURES, OVER_TIME, QualityModel, Term, VolumeRange

_RIDGE = 1e-3
_CERTAIN = 1e-6
_MIN_SD_LN_ML = 0.1
_optimize: Any = optimize  # untyped in scipy


@dataclass(frozen=True, slots=True)
class Aim:
    """What a score is to find.

    Attributes:
        good_dice: mean Dice that a good mask has at least (0.7: Robinson et al., J Cardiovasc Magn Reson 21:18, 2019).
        catch: share of the masks below it that are to be called unsure.
    """

    good_dice: float
    catch: float


def fit_quality(samples: Sequence[MaskSample], aim: Aim) -> QualityModel:
    """Fit terms, volumes and threshold to the masks of some patients.

    Every kind of corruption, and clean frames, weigh the same. Weights are not negative, with a small ridge penalty on
    the standardised features. The threshold is the lowest score that calls the wanted share of bad masks unsure.

    Args:
        samples: of `bench.robustness.sweep`.
        aim: what the score is to find.

    Returns:
        The model, with empty `calibration` and `judged`.

    Raises:
        BadInputError: fewer than two masks with a foreground.
    """
    volumes = _volume_ranges(samples)
    kept = [(sample, features) for sample in samples if (features := features_for(sample, volumes)) is not None]
    if len(kept) < 2:
        raise BadInputError(
            f"{len(kept)} of {len(samples)} masks have a foreground, too few to fit a score to.",
            hint="evaluate-bundle says how well the bundle segments these patients.",
        )
    values = np.array([[np.nan if f[name] is None else f[name] for name in FEATURES] for _, f in kept], dtype=float)
    known = ~np.isnan(values)
    floors = _floors(kept)
    values = np.maximum(values, floors)
    mean = np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    # A feature that is not known takes nothing off.
    centred = np.where(known, values - mean, 0.0)
    scale = np.sqrt((centred**2).sum(axis=0) / np.maximum(known.sum(axis=0), 1))
    scale[scale < _CERTAIN] = 1.0
    counts = Counter(sample.corruption for sample, _ in kept)
    importance = np.array([1 / counts[sample.corruption] for sample, _ in kept])
    weights, intercept = _fractional_logit(
        centred / scale, np.array([sample.mean_dice for sample, _ in kept]), importance / importance.sum()
    )
    terms = {name: Term(*map(float, row)) for name, *row in zip(FEATURES, floors, mean, scale, weights, strict=True)}
    model = QualityModel(
        intercept=intercept,
        terms=terms,
        volumes=volumes,
        threshold=0.0,
        good_dice=aim.good_dice,
        calibration={},
        judged={},
    )
    scores = np.array([predict(model, sample) for sample in samples])
    bad = np.array([sample.mean_dice < aim.good_dice for sample in samples])
    return _with_threshold(model, scores[bad], aim)


def _floors(kept: Sequence[tuple[MaskSample, Mapping[str, float | None]]]) -> NDArray[np.float64]:
    """Of the features over time the median in clean frames, whose steps are longer than those of a stream; else 0."""
    clean = [features for sample, features in kept if sample.corruption == CLEAN]
    floors = np.zeros(len(FEATURES))
    for place, name in enumerate(FEATURES):
        values = [value for features in clean if (value := features[name]) is not None]
        if name in OVER_TIME and values:
            floors[place] = statistics.median(values)
    return floors


def _with_threshold(model: QualityModel, bad_scores: NDArray[np.float64], aim: Aim) -> QualityModel:
    if not bad_scores.size:
        # Nothing bad was seen: the score is taken at its word.
        return replace(model, threshold=aim.good_dice)
    place = min(math.ceil(aim.catch * bad_scores.size), bad_scores.size) - 1
    # Just above the score of the last one that is to be caught.
    return replace(model, threshold=float(min(np.sort(bad_scores)[max(place, 0)] + 1e-6, 1.0)))


def predict(model: QualityModel, sample: MaskSample) -> float:
    """The score that the bedside would give; 0 for an empty mask."""
    features = features_for(sample, model.volumes)
    return 0.0 if features is None else model.score(features)


def features_for(sample: MaskSample, volumes: Mapping[str, VolumeRange]) -> dict[str, float | None] | None:
    """A sample's features with its volumes held against other hearts."""
    if sample.features is None:
        return None
    return {**sample.features, "volume": volume_distance(sample.volumes_ml, volumes)}


def _volume_ranges(samples: Sequence[MaskSample]) -> dict[str, VolumeRange]:
    """Over the labelled frames, each once; a structure that none shows says nothing."""
    clean = [sample for sample in samples if sample.corruption == CLEAN]
    ranges = {}
    for name in CLASS_LABELS:
        logs = [math.log(sample.reference_ml[name]) for sample in clean if sample.reference_ml[name] > 0]
        spread = statistics.pstdev(logs) if logs else math.inf
        ranges[name] = VolumeRange(statistics.fmean(logs) if logs else 0.0, max(min(spread, 1e6), _MIN_SD_LN_ML))
    return ranges


def _fractional_logit(
    x_NF: NDArray[np.float64], y_N: NDArray[np.float64], importance_N: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Minimise the cross-entropy of sigmoid(b - x w) and y (Papke and Wooldridge 1996) with w >= 0."""

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w, b = parameters[:-1], parameters[-1]
        logit = b - x_NF @ w
        # log(1 + exp(logit)) - y logit, without overflow.
        value = importance_N @ (np.logaddexp(0, logit) - y_N * logit) + _RIDGE * (w @ w)
        slope = importance_N * (1 / (1 + np.exp(-logit)) - y_N)
        return float(value), np.append(-(x_NF.T @ slope) + 2 * _RIDGE * w, slope.sum())

    bounds = [(0.0, None)] * x_NF.shape[1] + [(-20.0, 20.0)]
    found = _optimize.minimize(loss, np.zeros(x_NF.shape[1] + 1), jac=True, bounds=bounds, method="L-BFGS-B")
    return found.x[:-1], float(found.x[-1])
