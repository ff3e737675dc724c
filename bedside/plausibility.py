"""Whether a mask can be a heart at all: a gate that needs no calibration, and no truth. Free of torch.

It asks less than the quality score (docs/quality.md): not how good a mask is, but whether any heart looks like that.
The bounds are wide of what labelled hearts show, so that a true heart passes, a child's and a failing one's too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bedside.quality_features import Box, found_box, outline, voxels_of
from cinert.data.nifti import Geometry
from cinert.data.orientation import orientation_of
from cinert.quality import FEATURES
from cinert.space import CLASSES

PREFIX = "not plausible: "
"""How a reason of this gate begins; one of the quality score ends with its threshold."""


class Bounds(NamedTuple):
    """What is plausible, both ends included."""

    low: float
    high: float


# Beside each: the extremes of the labels of 80 patients of ACDC, ED and ES (Bernard et al., IEEE TMI 37:2514, 2018). A
# newborn's ventricles hold a twentieth of an adult's; above 600 ml nobody's heart has been reported to beat for long.
VOLUME_ML: dict[str, Bounds] = {
    "rv": Bounds(0.4, 900),  # 10 to 295
    "myo": Bounds(1.5, 700),  # 35 to 298
    "lv": Bounds(0.4, 900),  # 19 to 374
}
"""Of each structure in any phase."""
SHARE: dict[str, Bounds] = {
    "rv": Bounds(0.005, 0.9),  # 0.05 to 0.69; 0.01 in the six slices at an apex
    "myo": Bounds(0.05, 0.985),  # 0.15 to 0.84
    "lv": Bounds(0.01, 0.9),  # 0.07 to 0.60
}
"""Of each structure in the heart; it depends on no body's size."""
MOST: dict[str, float] = {
    "fragments": 0.3,  # 0.03
    "open_lv": 0.2,  # 0.02
    "apart_rv": 0.35,  # 0.05
    "ragged": 0.3,  # 0.16
    "cut": 0.2,  # 0
}
"""Of each feature of the shape (`bedside.quality_features`), in a stack that shows a whole heart."""
MOST_TOGETHER = 1.5  # 0.6
"""Of all features together, each as a share of its own limit: a heart is not flawed in every respect."""
MOST_OF_FEW: dict[str, float] = {"fragments": 0.65, "open_lv": 0.4, "cut": 0.2}
"""The same in fewer slices, in which an RV may lie in two pieces and away from the muscle: 0.55, 0.2 and 0."""
EDV_LOW_ML = 2.0
EF_PERCENT: dict[str, Bounds] = {"lv": Bounds(2, 95), "rv": Bounds(-15, 95)}  # 10.7 to 81.9; 1.9 to 85.9
MYO_RATIO_HIGH = 3.0  # 1.5
"""Largest over smallest volume of the myocardium in a beat: muscle keeps its volume."""
WHOLE_SLICES, WHOLE_MM = 6, 25.0
"""A stack of so many slices, and so tall, shows all three structures wherever it is laid through a heart."""
EMPTY_SLICES = 3
"""So many slices may lie beside a heart, less one."""
BEAT_PHASES = 10
"""Fewer phases need not show both ends of a beat."""
_BETWEEN: dict[str, tuple[str, str]] = {"open_lv": ("lv", "myo"), "apart_rv": ("rv", "myo")}
"""Structures that a feature is about, where it is not about each of its own."""
_STEP_MM = 3.0
_ACROSS = 40
"""Voxels, at least, that a heart is sampled by along its longer side in plane, where it has so many."""


def shows_whole_heart(geometry: Geometry) -> bool:
    """Whether a stack shows all three structures of a heart, so that one that is missing has been missed."""
    axis = orientation_of(geometry).stored_axis[0]
    slices = geometry.shape[axis]
    return slices >= WHOLE_SLICES and slices * geometry.spacing_mm[axis] >= WHOLE_MM


@dataclass(frozen=True, slots=True)
class _Stack:
    """What is asked of the masks of one geometry."""

    shape: tuple[int, int, int]
    """By stored axis, as `spacing_mm`."""
    spacing_mm: tuple[float, float, float]
    voxel_ml: float
    axes: tuple[int, int, int]
    """Stored axes that become z, y, x."""
    whole: bool
    """Whether it shows a whole heart."""
    most: Mapping[str, float]
    """Of each feature that it can show."""


