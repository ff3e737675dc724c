"""What makes one phantom patient differ from the next: volumes, muscle, build, position and scan, drawn at random.

Volumes follow 80 of ACDC's training patients (Bernard et al., IEEE TMI 2018), measured from their labels: 5 %, 50 % and
95 % quantiles, and the correlations between them. Only these summary figures are kept here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.special import ndtr

# Quantiles at 5, 50 and 95 % of ACDC's ED volumes (ml), ejection fractions (%), and muscle volume at ED (ml).
LV_EDV_ML = (75.5, 150.2, 322.2)
LV_EF_PERCENT = (13.7, 50.6, 73.0)
RV_EDV_ML = (73.3, 152.0, 256.9)
RV_EF_PERCENT = (10.1, 49.2, 72.2)
MUSCLE_ML = (56.8, 118.0, 203.2)
HEIGHT_CM = (158.0, 170.0, 186.0)
WEIGHT_KG = (51.0, 75.0, 103.1)

# Correlations of (LV EDV, LV EF, RV EDV, RV EF, muscle) in the same patients: a large ventricle pumps a small share.
_CORRELATION = np.array(
    [
        [1.00, -0.71, 0.31, -0.22, 0.51],
        [-0.71, 1.00, -0.07, 0.36, -0.08],
        [0.31, -0.07, 1.00, -0.49, -0.03],
        [-0.22, 0.36, -0.49, 1.00, 0.20],
        [0.51, -0.08, -0.03, 0.20, 1.00],
    ]
)
_Pchip: Any = PchipInterpolator  # untyped in scipy
_MIN_SLICES, _MAX_SLICES = 8, 12
_MIN_THICKNESS_MM, _MAX_THICKNESS_MM = 8.0, 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PatientDraw:
    """One drawn patient; lengths in mm, volumes in ml, angles in radians from patient Left towards Posterior.

    Attributes:
        lv_edv_ml, lv_esv_ml, rv_edv_ml, rv_esv_ml: cavity volumes at end diastole and end systole.
        muscle_ml: volume of the left ventricle's wall, the same in every phase.
        shape: stored voxels (x, y, z).
        spacing_mm: stored spacing (x, y, z).
        phases: frames per beat.
        es_index: frame of end systole, counted from 0; end diastole is frame 0.
        beat_ms: R-R interval.
        length_mm: epicardial length of the left ventricle at end diastole, base to apex.
        shortening_mm: how far the valve plane travels towards the apex.
        base_slice: index of the first slice below the valve plane at end diastole.
        centre_mm: left ventricle's axis from the image's centre (x, y).
        tilt: how far the axis moves per mm of depth (x, y).
        rv_angle: direction from the left to the right ventricle.
        ellipse: how far cross-sections are from a circle.
        ellipse_angle: direction of their long axis.
        height_cm, weight_kg: of the patient.
    """

    lv_edv_ml: float
    lv_esv_ml: float
    rv_edv_ml: float
    rv_esv_ml: float
    muscle_ml: float
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    phases: int
    es_index: int
    beat_ms: float
    length_mm: float
    shortening_mm: float
    base_slice: int
    centre_mm: tuple[float, float]
    tilt: tuple[float, float]
    rv_angle: float
    ellipse: float
    ellipse_angle: float
    height_cm: float
    weight_kg: float

    @property
    def lv_ef_percent(self) -> float:
        """Share of the left ventricle's blood that a beat ejects."""
        return 100 * (1 - self.lv_esv_ml / self.lv_edv_ml)

    @property
    def rv_ef_percent(self) -> float:
        """Share of the right ventricle's blood that a beat ejects."""
        return 100 * (1 - self.rv_esv_ml / self.rv_edv_ml)

    @property
    def group(self) -> str:
        """ACDC's name for such a heart, from its own thresholds on volume, ejection fraction and muscle."""
        if self.lv_ef_percent < 40:
            return "DCM" if self.lv_edv_ml > 180 else "MINF"
        if self.rv_ef_percent < 40 or self.rv_edv_ml > 220:
            return "RV"
        return "HCM" if self.muscle_ml > 150 else "NOR"


