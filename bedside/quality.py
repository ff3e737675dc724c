"""The quality score of every mask at the bedside. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from bedside.frames import State
from bedside.quality_features import anatomy, coarse, confidence, network_mask
from bedside.quality_history import MaskHistory
from cinert.data.nifti import Geometry
from cinert.quality import QualityModel, VolumeRange

NO_HEART = "no heart was found"


@dataclass(frozen=True, slots=True)
class Quality:
    """How far a mask can be relied on."""

    score: float
    """The mean Dice that is expected of it, 0..1."""
    reason: str
    """Why it is not to be relied on, in words; empty if it is."""

    @property
    def unsure(self) -> bool:
        """Whether the score lies below the bundle's threshold."""
        return bool(self.reason)


def state_of(quality: Quality | None, *, implausible: str = "", total_ms: float, budget_ms: float) -> tuple[State, str]:
    """The state that a mask travels with, and the reason in words.

    A mask that is late and not to be relied on is `unsure`: whoever acts on it has to know that first. The reason then
    says both.

    Args:
        quality: None where the bundle's score was not calibrated.
        implausible: why no heart looks like that, as `bedside.plausibility` says it; empty where one may.
        total_ms: arrival of the frame to the answer.
        budget_ms: at most.
    """
    late = f"{total_ms:.1f} ms after arrival, the budget is {budget_ms:g} ms" if total_ms > budget_ms else ""
    if doubt := doubts(quality, implausible):
        return "unsure", "; ".join(filter(None, (doubt, late)))
    return ("late", late) if late else ("live", "")


def doubts(quality: Quality | None, implausible: str) -> str:
    """Why a mask is not to be relied on, by the gate and by the score; empty if it is."""
    return "; ".join(filter(None, (implausible, "" if quality is None else quality.reason)))


class Scorer(Protocol):
    """Looks at every mask of one source."""

    def bind(self, geometry: Geometry) -> None:
        """Forget the past; every later mask lies on `geometry`."""
        ...

    def score(self, logits_CDHW: NDArray[np.float32], mask_stored: NDArray[np.uint8]) -> Quality | None:
        """Score a mask by the logits that it came from."""
        ...

    def fork(self) -> Scorer:
        """A scorer with a past of its own; not bound."""
        ...


def features_of(
    logits_CDHW: NDArray[np.float32],
    mask_stored: NDArray[np.uint8],
    *,
    spacing_mm: tuple[float, float, float],
    history: MaskHistory,
    volumes: Mapping[str, VolumeRange],
) -> dict[str, float | None] | None:
    """All of `cinert.quality.FEATURES`; the mask then belongs to the history.

    Args:
        logits_CDHW: on the network's grid.
        mask_stored: the mask that was made of them.
        spacing_mm: of the network's grid along (z, y, x).
        history: of the same source.
        volumes: of other hearts.

    Returns:
        None where the mask is empty.
    """
    logits_CDHW = coarse(logits_CDHW, spacing_mm)
    mask_DHW = network_mask(logits_CDHW)
    # Interpolation to a coarser stored grid may lose what the network's grid has, hence both.
    if not mask_DHW.any() or not mask_stored.any():
        return None
    return {**confidence(logits_CDHW, mask_DHW), **anatomy(mask_DHW), **history.add(mask_stored, volumes)}


class QualityScorer:
    """Scores the masks of one source by a bundle's calibration; used from one thread.

    Args:
        model: of the bundle.
        spacing_mm: of the network's grid along (z, y, x).
    """

    def __init__(self, model: QualityModel, spacing_mm: tuple[float, float, float]) -> None:
        self.model = model
        self.spacing_mm = spacing_mm
        self._history: MaskHistory | None = None

    def bind(self, geometry: Geometry) -> None:
        """See `Scorer`."""
        self._history = MaskHistory(geometry)

    def fork(self) -> Self:
        """See `Scorer`."""
        return type(self)(self.model, self.spacing_mm)

    def score(self, logits_CDHW: NDArray[np.float32], mask_stored: NDArray[np.uint8]) -> Quality:
        """See `Scorer`.

        Raises:
            RuntimeError: `bind` was not called.
        """
        if self._history is None:
            raise RuntimeError("bind the scorer to a geometry before scoring masks")
        features = features_of(
            logits_CDHW,
            mask_stored,
            spacing_mm=self.spacing_mm,
            history=self._history,
            volumes=self.model.volumes,
        )
        if features is None:
            return Quality(0.0, NO_HEART)
        score = self.model.score(features)
        if score >= self.model.threshold:
            return Quality(score, "")
        return Quality(
            score, f"{self.model.reason(features)} (quality {score:.2f}, the threshold is {self.model.threshold:.2f})"
        )
