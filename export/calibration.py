"""Real frames that int8 takes its ranges from, for the network and for the localiser."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinert.backends.base import Precision
from cinert.data.grid import PreprocessingSpec
from cinert.data.layouts import read_patients
from cinert.data.localiser import VIEW, ViewMap
from cinert.data.patients import Patient, load_frame, patient_digest
from cinert.data.phantom_mark import is_phantom
from cinert.errors import BadInputError
from cinert.provenance import patient_record
from export.parity import evenly, real_images

MAX_PATIENTS = 32


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Frames as each network reads them, x_BCDHW with batch 1, and whose they are."""

    network: tuple[NDArray[np.float32], ...]
    localiser: tuple[NDArray[np.float32], ...]
    seen_patients: tuple[Mapping[str, Any], ...]
    """{id, digest, phantom}: their grey values are in the engine's ranges, so that it is not to be scored on them."""


def check_calibration(precision: Precision, calibration: Path | None) -> None:
    """Refuse int8 without frames to calibrate with, and frames that nothing is calibrated with.

    Raises:
        BadInputError: the one or the other.
    """
    if precision == "int8" and calibration is None:
        raise BadInputError(
            "int8 takes its ranges from real frames, and there are none.", hint="give --calibration DIR."
        )
    if precision != "int8" and calibration is not None:
        raise BadInputError(f"--calibration is for int8, and the precision is {precision}.", hint="leave it out.")


def load_calibration(folder: Path, spec: PreprocessingSpec, view: PreprocessingSpec = VIEW) -> Calibration:
    """Read one frame each of up to 32 patients, spread evenly over the folder.

    Args:
        folder: of patients.
        spec: the network's grid.
        view: the localiser's.

    Raises:
        BadInputError: the folder holds no patients in a known layout, or a frame cannot be read.
    """
    chosen = evenly(read_patients(folder), MAX_PATIENTS)
    return Calibration(
        network=tuple(real_images(folder, spec, limit=MAX_PATIENTS)),
        localiser=tuple(_real_views(chosen, view)),
        seen_patients=tuple(
            patient_record(patient.id, patient_digest(patient), is_phantom(patient)) for patient in chosen
        ),
    )


def _real_views(patients: Iterable[Patient], view: PreprocessingSpec) -> Iterator[NDArray[np.float32]]:
    """Their first labelled frames, as the localiser reads them."""
    for patient in patients:
        image, _, geometry = load_frame(patient.frames[0])
        yield ViewMap(geometry, view).to_view(image)[None, None]
