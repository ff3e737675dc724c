"""Dice of the ways of `few_slices.py`, on patients with two phases and on a cine."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from few_slices_networks import Mask, SliceNetwork, StackNetwork
from numpy.typing import NDArray
from rich.progress import track

from bench.metrics import CLASS_LABELS
from bench.robustness import dice
from cinert.data.nifti import Cine, Geometry
from cinert.data.orientation import orientation_of
from cinert.data.patients import Patient, load_frame
from cinert.scores import Score, mean_of

FRESH = (1, 2, 3)


def part_of(geometry: Geometry, first: int, count: int) -> Geometry:
    """Where some adjacent slices of a stack lie."""
    affine = geometry.affine.copy()
    affine[:3, 3] += first * affine[:3, 2]
    return Geometry((*geometry.shape[:2], count), affine)


def dice_on_patients(patients: Sequence[Patient], stack: StackNetwork, slices: SliceNetwork) -> dict[str, Any]:
    """Score both ways where the rest of the stack is of the other phase.

    Returns:
        {n_patients, whole {rv, myo, lv, mean}, stack_1 {...}, slices_1 {...}, ..., slices_less_stack_1 {mean,
        standard_error}, ...}, by the number of fresh slices: means over patients of the mean over their phases.
    """
    rows: dict[str, list[float]] = {}
    by_class: dict[str, list[dict[str, Score]]] = {}
    for patient in track(patients, "patients"):
        loaded = [load_frame(frame) for frame in patient.frames]
        geometry = loaded[0][2]
        if len(loaded) != 2 or orientation_of(geometry).stored_axis[0] != 2:
            raise SystemExit(f"{patient.id} has no two phases with their slices along the third axis")
        stack.bind(geometry)
        scores: dict[str, list[dict[str, Score]]] = {}
        for (image, label, _), (other, _, _) in itertools.permutations(loaded):
            scores.setdefault("whole", []).append(dice(stack.segment(image), label))
            stack.segment(other)
            for count in FRESH:
                both = {way: np.zeros_like(label) for way in ("stack", "slices")}
                for first in range(0, image.shape[2], count):
                    own = slice(first, min(first + count, image.shape[2]))
                    state = other.copy()
                    state[:, :, own] = image[:, :, own]
                    centre_mm = stack.centre_mm
                    both["stack"][:, :, own] = stack.segment(state)[:, :, own]
                    place = part_of(geometry, first, own.stop - own.start)
                    both["slices"][:, :, own] = slices.segment(image[:, :, own], place, centre_mm)
                for way, mask in both.items():
                    scores.setdefault(f"{way}_{count}", []).append(dice(mask, label))
        for way, frames in scores.items():
            mean = {name: mean_of(frame[name] for frame in frames) for name in CLASS_LABELS}
            by_class.setdefault(way, []).append(mean)
            rows.setdefault(way, []).append(mean_of(mean.values()) or 0.0)
    return {"n_patients": len(patients), **_summary(by_class, rows)}


def _summary(by_class: dict[str, list[dict[str, Score]]], rows: dict[str, list[float]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for way, means in by_class.items():
        result[way] = {name: round(mean_of(row[name] for row in means) or 0.0, 4) for name in CLASS_LABELS}
        result[way]["mean"] = round(float(np.mean(rows[way])), 4)
    for count in FRESH:
        difference = np.subtract(rows[f"slices_{count}"], rows[f"stack_{count}"])
        error = round(float(difference.std(ddof=1) / np.sqrt(len(difference))), 4) if len(difference) > 1 else None
        result[f"slices_less_stack_{count}"] = {"mean": round(float(difference.mean()), 4), "standard_error": error}
    return result


def dice_on_cine(
    cine: Cine, labels: Sequence[Mask], held: tuple[int, int], stack: StackNetwork, slices: SliceNetwork
) -> dict[str, Any]:
    """Score both ways while the slices of a cine are acquired in turn.

    Args:
        cine: (x, y, z, t), slices along the third axis.
        labels: of each phase.
        held: first and last slice that the labels hold for; the stack is made of these.
        stack: 3D network.
        slices: 2D network.

    Returns:
        {slices, oldest_slice_ms, whole {...}, by way and number of fresh slices {...}}: Dice pooled over all phases, of
        the classes that the labels have.
    """
    own = slice(held[0], held[1] + 1)
    image, truth = cine.image[:, :, own, : len(labels)], np.stack([label[:, :, own] for label in labels], axis=3)
    geometry = part_of(cine.geometry, held[0], image.shape[2])
    depth, phases = image.shape[2:]
    stack.bind(geometry)
    pooled: dict[str, tuple[list[Mask], list[NDArray[Any]]]] = {}

    def keep(way: str, mask: Mask, label: Mask) -> None:
        masks, known = pooled.setdefault(way, ([], []))
        masks.append(mask)
        known.append(label)

    for phase in range(phases):
        keep("whole", stack.segment(image[..., phase]), truth[..., phase])
    for count in FRESH:
        starts = range(0, depth, count)
        state = image[..., 0].copy()
        # The first round fills the stack; after it every slice has the age that it has in a long scan.
        for step in track(range(len(starts) * (phases + 1)), f"cine, {count} fresh"):
            phase, first = step % phases, starts[step % len(starts)]
            fresh = slice(first, min(first + count, depth))
            state[:, :, fresh] = image[:, :, fresh, phase]
            centre_mm = stack.centre_mm
            if step < len(starts):
                continue
            known = truth[:, :, fresh, phase]
            keep(f"stack_{count}", stack.segment(state)[:, :, fresh], known)
            place = part_of(geometry, first, fresh.stop - fresh.start)
            keep(f"slices_{count}", slices.segment(image[:, :, fresh, phase], place, centre_mm), known)
    present = [name for name, number in CLASS_LABELS.items() if (truth == number).any()]
    step_ms = cine.time_step_ms
    return {
        "slices": list(held),
        "oldest_slice_ms": {
            str(count): None if step_ms is None else round((len(range(0, depth, count)) - 1) * step_ms, 1)
            for count in FRESH
        },
        **{way: _pooled_dice(masks, known, present) for way, (masks, known) in pooled.items()},
    }


def _pooled_dice(masks: list[Mask], labels: list[Mask], names: list[str]) -> dict[str, float]:
    scores = dice(np.concatenate([each.ravel() for each in masks]), np.concatenate([each.ravel() for each in labels]))
    chosen = {name: round(scores[name] or 0.0, 4) for name in names}
    return {**chosen, "mean": round(mean_of(scores[name] for name in names) or 0.0, 4)}
