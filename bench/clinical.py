"""Ventricular volumes, ejection fraction and muscle mass: what the prediction says against what the labels say.

Agreement is Bland and Altman's (Lancet 327:307-310, 1986): the mean difference and the range that holds 95 % of the
differences, because a correlation alone does not notice a network that measures every heart a third too large.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bedside.volumes import MYOCARDIUM_G_PER_ML, ventricle

Indices = dict[str, float | None]
"""Value per index; None where it is not defined."""

INDICES: dict[str, str] = {
    "lv_edv_ml": "LV EDV, ml",
    "lv_esv_ml": "LV ESV, ml",
    "lv_sv_ml": "LV SV, ml",
    "lv_ef_percent": "LV EF, %",
    "rv_edv_ml": "RV EDV, ml",
    "rv_esv_ml": "RV ESV, ml",
    "rv_sv_ml": "RV SV, ml",
    "rv_ef_percent": "RV EF, %",
    "myo_mass_g": "MYO mass, g",
}
"""How tables and pictures name each index; the order of both."""

LIMITS_SD = 1.96
"""Standard deviations around the bias that hold 95 % of normally distributed differences."""


class LabelledVolumes(Protocol):
    """What is needed of a scored frame."""

    @property
    def patient_id(self) -> str:
        """Whose frame it is."""

    @property
    def phase(self) -> str:
        """ED, ES, or anything else, which no index is made of."""

    @property
    def reference_ml(self) -> Mapping[str, float]:
        """Volumes by the labels, {rv, myo, lv}."""

    @property
    def predicted_ml(self) -> Mapping[str, float]:
        """Volumes by the predicted mask, {rv, myo, lv}."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PatientIndices:
    """Indices of one patient, from the labels and from the predicted masks."""

    patient_id: str
    reference: Indices
    predicted: Indices


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How far prediction and reference agree over patients; differences are predicted minus reference."""

    n: int
    bias: float | None
    """Mean difference; None without a patient."""
    limits: tuple[float, float] | None
    """Bias -+ 1.96 sample standard deviations; None for fewer than two patients."""
    mean_absolute_error: float | None
    pearson_r: float | None
    """None for fewer than two patients, or where one side does not vary."""
    undefined: tuple[str, ...]
    """Patients that do not count, because the index is not defined for them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clinical:
    """Indices per patient and agreement per index."""

    patients: tuple[PatientIndices, ...]
    agreement: dict[str, Agreement]
    without_both_phases: tuple[str, ...]
    """Patients without exactly one ED and one ES frame, who have no indices."""

    def to_dict(self) -> dict[str, Any]:
        """`clinical` of accuracy.json (docs/schemas/accuracy.schema.json)."""
        return {
            "patients": [
                {"id": each.patient_id, "reference": each.reference, "predicted": each.predicted}
                for each in self.patients
            ],
            "agreement": {
                name: {
                    "n": each.n,
                    "bias": each.bias,
                    "limits": None if each.limits is None else list(each.limits),
                    "mean_absolute_error": each.mean_absolute_error,
                    "pearson_r": each.pearson_r,
                    "undefined": list(each.undefined),
                }
                for name, each in self.agreement.items()
            },
            "without_both_phases": list(self.without_both_phases),
        }


def clinical_indices(frames: Sequence[LabelledVolumes]) -> Clinical:
    """Put the ED and the ES frame of each patient together, and the patients beside each other.

    Args:
        frames: of all patients, in any order. A patient without exactly one ED and one ES frame is named in
            `without_both_phases`.
    """
    by_patient: dict[str, list[LabelledVolumes]] = {}
    for frame in frames:
        by_patient.setdefault(frame.patient_id, []).append(frame)
    patients, without = [], []
    for patient_id, own in by_patient.items():
        ed, es = ([frame for frame in own if frame.phase == phase] for phase in ("ED", "ES"))
        if len(ed) != 1 or len(es) != 1:
            without.append(patient_id)
            continue
        patients.append(
            PatientIndices(
                patient_id=patient_id,
                reference=_indices(ed[0].reference_ml, es[0].reference_ml),
                predicted=_indices(ed[0].predicted_ml, es[0].predicted_ml),
            )
        )
    return Clinical(
        patients=tuple(patients),
        agreement={name: _agreement_of(name, patients) for name in INDICES},
        without_both_phases=tuple(without),
    )


def agreement(reference: Sequence[float], predicted: Sequence[float], *, undefined: Sequence[str] = ()) -> Agreement:
    """Compare two lists of measurements of the same patients.

    Args:
        reference: a value per patient.
        predicted: of the same patients in the same order.
        undefined: patients that are in neither list.

    Raises:
        ValueError: the lists differ in length.
    """
    differences = [p - r for r, p in zip(reference, predicted, strict=True)]
    bias = limits = error = None
    if differences:
        bias, error = statistics.fmean(differences), statistics.fmean(map(abs, differences))
    if bias is not None and len(differences) > 1:
        half = LIMITS_SD * statistics.stdev(differences)
        limits = (bias - half, bias + half)
    return Agreement(
        n=len(differences),
        bias=bias,
        limits=limits,
        mean_absolute_error=error,
        pearson_r=_pearson(reference, predicted),
        undefined=tuple(undefined),
    )


def _indices(ed_ml: Mapping[str, float], es_ml: Mapping[str, float]) -> Indices:
    values: Indices = {
        f"{name}_{index}": value
        for name in ("lv", "rv")
        for index, value in ventricle(ed_ml[name], es_ml[name]).items()
    }
    values["myo_mass_g"] = ed_ml["myo"] * MYOCARDIUM_G_PER_ML
    return values


def _agreement_of(name: str, patients: Sequence[PatientIndices]) -> Agreement:
    reference, predicted, undefined = [], [], []
    for patient in patients:
        r, p = patient.reference[name], patient.predicted[name]
        if r is None or p is None:
            undefined.append(patient.patient_id)
        else:
            reference.append(r)
            predicted.append(p)
    return agreement(reference, predicted, undefined=undefined)


def _pearson(reference: Sequence[float], predicted: Sequence[float]) -> float | None:
    try:
        # Rounding may carry a perfect correlation past 1.
        return max(-1.0, min(1.0, statistics.correlation(reference, predicted)))
    except statistics.StatisticsError:
        # Fewer than two patients, or a side that does not vary: there is no correlation to speak of.
        return None
