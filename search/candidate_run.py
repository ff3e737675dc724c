"""A random or evolutionary search from its data to RUN/arch.yaml, with its run folder and resumption."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cinert.arch import Arch, save_arch
from cinert.files import check_writable, write_json
from cinert.space import Space
from latency.estimate import estimate, estimate_record
from latency.lut import Lut
from search.data import FoldData, patients_of
from search.draw import draw_arch
from search.evolve import Evolution
from search.halving import HalvingResult, Propose, draw_candidates, successive_halving
from search.ranks import ALONE, Ranks
from search.records import picture_title, search_config, search_identity, search_versions
from search.run_folder import (
    ARCH,
    CANDIDATES,
    CONFIG,
    PICTURE,
    clear_run,
    refuse_foreign_arch,
    refuse_supernet,
)
from search.run_log import RunLog
from search.settings import HalvingSettings
from search.words import Proposer


def run_candidate_search(
    space: Space,
    lut: Lut,
    data: FoldData,
    settings: HalvingSettings,
    *,
    method: Proposer,
    budget_ms: float,
    folder: Path,
    device: torch.device,
    advance: Callable[[int, int], None] | None = None,
    restart: bool = False,
    ranks: Ranks = ALONE,
) -> HalvingResult:
    """Search by training candidates, or continue such a search.

    Args:
        space: to search.
        lut: prices of the device that will run the network.
        data: of the fold; only its training patients are used.
        settings: of the search.
        method: where candidates come from: drawn at random, or by regularised evolution.
        budget_ms: every candidate's estimate stays within it.
        folder: of the run.
        device: where to compute.
        advance: called with (epochs done, epochs in all).
        restart: throw away what the folder holds.
        ranks: processes that share the work; the first alone writes.

    Raises:
        BadInputError: too few networks fit the budget, or the folder holds another search.
    """
    ranks.from_main(lambda: prepare_candidates(folder, restart=restart))
    propose = _proposer(space, lut, settings, method, budget_ms)
    identity = search_identity(space, lut, data, {"method": method, "budget_ms": budget_ms, **settings.to_dict()})
    start = time.monotonic()
    with RunLog(folder, first_epoch=0, name="search", write=ranks.is_main) as log:
        log.line(f"{method} search among {settings.candidates} networks within {budget_ms:g} ms")
        result = successive_halving(
            propose,
            data,
            settings,
            rounds=settings.rounds,
            folder=folder,
            identity=identity,
            device=device,
            advance=advance,
            ranks=ranks,
        )
        arch = _with_records(result, lut, data, settings, method, budget_ms)
        config = search_config(
            space,
            lut,
            identity,
            budget_ms=budget_ms,
            device=device,
            weight_patients=patients_of(result.trained_on),
            arch_patients=patients_of(result.scored_on),
        )
        if ranks.is_main:
            write_json(folder / CONFIG, config)
            draw_arch(folder / PICTURE, arch, title=picture_title(arch, lut, budget_ms))
            save_arch(folder / ARCH, arch)
        log.line(
            f"kept {arch.digest}, Dice {result.score:.3f} on the other half of the {data.kind(data.train)},"
            f" {time.monotonic() - start:.0f} s"
        )
    return dataclasses.replace(result, arch=arch)


def prepare_candidates(folder: Path, *, restart: bool) -> None:
    """Make sure that a run folder, whose record is candidates.json, can be begun or continued.

    Raises:
        BadInputError: it cannot be written, or holds another search or its network.
    """
    check_writable(folder / ARCH)
    if restart:
        clear_run(folder)
    refuse_supernet(folder)
    refuse_foreign_arch(folder, CANDIDATES)


def _proposer(space: Space, lut: Lut, settings: HalvingSettings, method: Proposer, budget_ms: float) -> Propose:
    def estimate_ms(arch: Arch) -> float:
        return estimate(arch, lut).ms

    if method == "evolution":
        return Evolution(space, settings, budget_ms=budget_ms, estimate_ms=estimate_ms).propose
    drawn = draw_candidates(space, settings, settings.candidates, budget_ms=budget_ms, estimate_ms=estimate_ms)
    return lambda scored: drawn[len(scored)]


def _with_records(
    result: HalvingResult, lut: Lut, data: FoldData, settings: HalvingSettings, method: Proposer, budget_ms: float
) -> Arch:
    provenance: dict[str, Any] = {
        "method": method,
        "seed": settings.seed,
        "versions": search_versions(result.arch.space.ops),
        "rounds": [list(one) for one in settings.rounds],
        "candidate": dict(result.arch.provenance),
        "dice_on_the_other_half": round(result.score, 4),
        "budget_ms": budget_ms,
        "budget_met": True,
        "data": data.digest,
        "fold": "all" if data.fold is None else data.fold,
        "seen_patients": [record.to_dict() for record in data.seen],
    }
    return dataclasses.replace(result.arch, estimate=estimate_record(result.arch, lut), provenance=provenance)
