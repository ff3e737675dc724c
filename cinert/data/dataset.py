"""Labelled frames on the network's grid, in memory: 160 ACDC frames take 230 MiB at 20 x 128 x 112."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cinert.data.acdc import Patient, Phase, load_frame
from cinert.data.grid import GridMap, PreprocessingSpec


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One labelled frame on the network's grid.

    Attributes:
        patient_id: whose frame it is.
        frame: its number, counted from 1.
        phase: ED or ES.
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


def load_samples(
    patients: Sequence[Patient],
    spec: PreprocessingSpec,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Sample]:
    """Read and preprocess every frame of the patients, in their order.

    Args:
        patients: from `read_acdc`.
        spec: the network's grid.
        progress: called with (frames done, frames in all) after each frame.

    Raises:
        BadInputError: a file cannot be used.
    """
    frames = [frame for patient in patients for frame in patient.frames]
    samples = []
    for done, frame in enumerate(frames, start=1):
        image, label, geometry = load_frame(frame)
        grid = GridMap(geometry, spec)
        samples.append(
            Sample(
                frame.patient_id,
                frame.index,
                frame.phase,
                grid.to_network(image),
                grid.label_to_network(label),
                grid.kept_share(label),
            )
        )
        if progress is not None:
            progress(done, len(frames))
    return samples
