"""The masks that `plausibility.py` shows the gate."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bedside.pipeline import FramePipeline
from bedside.plausibility import PlausibilityGate
from bench.corruptions import CORRUPTIONS, Scan
from bench.corruptions.scan import stored
from bench.robustness import dice
from bench.seen import seen_among
from cinert.architecture import Architecture
from cinert.backends import get_backend
from cinert.baselines.kinds import KINDS, design
from cinert.bundle import Bundle
from cinert.data.layouts import read_patients
from cinert.data.nifti import Geometry
from cinert.data.patients import Patient, load_frame
from cinert.network import build_network
from cinert.onnx import network_model
from cinert.sampling import random_arch
from cinert.space import load_space
from export.engine import spec_of

STRENGTHS: dict[str, tuple[float, ...]] = {
    "noise": (10, 30, 80, 160),
    "undersampling": (4, 8, 16, 32),
    "breathing": (5, 15, 30),
    "shift": (5, 15, 30),
    "void": (8, 16, 32),
}
"""The usual ones of `bench.corruptions`, and such that spoil an image altogether."""
SPACES, RANDOM, SEEDS = ("demo", "small"), 4, (0, 1)
Image = tuple[NDArray[Any], Geometry]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """A labelled frame."""

    patient: Patient
    phase: str
    image: NDArray[np.float32]
    label: NDArray[np.uint8]
    geometry: Geometry

    @property
    def patient_id(self) -> str:
        """Whose frame it is."""
        return self.patient.id


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A mask, what it is worth, and what the gate says."""

    patient_id: str
    corruption: str
    """Empty for a clean image."""
    mask: NDArray[np.uint8]
    geometry: Geometry
    dice: dict[str, float]
    reason: str
    torn: bool
    """Whether the image itself shows no heart any more: slices shifted so far that the gate stops its labels too."""

    @property
    def mean_dice(self) -> float:
        """Over the structures."""
        return float(np.mean(list(self.dice.values())))


def read_truths(data: Path) -> list[Truth]:
    """All labelled frames of a folder."""
    return [
        Truth(patient, frame.phase, *load_frame(frame)) for patient in read_patients(data) for frame in patient.frames
    ]


def mask_of(bundle: Bundle, images: Sequence[Image]) -> Iterator[tuple[NDArray[np.uint8], str]]:
    """Masks and the gate's reasons, of images in the order of a cine where they lie on one grid."""
    with FramePipeline.from_bundle(bundle, threads=1) as pipeline:
        bound: Geometry | None = None
        for image, geometry in images:
            if bound is None or not bound.same_grid(geometry):
                pipeline.bind(geometry)
                bound = geometry
            result = pipeline.segment(image)
            yield result.mask, result.implausible


def out_of_fold(bundle: Bundle, truths: Sequence[Truth], *, corrupted: bool) -> list[Judged]:
    """Masks of the patients that a bundle did not see."""
    records = bundle.seen_patients or ()
    patients = {truth.patient_id: truth.patient for truth in truths}
    seen = set(seen_among(list(patients.values()), records, on_patient=lambda: None))
    judged, gate = [], PlausibilityGate()
    with FramePipeline.from_bundle(bundle, threads=1) as pipeline:
        for truth in truths:
            if truth.patient_id in seen:
                continue
            gate.bind(truth.geometry)
            for name, image, label in _versions(truth) if corrupted else [("", truth.image, truth.label)]:
                result = pipeline.bind(truth.geometry).segment(image)
                judged.append(
                    Judged(
                        patient_id=truth.patient_id,
                        corruption=name,
                        mask=result.mask,
                        geometry=truth.geometry,
                        dice=dice(result.mask, label),
                        reason=result.implausible,
                        torn=bool(gate.reason(label)),
                    )
                )
    return judged


def _versions(truth: Truth) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.uint8]]]:
    yield "", truth.image, truth.label
    scan = Scan.of(truth.image, truth.label, truth.geometry)
    for name, strengths in STRENGTHS.items():
        for strength in strengths:
            rng = np.random.default_rng(zlib.crc32(f"{truth.patient_id} {truth.phase} {name} {strength:g}".encode()))
            changed = CORRUPTIONS[name].apply(scan, strength, rng)
            image = np.ascontiguousarray(stored(changed.image_DHW, truth.geometry))
            yield f"{name} {strength:g}", image, stored(changed.label_DHW, truth.geometry)


def untrained(images: Sequence[Image]) -> Iterator[tuple[str, list[str]]]:
    """Reasons for the masks of networks as they are before their first step, of every kind, by name."""
    backend = get_backend("openvino")
    for name, arch in _architectures():
        for seed in SEEDS:
            torch.manual_seed(seed)
            engine = backend.compile(network_model(arch, build_network(arch).eval()), threads=1)
            runner = backend.load(engine, device="cpu", threads=1)
            with FramePipeline(runner, spec_of(arch), gate=PlausibilityGate()) as pipeline:
                reasons = [pipeline.bind(geometry).segment(image).implausible for image, geometry in images]
            yield f"{name}, seed {seed}", reasons


def _architectures() -> Iterator[tuple[str, Architecture]]:
    for space_name in SPACES:
        space = load_space(space_name)
        for kind in KINDS:
            yield f"{kind} {space_name}", design(kind, space, KINDS[kind].widths_in(space))
        for number in range(RANDOM):
            yield f"random {number} {space_name}", random_arch(space, number)
