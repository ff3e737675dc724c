"""The parity gate: an engine has to give PyTorch's logits (docs/design.md, "Engines")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cinert.backends.base import Runner
from cinert.bundle_manifest import Parity
from cinert.data.grid import GridMap, PreprocessingSpec
from cinert.data.layouts import read_patients
from cinert.data.patients import Patient, load_frame
from cinert.errors import VerdictError
from cinert.segmenter import Segmenter

TOLERANCE = 1e-3
"""Largest relative logit difference in fp32."""
RANDOM_INPUTS = 4
MAX_FRAMES = 8

Images = Sequence[NDArray[np.float32]]
"""x_BCDHW, batch 1."""


def relative_difference(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return max |a - b| / max |b|; infinite where either holds NaN or infinity, or where b is 0 and a is not."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    difference, scale = float(np.abs(a - b).max()), float(np.abs(b).max())
    if scale == 0.0:
        return 0.0 if difference == 0.0 else float("inf")
    return difference / scale


def random_images(shape: tuple[int, ...], *, seed: int = 0, count: int = RANDOM_INPUTS) -> list[NDArray[np.float32]]:
    """Normal noise, as z-scored images are; the last one with half the field of view empty, as padded images are."""
    rng = np.random.default_rng(seed)
    images = [rng.standard_normal(shape, dtype=np.float32) for _ in range(count)]
    images[-1][..., : shape[-1] // 2] = 0.0
    return images


def real_images(data: Path, spec: PreprocessingSpec, *, limit: int = MAX_FRAMES) -> list[NDArray[np.float32]]:
    """End-diastolic frames of up to `limit` patients, spread evenly over the folder, as the network reads them.

    Raises:
        BadInputError: the folder is in no known layout, or a frame cannot be read.
    """
    images = []
    for patient in evenly(read_patients(data), limit):
        image, _, geometry = load_frame(patient.frames[0])
        images.append(GridMap(geometry, spec).to_network(image)[None, None])
    return images


def evenly(patients: Sequence[Patient], limit: int) -> list[Patient]:
    """Up to `limit` patients, spread evenly over the list."""
    return [patients[i] for i in sorted(set(np.linspace(0, len(patients) - 1, limit).round().astype(int).tolist()))]


def worst_difference(runner: Runner, network: nn.Module, images: Mapping[str, Images]) -> tuple[float, str]:
    """Compare an engine with PyTorch on every image.

    Args:
        runner: the engine.
        network: the reference, batch norm not folded, so that folding is under test too; run in fp32 on the CPU.
        images: inputs by kind, e.g. `random`, `frames`.

    Returns:
        The largest `relative_difference` of the logits, and the input that shows it.
    """
    worst, where = 0.0, ""
    network = network.eval()
    for kind, batch in images.items():
        for number, image in enumerate(batch):
            with torch.inference_mode():
                expected = network(torch.from_numpy(image)).numpy()
            difference = relative_difference(runner.run(image), expected)
            if difference >= worst:
                worst, where = difference, f"{kind} input {number}"
    return worst, where


def check_parity(runner: Runner, network: Segmenter, images: Mapping[str, Images]) -> Parity:
    """Refuse an engine in fp32 that does not give PyTorch's logits; arguments as for `worst_difference`.

    Raises:
        VerdictError: the relative logit difference is above the tolerance (exit code 1).
    """
    worst, where = worst_difference(runner, network, images)
    if not worst <= TOLERANCE:
        raise VerdictError(
            f"the engine's logits differ from PyTorch's by {worst:.2e} (relative, {where}), more than {TOLERANCE:g};"
            " no bundle was written.",
            hint="try another --backend, and report the architecture.",
        )
    counts = {kind: len(batch) for kind, batch in images.items() if batch}
    return Parity(status="passed", relative_logits=worst, dice_drop=None, tolerance=TOLERANCE, inputs=counts)
