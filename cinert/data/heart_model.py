"""The beating heart as analytic surfaces around the long axis of the left ventricle.

At depth z below the valve plane, the cavity and the epicardium are (nearly round) sections of two truncated ellipsoids;
the right ventricle is a crescent on the epicardium. Radii solve for the volumes of each phase: the muscle is
incompressible, so its wall thickens as the cavity shrinks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from cinert.data.heart_draw import PatientDraw

# The widest section lies a quarter of the length below the valve plane, as ACDC's label areas show.
_BASE = -0.35
# Volume of a unit ellipsoid of revolution between the valve plane and the apex, over pi.
_UNIT_VOLUME = (1 - 1 / 3) - (_BASE - _BASE**3 / 3)
# The wall at the apex is thinner than at the equator.
_APEX_WALL = 0.7
RV_HALF_ANGLE = np.radians(88)
_RV_LENGTH = 0.86
_brentq: Any = brentq  # untyped in scipy
_TURN = np.linspace(-np.pi, np.pi, 720, endpoint=False)


@dataclass(frozen=True, slots=True)
class HeartPhase:
    """The surfaces of one phase.

    Attributes:
        base_mm: depth of the valve plane, 0 at end diastole.
        apex_mm: depth of the epicardial apex, the same in every phase.
        cavity_mm: length of the left cavity from the valve plane.
        endo_mm, epi_mm: largest radius of the left cavity, and of the epicardium.
        crescent_mm: largest thickness of the right ventricle.
    """

    base_mm: float
    apex_mm: float
    cavity_mm: float
    endo_mm: float
    epi_mm: float
    crescent_mm: float

    def endo_radius(self, depth_mm: NDArray[Any]) -> NDArray[np.float64]:
        """Radius of the left cavity at a depth; 0 where there is none."""
        return self.endo_mm * _profile((depth_mm - self.base_mm) / self.cavity_mm)

    def epi_radius(self, depth_mm: NDArray[Any]) -> NDArray[np.float64]:
        """Radius of the epicardium at a depth; 0 where there is none."""
        return self.epi_mm * _profile((depth_mm - self.base_mm) / (self.apex_mm - self.base_mm))

    def crescent(self, depth_mm: NDArray[Any]) -> NDArray[np.float64]:
        """Largest thickness of the right ventricle at a depth; 0 where there is none."""
        return self.crescent_mm * _crescent_profile((depth_mm - self.base_mm) / (self.apex_mm - self.base_mm))


def heart_phase(patient: PatientDraw, ejected: float) -> HeartPhase:
    """Solve the surfaces for one phase.

    Args:
        patient: volumes and build.
        ejected: 0 at end diastole, 1 at end systole.
    """
    lv_mm3 = 1e3 * (patient.lv_edv_ml + (patient.lv_esv_ml - patient.lv_edv_ml) * ejected)
    rv_mm3 = 1e3 * (patient.rv_edv_ml + (patient.rv_esv_ml - patient.rv_edv_ml) * ejected)
    muscle_mm3 = 1e3 * patient.muscle_ml
    base = patient.shortening_mm * ejected
    length = patient.length_mm - base

    def endo(wall: float) -> float:
        return float(np.sqrt(lv_mm3 / _volume(1.0, length - _APEX_WALL * wall)))

    def excess(wall: float) -> float:
        return _volume(endo(wall) + wall, length) - lv_mm3 - muscle_mm3

    wall = float(_brentq(excess, 0.0, 0.9 * length / _APEX_WALL))
    epi = endo(wall) + wall
    crescent = _solve_crescent(patient, rv_mm3, epi, length)
    return HeartPhase(base, patient.length_mm, length - _APEX_WALL * wall, endo(wall), epi, crescent)


def roundness(patient: PatientDraw, angle: NDArray[Any]) -> NDArray[np.float64]:
    """Factor on every radius at an angle; it leaves the area of a section as it is."""
    epsilon = patient.ellipse
    factor: NDArray[np.float64] = (1 + epsilon * np.cos(2 * (angle - patient.ellipse_angle))) / np.sqrt(
        1 + epsilon**2 / 2
    )
    return factor


def crescent_shape(patient: PatientDraw, angle: NDArray[Any]) -> NDArray[np.float64]:
    """Thickness of the right ventricle at an angle around the left one, 1 in its middle and 0 where it is attached."""
    from_middle = np.abs((angle - patient.rv_angle + np.pi) % (2 * np.pi) - np.pi)
    bulge = np.cos(np.pi / 2 * np.minimum(from_middle / RV_HALF_ANGLE, 1))
    # Flatter than a cosine: the free wall runs alongside the septum, and meets it at a blunt angle.
    return np.where(from_middle < RV_HALF_ANGLE, np.maximum(bulge, 0) ** 0.6, 0.0)


def _profile(depth: NDArray[Any]) -> NDArray[np.float64]:
    """Radius of the truncated unit ellipsoid; depth runs from 0 at the valve plane to 1 at the apex."""
    u = _BASE + depth * (1 - _BASE)
    return np.where(depth >= 0, np.sqrt(np.clip(1 - u**2, 0, None)), 0.0)


def _crescent_profile(depth: NDArray[Any]) -> NDArray[np.float64]:
    return np.where(depth >= 0, np.sqrt(np.clip(1 - (np.maximum(depth, 0) / _RV_LENGTH) ** 1.5, 0, None)), 0.0)


def _volume(radius: float, length: float) -> float:
    return float(np.pi * radius**2 * length / (1 - _BASE) * _UNIT_VOLUME)


def _solve_crescent(patient: PatientDraw, volume_mm3: float, epi: float, length: float) -> float:
    """Thickness t for which the area between radii r and r + t g, over all depths, is the volume: a quadratic in t."""
    depth = (np.arange(400) + 0.5) / 400
    shape, stretch = crescent_shape(patient, _TURN), roundness(patient, _TURN) ** 2
    profile, radius = _crescent_profile(depth), epi * _profile(depth)
    per_turn = 2 * np.pi
    linear = length * np.mean(radius * profile) * np.mean(shape * stretch) * per_turn
    square = length * np.mean(profile**2) * np.mean(shape**2 * stretch) * per_turn / 2
    return float((-linear + np.sqrt(linear**2 + 4 * square * volume_mm3)) / (2 * square))
