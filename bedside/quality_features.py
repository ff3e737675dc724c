"""Features of a mask that need no truth: what a network's logits say of themselves, and what hearts look like.

All are computed on the network's grid, or every nth voxel of it (`coarse`). Its slices run along D whatever the scanner
stored. Every feature is 0 for what a mask should be and grows with what is wrong.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cinert.data.nifti import CLASSES

RV, MYO, LV = 1, 2, 3
_LABELS = len(CLASSES)
_RULED_OUT = math.log(9)
"""Background is sure where its logit leads by this much: its odds are 9 to 1 against the best other class."""
_STEP_MM = 3.0
_AT_ONCE = 48 * 1024
"""Voxels."""
_WHOLE = np.ones((3, 3, 3), dtype=bool)
_ndimage: Any = ndimage  # untyped in scipy

MaskDHW = NDArray[np.uint8]


def coarse(logits_CDHW: NDArray[np.float32], spacing_mm: tuple[float, float, float]) -> NDArray[np.float32]:
    """Every nth voxel within the slices, about 3 mm apart: the features' cost then depends on no network's grid.

    Args:
        logits_CDHW: on the network's grid.
        spacing_mm: of that grid along (z, y, x).
    """
    y, x = (max(1, round(_STEP_MM / spacing)) for spacing in spacing_mm[1:])
    return np.ascontiguousarray(logits_CDHW[:, :, ::y, ::x])


def network_mask(logits_CDHW: NDArray[np.float32]) -> MaskDHW:
    """The class of every voxel of the network's grid; background where it is as good as another."""
    best = logits_CDHW[0].copy()
    mask = np.zeros(best.shape, dtype=np.uint8)
    for label in range(1, _LABELS):
        channel = logits_CDHW[label]
        np.maximum(mask, (channel > best) * np.uint8(label), out=mask)
        np.maximum(best, channel, out=best)
    return mask


Box = tuple[slice, slice, slice]


def found_box(mask: NDArray[np.uint8], within: Box | None = None) -> Box | None:
    """The smallest box that holds the foreground; None if there is none.

    Args:
        mask: any axes.
        within: the only part of it that may have a foreground.
    """
    order = sorted(range(3), key=lambda axis: -mask.strides[axis])
    part = mask if within is None else mask[within]
    # Along the slowest axis whole rows are compared at once; `any` of all voxels takes ten times as long.
    if not part.size or not np.maximum.reduce(part, axis=order[0]).any():
        return None
    box = heart_box(part)
    if within is None:
        return box
    i, j, k = (slice(run.start + start.start, run.stop + start.start) for run, start in zip(box, within, strict=True))
    return i, j, k


def heart_box(mask: NDArray[np.uint8]) -> Box:
    """The smallest box that holds the foreground, which has to be there."""
    # In the order of memory whole rows are compared at once; ndimage.find_objects takes ten times as long.
    order = sorted(range(3), key=lambda axis: -mask.strides[axis])
    ordered = mask.transpose(order)
    first_last = []
    plane = np.maximum.reduce(ordered, axis=0)
    for line in (np.maximum.reduce(ordered, axis=(1, 2)), plane.any(axis=1), plane.any(axis=0)):
        hit = np.flatnonzero(line)
        first_last.append(slice(int(hit[0]), int(hit[-1]) + 1))
    box = [first_last[order.index(axis)] for axis in range(3)]
    return box[0], box[1], box[2]


