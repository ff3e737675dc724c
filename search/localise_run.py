"""The localiser of a training run: trained once, kept beside the weights, found again when the run continues."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cinert.bundle_manifest import LOCALISER
from cinert.data.folds import split_patients
from cinert.data.layouts import read_patients
from cinert.data.patients import patient_digest
from cinert.data.phantom_mark import is_phantom
from cinert.localiser_net import NETWORKS, SCHEMA, VERSION
from cinert.progress import Advance
from cinert.resume import refuse_other_settings
from search.checkpoint import load_checkpoint
from search.data import PatientRecord
from search.localise import (
    LocaliserSettings,
    load_views,
    localiser_record,
    save_localiser,
    train_localiser,
)


def ensure_localiser(
    folder: Path,
    data: Path,
    fold: int | None,
    settings: LocaliserSettings,
    device: torch.device,
    *,
    progress: Advance,
) -> bool:
    """Train the localiser on the fold's training patients, unless the run folder holds that very one.

    Args:
        folder: of the run; localiser.safetensors is written there.
        data: folder of patients.
        fold: 0..4, or None to train on all patients.
        settings: how.
        device: where to compute.
        progress: called with (what, done, in all).

    Returns:
        Whether it was trained now.

    Raises:
        BadInputError: the data cannot be used, or the folder holds a localiser of other data or settings.
    """
    path = folder / LOCALISER
    patients = {patient.id: patient for patient in read_patients(data)}
    train = [patients[id_] for id_ in sorted(split_patients(patients.values(), fold).train)]
    seen = [
        PatientRecord(id=patient.id, digest=patient_digest(patient), phantom=is_phantom(patient)) for patient in train
    ]
    if path.exists():
        there = load_checkpoint(path, schema=SCHEMA, version=tuple(NETWORKS)).values
        wanted = localiser_record(settings, seen)
        if there["version"] != VERSION:
            # Of an older release, which trained it in another way: whom it saw is what matters.
            wanted = {**wanted, "settings": there.get("settings")}
        refuse_other_settings(path, *map(_what_counts, (there, wanted)))
        return False
    views = load_views(train, progress=progress)
    network = train_localiser(views, settings, device, progress=progress)
    save_localiser(path, network, settings, seen)
    return True


def _what_counts(record: Mapping[str, Any]) -> dict[str, Any]:
    """How and on whom a localiser was trained; releases of before did not write down who is a phantom."""
    seen = [{"id": item["id"], "digest": item["digest"]} for item in record.get("seen_patients", [])]
    return {"settings": record.get("settings"), "seen_patients": seen}
