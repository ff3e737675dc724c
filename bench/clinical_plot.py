"""The Bland-Altman picture: how far predicted and reference indices agree, patient by patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.clinical import INDICES, Clinical
from bench.plots import BAD, GOOD, INK
from cinert.files import atomic_path

PANELS = ("lv_edv_ml", "lv_esv_ml", "lv_ef_percent", "rv_edv_ml", "rv_ef_percent", "myo_mass_g")
_COLUMNS = 3


def save_bland_altman(path: Path, clinical: Clinical, *, title: str) -> None:
    """Draw predicted minus reference over their mean, a panel per index and a point per patient.

    Bias and limits of agreement are lines with their values; patients outside the limits are named.

    Args:
        path: of the picture; its suffix chooses the format.
        clinical: of at least one patient with both phases.
        title: what was scored.

    Raises:
        BadInputError: the picture cannot be written.
    """
    # Slow to import, and only pictures need it. Figure without pyplot: no window system is looked for.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 7), layout="constrained")
    figure.suptitle(title, fontsize=12)
    for axes, name in zip(figure.subplots(len(PANELS) // _COLUMNS, _COLUMNS).flat, PANELS, strict=True):
        _panel(axes, clinical, name)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=110)


def _panel(axes: Any, clinical: Clinical, name: str) -> None:
    structure, _, unit = INDICES[name].partition(", ")
    row = clinical.agreement[name]
    points = [
        (each.patient_id, (r + p) / 2, p - r)
        for each in clinical.patients
        if (r := each.reference[name]) is not None and (p := each.predicted[name]) is not None
    ]
    axes.set_title(f"{structure}, n = {row.n} of {len(clinical.patients)}", fontsize=11)
    axes.set(xlabel=f"mean of predicted and reference, {unit}", ylabel=f"predicted - reference, {unit}")
    axes.spines[["top", "right"]].set_visible(False)
    if row.bias is None:
        axes.text(0.5, 0.5, "defined for no patient", transform=axes.transAxes, ha="center", va="center", color=BAD)
        return
    x, y = [x for _, x, _ in points], [y for _, _, y in points]
    low, high = row.limits or (row.bias, row.bias)
    _frame(axes, x, [*y, low, high, 0.0])
    axes.axhline(0, color="#bbbbbb", linewidth=0.8)
    axes.plot(x, y, "o", color=GOOD, markersize=5, alpha=0.75)
    _line(axes, "bias", row.bias, color=INK, style="-")
    if low < high:
        _line(axes, "-1.96 SD", low, color=BAD, style="--")
        _line(axes, "+1.96 SD", high, color=BAD, style="--")
    for patient_id, across, difference in points:
        if not low <= difference <= high:
            _name(axes, patient_id, (across, difference))


def _line(axes: Any, words: str, value: float, *, color: str, style: str) -> None:
    axes.axhline(value, color=color, linewidth=1.1, linestyle=style)
    where = axes.get_yaxis_transform()
    axes.text(1.01, value, f"{words}\n{value:+.1f}", transform=where, fontsize=8, va="center", color=color)


def _name(axes: Any, patient_id: str, point: tuple[float, float]) -> None:
    """Write a patient's name above the point, towards the middle of the panel."""
    left = point[0] < sum(axes.get_xlim()) / 2
    axes.annotate(
        patient_id,
        point,
        xytext=(-4 if left else 4, 6),
        textcoords="offset points",
        fontsize=8,
        ha="left" if left else "right",
    )


def _frame(axes: Any, x: list[float], y: list[float]) -> None:
    """Room around points and lines, also where they all coincide, and for the name above the highest."""
    for values, set_limits, room in ((x, axes.set_xlim, 0.1), (y, axes.set_ylim, 0.14)):
        low, high = float(np.min(values)), float(np.max(values))
        span = max(high - low, 1.0)
        set_limits(low - room * span, high + room * span)
