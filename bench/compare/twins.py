"""Networks that came out the same, e.g. because more paths lie within the same union: they are trained once."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.compare.plan import PLAN
from cinert.architecture import Architecture
from cinert.files import atomic_path, read_json
from search.train_run import CURVE, METRICS, WEIGHTS

# Weights come last: they say that the training is done.
_TRAINING = (PLAN, METRICS, "training.log", CURVE, WEIGHTS)


def trained_twin(folder: Path, arch: Architecture) -> Path | None:
    """Folder of another network of the run that is the same and is trained, the first by name; None if there is none.

    Args:
        folder: of the network, beside those of the others.
        arch: the network.

    Raises:
        BadInputError: the metrics of another network cannot be read.
    """
    for other in sorted(folder.parent.iterdir()):
        if other == folder or not (other / WEIGHTS).exists() or not (other / METRICS).exists():
            continue
        # What was trained, not what arch.yaml says: another may lie there by now.
        if read_json(other / METRICS, "the metrics")["settings"]["arch"] == arch.digest:
            return other
    return None


def take_training(twin: Path, folder: Path) -> None:
    """Copy what the training of a twin left, as far as later stages and the report read it."""
    for name in _TRAINING:
        if (twin / name).exists():
            with atomic_path(folder / name) as partial:
                shutil.copyfile(twin / name, partial)