class PlausibilityGate:
    """Judges the masks of one source, each on its own; used from one thread.

    Args:
        classes: that the network can find, `cinert.space.CLASSES` or some of them; nothing is asked of others.
    """

    def __init__(self, classes: Sequence[str] = CLASSES) -> None:
        self.classes = tuple(classes)
        self._names = tuple(name for name in CLASSES[1:] if name in classes)
        self._stack: _Stack | None = None

    def bind(self, geometry: Geometry) -> None:
        """Every later mask lies on `geometry`."""
        whole = shows_whole_heart(geometry)
        most = (MOST if whole else MOST_OF_FEW).items()
        self._stack = _Stack(
            shape=geometry.shape,
            spacing_mm=geometry.spacing_mm,
            voxel_ml=geometry.voxel_ml,
            axes=orientation_of(geometry).stored_axis,
            whole=whole,
            most={name: limit for name, limit in most if set(_BETWEEN.get(name, ())).issubset(self._names)},
        )

    def fork(self) -> Self:
        """A gate for another source; not bound."""
        return type(self)(self.classes)

    def reason(self, mask_stored: NDArray[np.uint8], field_of_view: Box | None = None, box: Box | None = None) -> str:
        """Why a mask cannot be a heart, in words; empty if it can.

        Args:
            mask_stored: of the bound geometry's shape.
            field_of_view: the part of it that the network saw, by stored axis; None is all of it.
            box: around its foreground, where that is known.

        Raises:
            RuntimeError: `bind` was not called.
        """
        stack = self._stack
        if stack is None:
            raise RuntimeError("bind the gate to a geometry before judging masks")
        box = box or found_box(mask_stored, field_of_view)
        if box is None:
            return f"{PREFIX}no heart was found" if stack.shape[stack.axes[0]] >= EMPTY_SLICES else ""
        heart_DHW = mask_stored[box].transpose(stack.axes)
        seen = field_of_view or tuple(slice(0, size) for size in stack.shape)
        voxels = {name: voxels_of(heart_DHW, CLASSES.index(name)) for name in self._names}
        # What is not there at all is said, and touches nothing.
        known = {name for name in stack.most if all(voxels[side] for side in _BETWEEN.get(name, ()))}
        features = {**outline(_thinned(heart_DHW, stack)), "cut": _cut(heart_DHW, box, seen, stack)}
        wrong = [
            *_wrong_volumes(voxels, stack),
            *_wrong_shapes({name: value for name, value in features.items() if name in known}, stack),
        ]
        return PREFIX + "; ".join(wrong) if wrong else ""


def _wrong_volumes(voxels: Mapping[str, int], stack: _Stack) -> list[str]:
    """Structures that are absent, too small, too large, or out of proportion."""
    heart, wrong = sum(voxels.values()), []
    in_proportion = stack.whole and len(voxels) == len(SHARE) and all(voxels.values())
    for name, count in voxels.items():
        ml = count * stack.voxel_ml
        if stack.whole and not count:
            wrong.append(f"{name.upper()} was not found")
        elif ml > VOLUME_ML[name].high or (stack.whole and ml < VOLUME_ML[name].low):
            wrong.append(f"{name.upper()} of {ml:.3g} ml")
        elif in_proportion and not SHARE[name].low <= count / heart <= SHARE[name].high:
            wrong.append(f"{name.upper()} is {count / heart:.1%} of the heart")
    return wrong


def _wrong_shapes(features: Mapping[str, float], stack: _Stack) -> list[str]:
    """Features beyond their limit; or the two that weigh most, where all are within and together they are too many."""
    weights = {name: value / stack.most[name] for name, value in features.items()}
    beyond = [name for name, weight in weights.items() if weight > 1]
    if beyond or not stack.whole or sum(weights.values()) <= MOST_TOGETHER:
        return [_flaw(name, features) for name in beyond]
    first, second, *_ = sorted(weights, key=lambda name: -weights[name])
    return [f"several flaws together, {_flaw(first, features)} and {_flaw(second, features)} above all"]


def _flaw(name: str, features: Mapping[str, float]) -> str:
    return f"{FEATURES[name]} ({features[name]:.0%})"