def draw_patient(rng: np.random.Generator) -> PatientDraw:
    """Draw one patient; the same generator state gives the same patient."""
    shares = np.clip(ndtr(np.linalg.cholesky(_CORRELATION) @ rng.standard_normal(5)), 0.05, 0.95)
    ranges = (LV_EDV_ML, LV_EF_PERCENT, RV_EDV_ML, RV_EF_PERCENT, MUSCLE_ML)
    lv_edv, lv_ef, rv_edv, rv_ef, muscle = (_quantile(q, share) for q, share in zip(ranges, shares, strict=True))
    cavity_mm = 80 * (lv_edv / 150) ** 0.3
    wall_mm = 10 * (muscle / 118) ** 0.6
    # A slice above the valve plane shows the atria, and half a slice stays free below the apex.
    free = 1.5
    longest = (_MAX_SLICES - free) * _MAX_THICKNESS_MM
    length = min(cavity_mm + 0.7 * wall_mm, longest)

    phases = int(rng.integers(12, 21))
    thinnest = max(_MIN_THICKNESS_MM, length / (_MAX_SLICES - free))
    thickness = float(np.ceil(10 * rng.uniform(thinnest, _MAX_THICKNESS_MM)) / 10)
    wanted = int(np.ceil(length / thickness + free - 1e-6))
    slices = max(wanted, _MIN_SLICES)
    in_plane = float(np.round(rng.uniform(1.2, 1.8), 4))
    width, height = (int(np.clip(2 * round(rng.uniform(270, 380) / in_plane / 2), 160, 256)) for _ in range(2))
    rv_angle = np.radians(170 + np.clip(rng.normal(0, 20), -45, 45))
    # The middle of both ventricles, not the left one alone, lies around the centre of the image.
    middle = 22.0
    return PatientDraw(
        lv_edv_ml=lv_edv,
        lv_esv_ml=lv_edv * (1 - lv_ef / 100),
        rv_edv_ml=rv_edv,
        rv_esv_ml=rv_edv * (1 - rv_ef / 100),
        muscle_ml=muscle,
        shape=(width, height, slices),
        spacing_mm=(in_plane, in_plane, thickness),
        phases=phases,
        es_index=max(3, round(phases * rng.uniform(0.32, 0.42))),
        beat_ms=float(np.round(rng.uniform(650, 1100))),
        length_mm=length,
        # A whole slice, or none in a failing heart: then the labelled slices hold exactly the drawn volume.
        shortening_mm=thickness if lv_ef > 30 else 0.0,
        base_slice=1,
        centre_mm=(
            float(rng.uniform(-15, 15) - middle * np.cos(rv_angle)),
            float(rng.uniform(-15, 15) - middle * np.sin(rv_angle)),
        ),
        tilt=(float(rng.uniform(0, 0.2)), float(rng.uniform(-0.1, 0.1))),
        rv_angle=float(rv_angle),
        ellipse=float(rng.uniform(0.0, 0.06)),
        ellipse_angle=float(rng.uniform(0, np.pi)),
        height_cm=float(np.round(_quantile(HEIGHT_CM, rng.uniform(0.05, 0.95)))),
        weight_kg=float(np.round(_quantile(WEIGHT_KG, rng.uniform(0.05, 0.95)))),
    )


def _quantile(known: tuple[float, float, float], share: float) -> float:
    return float(np.interp(share, (0.05, 0.5, 0.95), known))


def beat_curve(phases: int, es_index: int) -> NDArray[np.float64]:
    """How far each frame is from end diastole (0) to end systole (1).

    Fast ejection, early filling, diastasis, and the atrial kick just before the next beat.
    """
    es = es_index / phases
    rest = 1 - es
    # (time in beats, share ejected), as in a ventricular volume curve of a textbook.
    knots = [
        (0.0, 0.0),
        (0.15 * es, 0.04),
        (0.5 * es, 0.6),
        (0.8 * es, 0.93),
        (es, 1.0),
        (es + 0.12 * rest, 0.93),
        (es + 0.42 * rest, 0.33),
        (es + 0.6 * rest, 0.22),
        (es + 0.82 * rest, 0.18),
        (1.0, 0.0),
    ]
    times, ejected = zip(*knots, strict=True)
    curve: NDArray[np.float64] = _Pchip(times, ejected)(np.arange(phases) / phases)
    return curve
