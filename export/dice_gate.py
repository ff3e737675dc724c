"""The parity gate below fp32: an engine may differ from PyTorch in its logits, and hardly in its Dice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cinert.backends.base import Precision, Runner
from cinert.bundle_manifest import Parity
from cinert.data.dataset import Sample, load_samples
from cinert.data.grid import PreprocessingSpec
from cinert.data.layouts import read_patients
from cinert.errors import BadInputError, VerdictError
from cinert.scores import Score, mean_of
from cinert.segmenter import Segmenter
from cinert.space import CLASSES
from export.parity import MAX_FRAMES, evenly, relative_difference

DICE_TOLERANCE: dict[Precision, float] = {"tf32": 0.002, "fp16": 0.002, "bf16": 0.002, "int8": 0.01}
"""Largest drop of the mean Dice, over classes and frames, against PyTorch in fp32."""


def labelled_frames(data: Path, spec: PreprocessingSpec, *, limit: int = MAX_FRAMES) -> list[Sample]:
    """All labelled frames of up to `limit` patients, spread evenly over the folder.

    Raises:
        BadInputError: the folder is in no known layout, or a frame cannot be read.
    """
    return load_samples(evenly(read_patients(data), limit), spec)


def require_frames(precision: Precision, frames: Sequence[Sample]) -> None:
    """Refuse to build what could be run here and not be judged.

    Raises:
        BadInputError: a precision that is judged by its Dice, and no labelled frames.
    """
    if precision != "fp32" and not frames:
        raise BadInputError(
            f"an engine in {precision} is judged by its Dice, and there are no labelled frames.",
            hint="give --data, or leave --precision out.",
        )


def class_dice(logits_CDHW: NDArray[np.float32], label_DHW: NDArray[np.uint8]) -> list[Score]:
    """Dice of each foreground class; None for one that is in neither."""
    mask = logits_CDHW.argmax(axis=0)
    scores: list[Score] = []
    for label in range(1, len(CLASSES)):
        found, present = mask == label, label_DHW == label
        total = int(found.sum()) + int(present.sum())
        scores.append(2 * int((found & present).sum()) / total if total else None)
    return scores


def drop_of(before: Sequence[Score], after: Sequence[Score]) -> float:
    """Mean drop of a frame's Dice over the classes that have one before or after.

    Args:
        before: of each class, as `class_dice` gives it.
        after: of the same classes. Where one of the two has no Dice, it rightly finds nothing where the other invents
            something: 1 against 0.
    """
    pairs = [pair for pair in zip(before, after, strict=True) if pair != (None, None)]
    return mean_of((1.0 if b is None else b) - (1.0 if a is None else a) for b, a in pairs) or 0.0


def dice_drop(runner: Runner, network: Segmenter, frames: Sequence[Sample]) -> tuple[float, float]:
    """Compare an engine's Dice with that of PyTorch in fp32 on labelled frames.

    Returns:
        Mean Dice of PyTorch less the engine's, and the largest relative difference of the logits.
    """
    network = network.eval()
    drops, worst = [], 0.0
    for frame in frames:
        image = frame.x_DHW[None, None]
        with torch.inference_mode():
            expected = network(torch.from_numpy(image)).numpy()
        logits = runner.run(image)
        worst = max(worst, relative_difference(logits, expected))
        drops.append(drop_of(class_dice(expected[0], frame.y_DHW), class_dice(logits[0], frame.y_DHW)))
    return float(np.mean(drops)), worst


def check_dice(runner: Runner, network: Segmenter, frames: Sequence[Sample], precision: Precision) -> Parity:
    """Refuse an engine below fp32 that costs too much Dice; arguments as for `dice_drop`.

    Raises:
        VerdictError: the mean Dice drops by more than the precision may cost (exit code 1).
    """
    drop, worst = dice_drop(runner, network, frames)
    tolerance = DICE_TOLERANCE[precision]
    if not (np.isfinite(worst) and drop <= tolerance):
        raise VerdictError(
            f"in {precision} the mean Dice drops by {drop:.4f} on {len(frames)} frames (logits differ by {worst:.1e}),"
            f" more than {tolerance:g}; no bundle was written.",
            hint="--precision fp32 has no such loss.",
        )
    return Parity(
        status="passed", relative_logits=worst, dice_drop=drop, tolerance=tolerance, inputs={"frames": len(frames)}
    )


def parity_not_run(precision: Precision, tolerance_fp32: float) -> Parity:
    """What the manifest says where the engine cannot run on the machine that built it."""
    tolerance = tolerance_fp32 if precision == "fp32" else DICE_TOLERANCE[precision]
    return Parity(status="not_run", relative_logits=None, dice_drop=None, tolerance=tolerance, inputs={})