def voxels_of(mask: NDArray[np.uint8], label: int) -> int:
    """Voxels of a class, some slices of the first axis at a time: nothing large is made to be thrown away."""
    some = max(1, _AT_ONCE * len(mask) // max(1, mask.size))
    return sum(int(np.count_nonzero(mask[start : start + some] == label)) for start in range(0, len(mask), some))


def confidence(logits_CDHW: NDArray[np.float32], mask_DHW: MaskDHW) -> dict[str, float]:
    """What the logits say of themselves.

    Returns:
        entropy: mean entropy of the classes, as a share of its maximum ln 4, over the voxels where background
        does not lead for sure. margin: 1 less the mean lead of the best class over the second, as probabilities, in the
        structure where it is smallest. Both 1 where there is no such voxel.
    """
    doubtful = np.maximum.reduce(logits_CDHW[1:]) > logits_CDHW[0] - np.float32(_RULED_OUT)
    labels = mask_DHW[doubtful]
    if not labels.any():
        return {"entropy": 1.0, "margin": 1.0}
    x_CN = logits_CDHW[:, doubtful]
    best, second = _best_two(x_CN)
    x_CN -= best
    e_CN = np.exp(x_CN)
    total = e_CN.sum(axis=0)
    entropy = np.log(total) - (e_CN * x_CN).sum(axis=0) / total
    lead = (1 - np.exp(second - best)) / total
    count = np.bincount(labels, minlength=_LABELS)
    leads = np.bincount(labels, weights=lead, minlength=_LABELS)
    smallest = min(float(leads[label] / count[label]) for label in (RV, MYO, LV) if count[label])
    return {"entropy": float(entropy.mean()) / math.log(_LABELS), "margin": 1 - smallest}


def _best_two(x_CN: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The two largest of the four classes; sorting along the leading axis takes many times as long."""
    background, rv, myo, lv = x_CN
    high, low = np.maximum(background, rv), np.minimum(background, rv)
    other_high, other_low = np.maximum(myo, lv), np.minimum(myo, lv)
    runner_up = np.where(high > other_high, low, other_low)
    return np.maximum(high, other_high), np.maximum(np.minimum(high, other_high), runner_up)


def anatomy(mask_DHW: MaskDHW) -> dict[str, float]:
    """What is wrong with the shape, on the network's grid.

    Returns:
        missing: share of the three structures that are absent.
        fragments, open_lv, apart_rv, ragged: as `outline` has them.
        cut: share of the heart's slices in which it touches the edge of the grid.
    """
    found = np.bincount(mask_DHW.ravel(), minlength=_LABELS)[1:] > 0
    if not found.any():
        return {"missing": 1.0, "fragments": 0.0, "open_lv": 0.0, "apart_rv": 0.0, "ragged": 0.0, "cut": 0.0}
    edge = mask_DHW[:, [0, -1], :].any(axis=(1, 2)) | mask_DHW[:, :, [0, -1]].any(axis=(1, 2))
    slices = mask_DHW.any(axis=(1, 2))
    return {
        "missing": float(1 - found.mean()),
        **outline(mask_DHW[heart_box(mask_DHW)]),
        "cut": float(edge.sum() / slices.sum()),
    }


def outline(box_DHW: MaskDHW) -> dict[str, float]:
    """What is wrong with the outlines of the structures.

    Args:
        box_DHW: the part of a mask that holds the heart, slices along D.

    Returns:
        fragments: share of a structure outside its largest piece, where it is largest.
        open_lv: share of the LV's outline, within the slices, that touches something else than myocardium.
        apart_rv: share of the RV in slices in which it does not touch the myocardium.
        ragged: second differences of the areas from slice to slice, over their sum, in the worst structure.
    """
    areas = np.stack([np.count_nonzero(box_DHW == label, axis=(1, 2)) for label in (RV, MYO, LV)])
    faces = _faces(box_DHW)
    rv_beside = (faces[:, RV, MYO] + faces[:, MYO, RV]) > 0
    faces_all = faces.sum(axis=0)
    lv_to = faces_all[LV] + faces_all[:, LV]
    length = int(lv_to.sum() - lv_to[LV])
    rv = int(areas[0].sum())
    return {
        "fragments": max(_outside_largest(box_DHW == label) for label in (RV, MYO, LV)),
        "open_lv": float(lv_to[0] + lv_to[RV]) / length if length else 0.0,
        "apart_rv": float(areas[0, ~rv_beside].sum() / rv) if rv else 0.0,
        "ragged": max(_raggedness(row) for row in areas),
    }


def _faces(mask_DHW: MaskDHW) -> NDArray[np.intp]:
    """How often each class lies before each other one along H or W: (slice, first, second)."""
    faces = np.zeros((len(mask_DHW), _LABELS**2), np.intp)
    padded = np.pad(mask_DHW, ((0, 0), (1, 1), (1, 1)))
    # Some slices at a time: counting makes its own copy, of eight bytes a voxel. More than 16 do not fit into a byte.
    some = min(16, max(1, _AT_ONCE // 8 * len(padded) // padded.size))
    for start in range(0, len(padded), some):
        part = padded[start : start + some]
        code = part * np.uint8(_LABELS) + (np.arange(len(part), dtype=np.uint8) * np.uint8(_LABELS**2))[:, None, None]
        for pair in (code[:, :-1] + part[:, 1:], code[:, :, :-1] + part[:, :, 1:]):
            counts = np.bincount(pair.ravel(), minlength=len(part) * _LABELS**2)
            faces[start : start + some] += counts.reshape(len(part), -1)
    return faces.reshape(-1, _LABELS, _LABELS)


def _outside_largest(structure: NDArray[np.bool_]) -> float:
    """Voxels that touch by a corner belong together: a thin wall on a coarse grid is no row of pieces."""
    labels, pieces = _ndimage.label(structure, structure=_WHOLE)
    if pieces < 2:
        return 0.0
    # Slice by slice, as in `_faces`.
    sizes = np.zeros(pieces + 1, np.intp)
    for slice_HW in labels:
        sizes += np.bincount(slice_HW.ravel(), minlength=pieces + 1)
    sizes = sizes[1:]
    return float(1 - sizes.max() / sizes.sum())


def _raggedness(areas: NDArray[np.intp]) -> float:
    """Of one structure, from its first slice to its last; 0 for fewer than three slices."""
    hit = np.flatnonzero(areas)
    if hit.size == 0 or hit[-1] - hit[0] < 2:
        return 0.0
    run = areas[hit[0] : hit[-1] + 1].astype(np.float64)
    return float(np.abs(np.diff(run, n=2)).sum() / (4 * run.sum()))
