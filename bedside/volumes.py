"""What a clinician reads off masks: volumes, ejection fractions, the mass of the myocardium."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinert.data.nifti import Geometry
from cinert.space import CLASSES

MYOCARDIUM_G_PER_ML = 1.05
"""Density of heart muscle (Schulz-Menger et al., J Cardiovasc Magn Reson 22:19, 2020)."""


def volumes_ml(mask: NDArray[np.uint8], geometry: Geometry) -> dict[str, list[float]]:
    """Volume of each structure in each phase, in ml.

    Args:
        mask: (x, y, z, t).
        geometry: of one phase.

    Returns:
        {rv, myo, lv}, each a list with one value per phase.
    """
    return {
        name: (np.count_nonzero(mask == label, axis=(0, 1, 2)) * geometry.voxel_ml).tolist()
        for label, name in enumerate(CLASSES)
        if label > 0
    }


def frame_volumes_ml(mask: NDArray[np.uint8], geometry: Geometry) -> dict[str, float]:
    """Volume of each structure in one frame, (x, y, z), in ml: {rv, myo, lv}."""
    return {name: phases[0] for name, phases in volumes_ml(mask[..., None], geometry).items()}


def ejection_fraction_percent(edv_ml: float, esv_ml: float) -> float | None:
    """Share of the end-diastolic volume that is ejected, in percent.

    Returns:
        None where either volume is 0: a ventricle that vanishes was lost by the segmentation, not emptied, and 100 %
        would pass for a strong heart. None too where the end-systolic volume is the larger one: no heart ejects less
        than nothing, so that one of the masks is wrong.
    """
    return None if 0 in (edv_ml, esv_ml) or esv_ml > edv_ml else 100 * (edv_ml - esv_ml) / edv_ml


def ventricle(edv_ml: float, esv_ml: float) -> dict[str, float | None]:
    """{edv_ml, esv_ml, sv_ml, ef_percent} of one ventricle; ef_percent as `ejection_fraction_percent` has it."""
    return {
        "edv_ml": edv_ml,
        "esv_ml": esv_ml,
        "sv_ml": edv_ml - esv_ml,
        "ef_percent": ejection_fraction_percent(edv_ml, esv_ml),
    }


def function(volumes: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """End diastole and end systole by the LV's volume, and what the heart does between them.

    Args:
        volumes: as `volumes_ml` gives them.

    Returns:
        {ed_phase, es_phase, lv {edv_ml, esv_ml, sv_ml, ef_percent}, rv {...}, myo_mass_g}; phases count from 0, and
        everything is read in the LV's phases. ef_percent is None as `ejection_fraction_percent` has it, and where there
        is one phase only: nothing was seen to move.
    """
    ed, es = int(np.argmax(volumes["lv"])), int(np.argmin(volumes["lv"]))
    sides = {name: ventricle(volumes[name][ed], volumes[name][es]) for name in ("lv", "rv")}
    if len(volumes["lv"]) == 1:
        sides = {name: {**side, "ef_percent": None} for name, side in sides.items()}
    return {
        "ed_phase": ed,
        "es_phase": es,
        **sides,
        "myo_mass_g": volumes["myo"][ed] * MYOCARDIUM_G_PER_ML,
    }


def ejection_words(name: str, heart: Mapping[str, Any], volumes: Mapping[str, Sequence[float]]) -> str:
    """`EF 55 %`, or why there is none.

    Args:
        name: of the ventricle, lv or rv.
        heart: as `function` gives it for these volumes.
        volumes: as `volumes_ml` gives them.
    """
    side = heart[name]
    if side["ef_percent"] is not None:
        return f"EF {side['ef_percent']:.0f} %"
    if len(volumes[name]) == 1:
        return "no EF, one phase"
    return "no EF, not found" if 0 in (side["edv_ml"], side["esv_ml"]) else "no EF, larger at ES"
