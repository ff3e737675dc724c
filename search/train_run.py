"""A training from its data to RUN/weights.safetensors, with its run folder, checkpoints and resumption."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cinert import __version__
from cinert.arch import load_arch, save_arch
from cinert.architecture import Architecture
from cinert.environment import library_version
from cinert.errors import BadInputError
from cinert.files import check_writable, write_json
from cinert.progress import Advance, unheard
from cinert.provenance import merge_records
from cinert.resume import refuse_other_settings
from cinert.scores import in_digits
from cinert.space import CLASSES
from search.checkpoint import Checkpoint, save_checkpoint
from search.data import FoldData, labelled_classes, patients_of
from search.draw_curves import draw_training
from search.initial import matching
from search.ranks import ALONE, Ranks
from search.run_log import RunLog
from search.scores import mean_dice
from search.source import describe_grid
from search.sources import NOTHING, Sources
from search.training import Training, TrainingSettings, read_training

WEIGHTS, METRICS, ARCH, CHECKPOINT, CURVE = (
    "weights.safetensors",
    "metrics.json",
    "arch.yaml",
    "checkpoint.safetensors",
    "training.png",
)
FOREGROUND = CLASSES[1:]
# What a training was that began before these settings existed.
_BEFORE_SWITCHES = {
    "deep_supervision": 0.0,
    "init": None,
    "teacher": None,
    "teacher_weight": 1.0,
    "teacher_temperature": 2.0,
}


@dataclass(frozen=True)
class TrainingResult:
    """What a training wrote."""

    folder: Path
    metrics: dict[str, Any]
    resumed_at: int
    """Epochs that were already done when this run began."""


def training_identity(arch: Architecture, data: FoldData, settings: TrainingSettings) -> dict[str, Any]:
    """What two runs must share so that one can continue the other."""
    return {
        "arch": arch.digest,
        "data": data.digest,
        "fold": "all" if data.fold is None else data.fold,
        **settings.to_dict(),
    }


def prepare_training(folder: Path, arch: Architecture, identity: dict[str, Any], *, restart: bool) -> Checkpoint | None:
    """Make the run folder, or make sure that what lies there can be continued.

    Returns:
        The state to go on from; None where there is none.

    Raises:
        BadInputError: the folder cannot be written, holds another architecture, or another training.
    """
    check_writable(folder / WEIGHTS)
    there = folder / ARCH
    # train-arch RUN/arch.yaml -o RUN is natural; overwriting another architecture is not.
    if there.exists() and load_arch(there).digest != arch.digest:
        raise BadInputError(
            f"{folder} holds another architecture than {arch.source}.", hint="choose another output with -o."
        )
    if restart:
        for name in (WEIGHTS, METRICS, CHECKPOINT, CURVE):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "tensorboard" / "training", ignore_errors=True)
    elif (folder / CHECKPOINT).exists():
        begun = read_training(folder / CHECKPOINT)
        refuse_other_settings(folder, {**_BEFORE_SWITCHES, **begun.values.get("identity", {})}, identity)
        return begun
    return None


def run_training(
    arch: Architecture,
    data: FoldData,
    settings: TrainingSettings,
    *,
    folder: Path,
    device: torch.device,
    validate_every: int,
    progress: Advance = unheard,
    on_epoch: Callable[[int], None] | None = None,
    ranks: Ranks = ALONE,
    sources: Sources = NOTHING,
) -> TrainingResult:
    """Train, or continue a training.

    Args:
        arch: to train.
        data: of the fold.
        settings: of the training.
        folder: of the run.
        device: where to compute.
        validate_every: epochs between validations; the last epoch is always validated.
        progress: called with (what, steps done, steps in all).
        on_epoch: called with the number of epochs done, once the checkpoint is on disk.
        ranks: processes that share the work; the first alone writes.
        sources: weights that it reads, those that `settings` has the digests of.

    Raises:
        BackendUnavailableError: the device has not the settings' precision.
        BadInputError: the folder holds something else.
    """
    identity = training_identity(arch, data, settings)
    begun = ranks.from_main(lambda: _continued(folder, arch, identity))
    training = Training(arch, data, settings, device, ranks=ranks, sources=sources)
    history: dict[str, Any] = {"epochs": [], "seconds": 0.0, "cpu_seconds": 0.0}
    if begun is not None:
        training.restore(begun)
        history = begun.values["history"]
    resumed_at = training.next_epoch
    steps = training.steps_per_epoch()
    done, shown = steps * resumed_at, "training"
    scores: list[list[float]] | None = None

    def step_done(count: int = 1) -> None:
        nonlocal done
        done += count
        progress(shown, done, steps * settings.epochs)

    step_done(0)
    with RunLog(folder, first_epoch=resumed_at, name="training", write=ranks.is_main) as log:
        log.line(f"computing on {ranks.size} x {device}, mixed precision {training.precision.name}")
        if sources.initial is not None:
            log.line(f"begun with {sources.initial.path}: {matching(training.network, sources.initial.tensors)}")
        if sources.teacher is not None:
            log.line(f"taught by {sources.teacher.path}")
        while not training.finished:
            start, cpu_start = time.monotonic(), time.process_time()
            record: dict[str, Any] = {"epoch": training.next_epoch + 1, "loss": training.run_epoch(step_done)}
            record["learning_rate"] = training.learning_rate
            if data.validation and (training.finished or record["epoch"] % validate_every == 0):
                scores = training.validate()
                record["dice"] = mean_dice(scores)
                shown = f"training, Dice of {data.kind(data.validation)} {in_digits(record['dice']['mean'])}"
            history["epochs"].append(record)
            history["seconds"] += time.monotonic() - start
            history["cpu_seconds"] += time.process_time() - cpu_start
            if ranks.is_main:
                training.save(folder / CHECKPOINT, identity, history)
            scalars = {f"dice/{name}": value for name, value in record.get("dice", {}).items() if value is not None}
            rates = {"loss": record["loss"], "learning_rate": record["learning_rate"]}
            log.metrics(training.next_epoch - 1, {**rates, **scalars})
            if on_epoch is not None:
                on_epoch(training.next_epoch)
    # The last epoch was scored above, unless it was done before this run.
    metrics = _metrics(training, data, identity, history, training.validate() if scores is None else scores)
    if ranks.is_main:
        draw_training(folder / CURVE, history["epochs"], who=data.kind(data.validation))
        write_json(folder / METRICS, metrics)
        # Last, so that weights stand for a training that is complete.
        _save_weights(folder / WEIGHTS, training, data, identity, sources)
    return TrainingResult(folder, metrics, resumed_at)


def _continued(folder: Path, arch: Architecture, identity: dict[str, Any]) -> Checkpoint | None:
    """Prepare the run folder, and read the state to go on from, if there is one."""
    begun = prepare_training(folder, arch, identity, restart=False)
    if not (folder / ARCH).exists():
        save_arch(folder / ARCH, arch)
    return begun


def _metrics(
    training: Training,
    data: FoldData,
    identity: dict[str, Any],
    history: dict[str, Any],
    frames: Sequence[Sequence[float]],
) -> dict[str, Any]:
    kept = [sample.kept_share for sample in data.train + data.validation]
    return {
        "schema": "cinert.metrics",
        "version": 1,
        "grid": "network",
        "settings": identity,
        "device": str(training.device),
        "processes": training.ranks.size,
        "mixed_precision": training.precision.name,
        "parameters": sum(parameter.numel() for parameter in training.network.parameters()),
        "seconds": round(history["seconds"], 2),
        "cpu_seconds": round(history["cpu_seconds"], 2),
        "kept_share": {"mean": float(np.mean(kept)), "worst": float(min(kept))},
        "patients": {"train": len(data.seen), "validation": len(patients_of(data.validation))},
        "phantoms": {"train": data.count(data.train)[1], "validation": data.count(data.validation)[1]},
        "epochs": history["epochs"],
        "validation": {
            "mean": mean_dice(frames) if frames else None,
            "frames": [
                {"id": sample.patient_id, "frame": sample.frame, "phase": sample.phase, "dice": mean_dice([scores])}
                for sample, scores in zip(data.validation, frames, strict=True)
            ],
        },
    }


def _save_weights(path: Path, training: Training, data: FoldData, identity: dict[str, Any], sources: Sources) -> None:
    """Write the averaged weights: the last, not the best on the held-out patients, who would then not be held out."""
    arch = training.arch
    values = {
        "schema": "cinert.weights",
        "version": 1,
        "arch_digest": arch.digest,
        "seen_patients": merge_records(
            arch.provenance.get("seen_patients", []),
            [record.to_dict() for record in data.seen],
            sources.seen,
        ),
        "classes": list(CLASSES),
        "labelled": labelled_classes(data.train),
        "provenance": {
            "method": "train-arch",
            "settings": identity,
            "grid": describe_grid(arch.grid),
            "versions": {"cinert": __version__, "torch": library_version("torch"), "monai": library_version("monai")},
        },
    }
    save_checkpoint(path, Checkpoint(training.average.state, values))
