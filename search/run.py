"""A search from its data to RUN/arch.yaml, with its run folder, checkpoints and resumption."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cinert import __version__
from cinert.arch import Arch, save_arch
from cinert.environment import library_version
from cinert.errors import BadInputError
from cinert.files import check_writable, write_json
from cinert.resume import refuse_other_settings
from cinert.space import Space
from latency.cost import SpaceCosts
from latency.estimate import estimate, estimate_record
from latency.lut import Lut
from search.data import FoldData
from search.decode import Decoded, decode
from search.draw import draw_arch
from search.genetic import GeneticSettings
from search.loop import Search, read_supernet
from search.methods import Decoder
from search.run_log import RunLog
from search.settings import EpochReport, SearchSettings

SUPERNET, ARCH, PICTURE, CONFIG = "supernet.safetensors", "arch.yaml", "arch.png", "config.json"


@dataclass(frozen=True)
class SearchResult:
    """What a search wrote."""

    decoded: Decoded
    folder: Path
    resumed_at: int
    """Epochs that were already done when this run began."""
    seconds: float
    """Spent in epochs by this run."""


def prepare_run(folder: Path, identity: dict[str, Any], *, restart: bool) -> None:
    """Make the run folder, or make sure that what lies there can be continued.

    Raises:
        BadInputError: the folder cannot be written, or holds a search with other settings.
    """
    check_writable(folder / ARCH)
    supernet = folder / SUPERNET
    if restart:
        for name in (SUPERNET, ARCH, PICTURE, CONFIG, "search.log"):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "tensorboard" / "search", ignore_errors=True)
    elif supernet.exists():
        refuse_other_settings(folder, read_supernet(supernet).values.get("identity", {}), identity)
    else:
        refuse_foreign_arch(folder, SUPERNET)


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


def search_versions() -> dict[str, str]:
    """Of what a search computes with."""
    return {"cinert": __version__, "torch": library_version("torch"), "monai": library_version("monai")}


def search_identity(space: Space, lut: Lut, data: FoldData, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What two runs must share so that one can continue the other."""
    return {
        "space": f"{space.name} {space.digest}",
        "lut": lut.id,
        "data": data.digest,
        "fold": "all" if data.fold is None else data.fold,
        **settings,
    }


def run_search(
    space: Space,
    lut: Lut,
    data: FoldData,
    settings: SearchSettings,
    *,
    budget_ms: float,
    decoder: Decoder = "longest",
    folder: Path,
    device: torch.device,
    advance: Callable[[int, int], None] | None = None,
    restart: bool = False,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> SearchResult:
    """Search, or continue a search, and decode.

    Args:
        space: to search.
        lut: prices of the device that will run the network.
        data: of the fold; only its training patients are used.
        settings: of the search.
        budget_ms: the decoded union's estimate has to stay within it; with the loss `lagrangian` its upper end.
        decoder: how paths are chosen at the end; a finished search can be decoded again by another.
        folder: of the run.
        device: where to compute.
        advance: called with (steps done, steps in all).
        restart: throw away what the folder holds.
        on_epoch: called after each epoch, once its checkpoint is on disk.

    Raises:
        BadInputError: the LUT lacks a part of the space, or the folder holds another search.
    """
    costs = SpaceCosts.from_lut(lut, space)
    hard = settings.loss == "lagrangian"
    identity = search_identity(space, lut, data, settings.to_dict())
    prepare_run(folder, identity, restart=restart)
    search = Search(space, costs, data.train, settings, device, upper_share=lambda arch: _upper_share(arch, lut))
    if (folder / SUPERNET).exists():
        search.restore(read_supernet(folder / SUPERNET))
    resumed_at = search.next_epoch
    config = search_config(
        space,
        lut,
        identity,
        budget_ms=budget_ms,
        device=device,
        weight_patients=search.weight_patients,
        arch_patients=search.arch_patients,
    )
    write_json(folder / CONFIG, config)
    steps = search.steps_per_epoch()
    total = steps * settings.epochs
    done = steps * search.next_epoch

    def step_done(steps: int = 1) -> None:
        nonlocal done
        done += steps
        if advance is not None:
            advance(done, total)

    step_done(0)
    start = time.monotonic()
    with RunLog(folder, first_epoch=resumed_at, name="search") as log:
        while not search.finished:
            report = search.run_epoch(step_done)
            search.save(folder / SUPERNET, identity)
            log.metrics(report.epoch, report.metrics())
            if on_epoch is not None:
                on_epoch(report)
        decoded = decode(
            search.architecture,
            paths=settings.paths,
            decoder=decoder,
            budget_ms=budget_ms,
            estimate_ms=lambda arch: estimate(arch, lut).high_ms if hard else estimate(arch, lut).ms,
            genetic=GeneticSettings(seed=settings.seed),
        )
        decoded = dataclasses.replace(decoded, arch=_with_records(decoded, lut, data, settings, decoder, budget_ms))
        draw_arch(folder / PICTURE, decoded.arch, title=picture_title(decoded.arch, lut, budget_ms))
        save_arch(folder / ARCH, decoded.arch)
        log.line(f"decoded {len(decoded.arch.paths)} paths, {decoded.arch.estimate}, budget_met {decoded.budget_met}")
    return SearchResult(decoded, folder, resumed_at, time.monotonic() - start)


def _upper_share(arch: Arch, lut: Lut) -> float:
    """Upper end of the estimate's interval over the estimate."""
    found = estimate(arch, lut)
    return found.high_ms / found.ms


def _with_records(
    decoded: Decoded, lut: Lut, data: FoldData, settings: SearchSettings, decoder: Decoder, budget_ms: float
) -> Arch:
    """The architecture with its estimate and where it comes from."""
    return dataclasses.replace(
        decoded.arch,
        estimate=estimate_record(decoded.arch, lut),
        provenance={
            "method": settings.method,
            "relaxation": decoded.arch.space.relaxation,
            "latency_term": settings.latency_term,
            "loss": settings.loss,
            "mixture": settings.mixture,
            "decoder": decoder,
            "seed": settings.seed,
            "versions": search_versions(),
            "lambda": settings.latency_weight,
            "epochs": settings.epochs,
            "paths": settings.paths,
            "path_probabilities": [float(f"{value:.6g}") for value in decoded.probabilities],
            "paths_passed_over": decoded.paths_passed_over,
            "cells_passed_over": decoded.cells_passed_over,
            "budget_ms": budget_ms,
            "budget_met": decoded.budget_met,
            "data": data.digest,
            "fold": "all" if data.fold is None else data.fold,
            "seen_patients": [record.to_dict() for record in data.seen],
        },
    )


def picture_title(arch: Arch, lut: Lut, budget_ms: float) -> str:
    """What stands above the drawing of a found network."""
    ms = estimate(arch, lut).ms
    return f"{arch.space.name}: {ms:.1f} ms estimated on {lut.device_name}, budget {budget_ms:g} ms"


def search_config(
    space: Space,
    lut: Lut,
    identity: Mapping[str, Any],
    *,
    budget_ms: float,
    device: torch.device,
    weight_patients: Sequence[str],
    arch_patients: Sequence[str],
) -> dict[str, Any]:
    """What config.json says: how a search was set up, and which half of the patients it used for what."""
    return {
        "schema": "cinert.search-config",
        "version": 1,
        "identity": dict(identity),
        "budget_ms": budget_ms,
        "lut": {"id": lut.id, "device": lut.device_name, "file": lut.source},
        "compute_device": str(device),
        "weight_patients": list(weight_patients),
        "arch_patients": list(arch_patients),
        "space": space.to_dict(),
    }
