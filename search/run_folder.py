"""The files that a search leaves in its run folder, and which search may continue, replace or throw them away."""

from __future__ import annotations

import shutil
from pathlib import Path

from cinert.errors import BadInputError

SUPERNET = "supernet.safetensors"
"""Checkpoint of a differentiable search."""
CANDIDATES = "candidates.json"
"""Scores of networks that were trained: what a search by trainings continues with."""
CANDIDATE = "candidate.safetensors"
"""Checkpoint of the last training that such a search began; gone when it ends."""
INHERITED = "inherited.safetensors"
"""What the found network takes over from a one-shot search: `train-arch --init` begins with it."""
ARCH, PICTURE, CONFIG, LOG = "arch.yaml", "arch.png", "config.json", "search.log"
FRONT, TENSORBOARD = "pareto", "tensorboard/search"
"""Folders."""


def seed_folder(folder: Path, seed: int) -> Path:
    """Where one of several searches lies."""
    return folder / f"seed-{seed}"


def run_folders(folder: Path, seed: int, seeds: int) -> list[Path]:
    """RUN, and the folders of its searches where there are several, from `seed` on."""
    return [folder, *(seed_folder(folder, each) for each in range(seed, seed + seeds) if seeds > 1)]


def clear_run(folder: Path) -> None:
    """Throw away a search of whatever kind, with its seeds; what a training left beside it stays."""
    for name in (SUPERNET, CANDIDATES, CANDIDATE, INHERITED, ARCH, PICTURE, CONFIG, LOG):
        (folder / name).unlink(missing_ok=True)
    for name in (FRONT, TENSORBOARD):
        shutil.rmtree(folder / name, ignore_errors=True)
    for seed in folder.glob("seed-*/"):
        clear_run(seed)


def refuse_foreign_arch(folder: Path, checkpoint: str) -> None:
    """Refuse a folder with an arch.yaml but without the checkpoint of the search that is to be continued.

    Raises:
        BadInputError: naming the folder.
    """
    if (folder / ARCH).exists() and not (folder / checkpoint).exists():
        raise BadInputError(
            f"{folder} holds an arch.yaml that is not of a search that can be continued.",
            hint="choose another output with -o, or start anew with --restart.",
        )


def refuse_supernet(folder: Path) -> None:
    """Refuse a folder with a differentiable search in it, where a search of another kind is to begin.

    Raises:
        BadInputError: naming the file.
    """
    if (folder / SUPERNET).exists():
        raise BadInputError(
            f"{folder / SUPERNET} is of another search.",
            hint="choose another output with -o, or start anew with --restart.",
        )