def _thinned(heart_DHW: NDArray[np.uint8], stack: _Stack) -> NDArray[np.uint8]:
    """Every nth voxel within the slices: no image's resolution makes it slow, no body's size makes it coarse."""
    y_mm, x_mm = (stack.spacing_mm[axis] for axis in stack.axes[1:])
    longer_mm = max(heart_DHW.shape[1] * y_mm, heart_DHW.shape[2] * x_mm)
    step_mm = min(_STEP_MM, longer_mm / _ACROSS)
    y, x = max(1, round(step_mm / y_mm)), max(1, round(step_mm / x_mm))
    return np.ascontiguousarray(heart_DHW[:, ::y, ::x])


def _cut(heart_DHW: NDArray[np.uint8], box: Sequence[slice], seen: Sequence[slice], stack: _Stack) -> float:
    """Share of the heart's slices in which it touches the edge of the field of view."""
    touching = np.zeros(len(heart_DHW), dtype=bool)
    for number, axis in enumerate(stack.axes[1:], start=1):
        lines = heart_DHW.swapaxes(1, number)
        if box[axis].start <= seen[axis].start:
            touching |= lines[:, 0].any(axis=1)
        if box[axis].stop >= seen[axis].stop:
            touching |= lines[:, -1].any(axis=1)
    return float(touching.sum() / heart_DHW.any(axis=(1, 2)).sum())


def implausible_cine(
    frames: Sequence[str],
    volumes_ml: Mapping[str, Sequence[float]],
    function: Mapping[str, Any],
    geometry: Geometry,
    classes: Sequence[str] = CLASSES,
) -> str:
    """Why the masks of a cine, and the figures that are read off them, cannot be of a heart; empty if they can.

    Args:
        frames: `PlausibilityGate.reason` of each phase.
        volumes_ml: as `bedside.volumes.volumes_ml` gives them.
        function: as `bedside.volumes.function` gives it.
        geometry: of one phase.
        classes: that the network can find.
    """
    wrong = [*_of_frames(frames), *_of_volumes(volumes_ml, function, geometry, classes)]
    return PREFIX + "; ".join(wrong) if wrong else ""


def _of_frames(frames: Sequence[str]) -> list[str]:
    found = {number: reason for number, reason in enumerate(frames, start=1) if reason}
    if not found:
        return []
    words = list(dict.fromkeys(reason.removeprefix(PREFIX) for reason in found.values()))
    return [f"{len(found)} of {len(frames)} phases, e.g. phase {next(iter(found))}: {words[0]}"]


def _of_volumes(
    volumes_ml: Mapping[str, Sequence[float]], function: Mapping[str, Any], geometry: Geometry, classes: Sequence[str]
) -> list[str]:
    if not any(map(any, volumes_ml.values())):
        return ["no heart was found in any phase"]
    if not shows_whole_heart(geometry):
        return []
    wrong = []
    for name in ("lv", "rv"):
        if name not in classes:
            continue
        edv_ml, esv_ml = function[name]["edv_ml"], function[name]["esv_ml"]
        # Also where the ventricle is larger at end systole, which no figure for people says.
        ef_percent = 100 * (edv_ml - esv_ml) / edv_ml if edv_ml and esv_ml and len(volumes_ml["lv"]) > 1 else None
        if edv_ml < EDV_LOW_ML:
            wrong.append(f"{name.upper()} EDV {edv_ml:.2g} ml")
        if ef_percent is not None and not _low_ef(name, len(volumes_ml["lv"])) <= ef_percent <= EF_PERCENT[name].high:
            wrong.append(f"{name.upper()} EF {ef_percent:.0f} %")
    if "myo" in classes and min(volumes_ml["myo"]) > 0:
        ratio = max(volumes_ml["myo"]) / min(volumes_ml["myo"])
        if ratio > MYO_RATIO_HIGH:
            wrong.append(f"the volume of the myocardium changes {ratio:.1f} times")
    return wrong


def _low_ef(name: str, phases: int) -> float:
    """Percent; a few phases may lie so close together that the ventricle hardly moves between them."""
    return EF_PERCENT[name].low if phases >= BEAT_PHASES else min(EF_PERCENT[name].low, 0.0)
