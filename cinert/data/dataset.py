"""Labelled frames on the network's grid, in memory: 160 ACDC frames take 230 MiB at 20 x 128 x 112."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinert.data.grid import GridMap, PreprocessingSpec
from cinert.data.nifti import Geometry
from cinert.data.patients import Frame, Patient, Phase, load_frame


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One labelled frame on the network's grid.

    Attributes:
        patient_id: whose frame it is.
        frame: its number, counted from 1.
        phase: ED, ES or unknown.
        x_DHW: z-scored grey values, float32.
        y_DHW: labels 0..3, uint8.
        kept_share: share of the labelled voxels that the crop kept.
    """

    patient_id: str
    frame: int
    phase: Phase
    x_DHW: NDArray[np.float32]
    y_DHW: NDArray[np.uint8]
    kept_share: float


def heart_centre_mm(label: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.float64] | None:
    """Middle of the box around everything labelled, as a world point (mm); None if nothing is.

    The box's middle, not the centre of gravity: a crop about it needs the least room.

    Args:
        label: stored axes.
        geometry: of the label map.
    """
    middle = []
    for axis in range(3):
        hit = np.flatnonzero(label.any(axis=tuple(other for other in range(3) if other != axis)))
        if not hit.size:
            return None
        middle.append((hit[0] + hit[-1]) / 2)
    point: NDArray[np.float64] = geometry.affine[:3, :3] @ np.asarray(middle) + geometry.affine[:3, 3]
    return point


def load_sample(frame: Frame, spec: PreprocessingSpec) -> tuple[Sample, NDArray[np.float32], NDArray[np.uint8]]:
    """Read and preprocess a frame.

    The crop is centred on the labels, so that nothing is clipped that a network should learn; at the bedside the
    localiser finds the centre, and augmentation moves the heart by more than the localiser errs.

    Args:
        frame: with its label.
        spec: the network's grid.

    Returns:
        The sample, and the image and the label that it was made of, stored axes.

    Raises:
        BadInputError: a file cannot be used.
    """
    image, label, geometry = load_frame(frame)
    grid = GridMap(geometry, spec, heart_centre_mm(label, geometry))
    sample = Sample(
        frame.patient_id,
        frame.index,
        frame.phase,
        grid.to_network(image),
        grid.label_to_network(label),
        grid.kept_share(label),
    )
    return sample, image, label


def load_samples(
    patients: Sequence[Patient],
    spec: PreprocessingSpec,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Sample]:
    """Read and preprocess every frame of the patients, in their order.

    Args:
        patients: from `read_patients`.
        spec: the network's grid.
        progress: called with (frames done, frames in all) after each frame.

    Raises:
        BadInputError: a file cannot be used.
    """
    frames = [frame for patient in patients for frame in patient.frames]
    samples = []
    for done, frame in enumerate(frames, start=1):
        samples.append(load_sample(frame, spec)[0])
        if progress is not None:
            progress(done, len(frames))
    return samples
