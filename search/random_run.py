"""A random search from its data to RUN/arch.yaml (`search.halving`), with its run folder and resumption."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cinert.arch import Arch, save_arch
from cinert.files import check_writable
from cinert.space import Space
from latency.estimate import estimate, estimate_record
from latency.lut import Lut
from search.data import FoldData
from search.draw import draw_arch
from search.halving import CANDIDATES, HalvingResult, HalvingSettings, draw_candidates, successive_halving
from search.run import ARCH, PICTURE, refuse_foreign_arch, search_versions
from search.run_log import RunLog


def run_random_search(
    space: Space,
    lut: Lut,
    data: FoldData,
    settings: HalvingSettings,
    *,
    budget_ms: float,
    folder: Path,
    device: torch.device,
    advance: Callable[[int, int], None] | None = None,
    restart: bool = False,
) -> HalvingResult:
    """Search at random, or continue such a search.

    Args:
        space: to search.
        lut: prices of the device that will run the network.
        data: of the fold; only its training patients are used.
        settings: of the search.
        budget_ms: every candidate's estimate stays within it.
        folder: of the run.
        device: where to compute.
        advance: called with (epochs done, epochs in all).
        restart: throw away what the folder holds.

    Raises:
        BadInputError: too few networks fit the budget, or the folder holds another search.
    """
    check_writable(folder / ARCH)
    if restart:
        for name in (CANDIDATES, ARCH, PICTURE):
            (folder / name).unlink(missing_ok=True)
    refuse_foreign_arch(folder, CANDIDATES)
    candidates = draw_candidates(space, settings, budget_ms=budget_ms, estimate_ms=lambda arch: estimate(arch, lut).ms)
    identity = {
        "method": "random",
        "space": f"{space.name} {space.digest}",
        "lut": lut.id,
        "data": data.digest,
        "fold": "all" if data.fold is None else data.fold,
        "budget_ms": budget_ms,
        **settings.to_dict(),
    }
    start = time.monotonic()
    with RunLog(folder, first_epoch=0, name="search") as log:
        log.line(f"random search among {len(candidates)} networks within {budget_ms:g} ms")
        result = successive_halving(
            candidates, data, settings, folder=folder, identity=identity, device=device, advance=advance
        )
        arch = _with_records(result, lut, data, settings, budget_ms)
        title = f"{space.name}: {estimate(arch, lut).ms:.1f} ms estimated on {lut.device_name}, budget {budget_ms:g} ms"
        draw_arch(folder / PICTURE, arch, title=title)
        save_arch(folder / ARCH, arch)
        log.line(f"kept {arch.digest}, Dice {result.score:.3f} on the other half, {time.monotonic() - start:.0f} s")
    return dataclasses.replace(result, arch=arch)


def _with_records(result: HalvingResult, lut: Lut, data: FoldData, settings: HalvingSettings, budget_ms: float) -> Arch:
    provenance: dict[str, Any] = {
        "method": "random",
        "seed": settings.seed,
        "versions": search_versions(),
        "rungs": [list(rung) for rung in settings.rungs],
        "random_arch_seed": result.arch.provenance["seed"],
        "dice_on_the_other_half": round(result.score, 4),
        "budget_ms": budget_ms,
        "budget_met": True,
        "data": data.digest,
        "fold": "all" if data.fold is None else data.fold,
        "seen_patients": [record.to_dict() for record in data.seen],
    }
    return dataclasses.replace(result.arch, estimate=estimate_record(result.arch, lut), provenance=provenance)
