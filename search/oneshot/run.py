"""A one-shot search from its data to RUN/arch.yaml and the weights that the found network inherits."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cinert.arch import save_arch
from cinert.architecture import InputGrid
from cinert.data.dataset import Sample
from cinert.errors import BadInputError
from cinert.files import check_writable, write_json
from cinert.progress import Advance, unheard
from cinert.resume import refuse_other_settings
from cinert.space import CLASSES
from cinert.ushape.arch import UShapeArch
from cinert.ushape.space import UShapeSpace
from latency.estimate import estimate_record
from latency.lut import Lut
from search.checkpoint import Checkpoint, save_checkpoint
from search.data import FoldData, patients_of
from search.draw_ushape import draw_ushape
from search.oneshot.loop import OneShotSearch, OneShotSettings, read_oneshot
from search.oneshot.population import Scored
from search.oneshot.prices import upper_ms_of
from search.records import search_config, search_identity, search_versions
from search.run_folder import ARCH, CONFIG, INHERITED, PICTURE, SUPERNET, clear_run, refuse_foreign_arch
from search.run_log import RunLog

_SCORED_SHARE = 0.25
"""Of the training patients, on whom networks are scored; weights are learnt on the others."""


@dataclass(frozen=True, kw_only=True)
class OneShotResult:
    """What a one-shot search wrote."""

    arch: UShapeArch
    scored: list[Scored]
    """Networks that were scored with the last weights, best first."""
    folder: Path
    resumed_at: int
    """Epochs that were already done when this run began."""

    @property
    def lead(self) -> tuple[float, float]:
        """Dice by which the best is ahead of the fifth, and the standard error of that, paired over frames."""
        best, fifth = self.scored[0], self.scored[min(4, len(self.scored) - 1)]
        ahead = np.subtract(best.frames, fifth.frames)
        return float(ahead.mean()), float(ahead.std(ddof=1) / math.sqrt(len(ahead)))


class _GridOf:
    """One grid of a space as networks state theirs."""

    def __init__(self, space: UShapeSpace, number: int) -> None:
        self.input_shape_DHW = space.grids[number].shape_DHW
        self.spacing_mm = space.grids[number].spacing_mm
        self.in_channels = space.in_channels


def grid_of(space: UShapeSpace, number: int) -> InputGrid:
    """A grid of a space, as the reader of patients asks for it."""
    return _GridOf(space, number)


def split_patients(samples: list[Sample], seed: int) -> tuple[set[str], set[str]]:
    """Ids of those whose frames weights are learnt on, and of those whose frames networks are scored on.

    Raises:
        BadInputError: fewer than 4 patients.
    """
    ids = patients_of(samples)
    if len(ids) < 4:
        raise BadInputError(
            f"a one-shot search scores networks on a quarter of the training patients, and there are {len(ids)}.",
            hint="give more patients.",
        )
    np.random.default_rng([seed, 1]).shuffle(ids)
    count = max(1, round(_SCORED_SHARE * len(ids)))
    return set(ids[count:]), set(ids[:count])


def frames_of(folds: Mapping[int, FoldData], ids: Collection[str]) -> dict[int, list[Sample]]:
    """Training frames of some patients, by grid."""
    return {n: [sample for sample in fold.train if sample.patient_id in ids] for n, fold in folds.items()}


def _search_on(
    space: UShapeSpace,
    lut: Lut,
    folds: Mapping[int, FoldData],
    settings: OneShotSettings,
    *,
    budget_ms: float,
    device: torch.device,
) -> OneShotSearch:
    """A search that has not begun, on the training patients of a fold."""
    train_ids, other_ids = split_patients(folds[0].train, settings.seed)
    return OneShotSearch(
        space,
        upper_ms_of(space, lut),
        budget_ms=budget_ms,
        train=frames_of(folds, train_ids),
        other=frames_of(folds, other_ids),
        settings=settings,
        device=device,
    )


def search_record(folder: Path) -> dict[str, Any]:
    """What the search in a run folder read and was told: space, lut, data, fold, budget_ms and its settings.

    Raises:
        BadInputError: the folder holds no search of a space of U-shapes.
    """
    if not (folder / SUPERNET).exists():
        raise BadInputError(
            f"{folder} holds no search with shared weights.",
            hint="give the run folder of nas-search in a space of U-shapes.",
        )
    return dict(read_oneshot(folder / SUPERNET).values["identity"])


def finished_search(
    folder: Path, space: UShapeSpace, lut: Lut, folds: Mapping[int, FoldData], device: torch.device
) -> OneShotSearch:
    """The search that a run folder holds, with all that it learnt.

    Args:
        folder: of the run.
        space: that it searched.
        lut: prices that it read.
        folds: the same fold on each grid of the space.
        device: where to compute.

    Raises:
        BadInputError: there is no finished search of a space of U-shapes, or it read other data or prices.
    """
    begun = read_oneshot(folder / SUPERNET)
    identity = begun.values["identity"]
    fields = [field.name for field in dataclasses.fields(OneShotSettings)]
    settings = OneShotSettings(**{name: identity[name] for name in fields})
    now = {**search_identity(space, lut, folds[0], settings.to_dict()), "method": "one-shot"}
    refuse_other_settings(folder, identity, {**now, "budget_ms": identity["budget_ms"]})
    search = _search_on(space, lut, folds, settings, budget_ms=identity["budget_ms"], device=device)
    search.restore(begun)
    if not search.finished:
        raise BadInputError(
            f"the search in {folder} is at epoch {search.next_epoch} of {settings.epochs}.",
            hint="let nas-search finish it.",
        )
    return search


def run_oneshot(
    space: UShapeSpace,
    lut: Lut,
    folds: Mapping[int, FoldData],
    settings: OneShotSettings,
    *,
    budget_ms: float,
    folder: Path,
    device: torch.device,
    progress: Advance = unheard,
    restart: bool = False,
) -> OneShotResult:
    """Search, or continue a search, and write the best network and its weights.

    Args:
        space: to search.
        lut: prices of the device that will run the network.
        folds: the same fold on each grid of the space; only its training patients are used.
        settings: of the search.
        budget_ms: that the upper end of every network's estimate stays within.
        folder: of the run.
        device: where to compute.
        progress: called with (what, steps done, steps in all).
        restart: throw away what the folder holds.

    Raises:
        BadInputError: the LUT is of another space, nothing fits the budget, or the folder holds another search.
        CineRTError: the loss is no longer finite.
    """
    data = folds[0]
    identity = {**search_identity(space, lut, data, settings.to_dict()), "budget_ms": budget_ms, "method": "one-shot"}
    begun = _prepare(folder, identity, restart=restart)
    train_ids, other_ids = split_patients(data.train, settings.seed)
    search = _search_on(space, lut, folds, settings, budget_ms=budget_ms, device=device)
    history: dict[str, Any] = {"cpu_seconds": 0.0}
    if begun is not None:
        search.restore(begun)
        history = begun.values["history"]
    resumed_at = search.next_epoch
    config = search_config(
        space,
        lut,
        identity,
        budget_ms=budget_ms,
        device=device,
        weight_patients=sorted(train_ids),
        arch_patients=sorted(other_ids),
    )
    write_json(folder / CONFIG, config)
    steps = search.steps_per_epoch()
    done = steps * resumed_at

    def step_done() -> None:
        nonlocal done
        done += 1
        progress("searching", done, steps * settings.epochs)

    with RunLog(folder, first_epoch=resumed_at, name="search") as log:
        log.line(f"computing on {device}")
        while not search.finished:
            cpu_start = time.process_time()
            loss = search.run_epoch(step_done)
            history["cpu_seconds"] += time.process_time() - cpu_start
            search.save(folder / SUPERNET, identity, history)
            scored = {"dice": search.scored[0].dice} if search.scored else {}
            log.metrics(search.next_epoch - 1, {"loss": loss, **scored})
        count = 0

        def candidate_done() -> None:
            nonlocal count
            count += 1
            progress("scoring", count, settings.population)

        scored_all = search.score_members(candidate_done)
        best = scored_all[0]
        log.line(f"best of {len(scored_all)}: Dice {best.dice:.4f}")
    arch = dataclasses.replace(
        best.arch,
        estimate=estimate_record(best.arch, lut),
        provenance=_provenance(best, len(scored_all), data, settings, budget_ms),
    )
    _save_inherited(folder / INHERITED, search, arch, data, identity)
    title = f"{space.name}: {(arch.estimate or {})['ms']:.1f} ms estimated on {lut.title}, budget {budget_ms:g} ms"
    draw_ushape(folder / PICTURE, arch, title=title)
    save_arch(folder / ARCH, arch)
    return OneShotResult(arch=arch, scored=scored_all, folder=folder, resumed_at=resumed_at)


def _prepare(folder: Path, identity: dict[str, Any], *, restart: bool) -> Checkpoint | None:
    """Make the run folder, or make sure that what lies there can be continued, and return its state."""
    check_writable(folder / ARCH)
    if restart:
        clear_run(folder)
    elif (folder / SUPERNET).exists():
        begun = read_oneshot(folder / SUPERNET)
        refuse_other_settings(folder, begun.values.get("identity", {}), identity)
        return begun
    else:
        refuse_foreign_arch(folder, SUPERNET)
    return None


def _provenance(
    best: Scored, scored: int, data: FoldData, settings: OneShotSettings, budget_ms: float
) -> dict[str, Any]:
    return {
        "method": "cinert",
        "search": "one-shot",
        "seed": settings.seed,
        "epochs": settings.epochs,
        "versions": search_versions(),
        "budget_ms": budget_ms,
        "budget_met": True,
        "dice_with_shared_weights": round(best.dice, 4),
        "networks_scored": scored,
        "data": data.digest,
        "fold": "all" if data.fold is None else data.fold,
        "seen_patients": [record.to_dict() for record in data.seen],
    }


def _save_inherited(
    path: Path, search: OneShotSearch, arch: UShapeArch, data: FoldData, identity: Mapping[str, Any]
) -> None:
    """Write the found network's share of the weights, as `train-arch --init` reads them."""
    values = {
        "schema": "cinert.weights",
        "version": 1,
        "arch_digest": arch.digest,
        "seen_patients": [record.to_dict() for record in data.seen],
        "classes": list(CLASSES),
        "provenance": {"method": "nas-search", "settings": dict(identity), "versions": search_versions()},
    }
    network = search.network(arch, search.averaged())
    save_checkpoint(path, Checkpoint(dict(network.state_dict()), values))
