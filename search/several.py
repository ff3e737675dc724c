"""Several searches that differ in their seed alone, the best network of which is kept.

Each has a run folder of its own, RUN/seed-K. What they decode is trained on one half of the training patients and
scored on the other half, all alike, because Dice with the weights of different supernets does not compare.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cinert.arch import Arch, save_arch
from cinert.space import Space
from latency.lut import Lut
from search.candidate_run import prepare_candidates
from search.data import FoldData
from search.halving import HalvingSettings, successive_halving
from search.methods import SELECTION_EPOCHS, Decoder
from search.ranks import ALONE, Ranks
from search.records import search_identity
from search.run import ARCH, CONFIG, FRONT, PICTURE, SearchResult, run_search
from search.settings import SearchSettings


@dataclass(frozen=True)
class SeveralResult:
    """The best of several searches."""

    results: list[SearchResult]
    """By seed."""
    best: int
    """Position of the one that was kept."""
    dice: float
    """Its mean Dice on the other half of the training patients."""


def run_several(
    space: Space,
    lut: Lut,
    data: FoldData,
    settings: SearchSettings,
    seeds: int,
    *,
    budget_ms: float,
    decoder: Decoder,
    pareto: int,
    folder: Path,
    device: torch.device,
    advance: Callable[[str, int, int], None],
    restart: bool = False,
    ranks: Ranks = ALONE,
) -> SeveralResult:
    """Search with the settings' seed and those that follow it, or continue, and keep the best network.

    Networks that meet the budget go before those that miss it.

    Args:
        space: to search.
        lut: prices of the device that will run the network.
        data: of the fold; only its training patients are used.
        settings: of the first search.
        seeds: number of searches, two at least.
        budget_ms: as in `run_search`.
        decoder: as in `run_search`.
        pareto: as in `run_search`.
        folder: of the run.
        device: where to compute.
        advance: called with (what, steps done, steps in all).
        restart: throw away what the folder holds.
        ranks: processes that share the work; the first alone writes.

    Raises:
        BadInputError: as `run_search`, or the folder holds another search.
    """
    ranks.from_main(lambda: prepare_candidates(folder, restart=restart))
    results = []
    for number in range(seeds):
        seed = settings.seed + number
        results.append(
            run_search(
                space,
                lut,
                data,
                dataclasses.replace(settings, seed=seed),
                budget_ms=budget_ms,
                decoder=decoder,
                pareto=pareto,
                folder=folder / f"seed-{seed}",
                device=device,
                advance=functools.partial(advance, f"searching, seed {seed}"),
                restart=restart,
                ranks=ranks,
            )
        )
    able = [result for result in results if result.decoded.budget_met] or results
    networks: dict[str, Arch] = {}
    for result in able:
        networks.setdefault(result.decoded.arch.digest, result.decoded.arch)
    distinct = list(networks.values())
    training = HalvingSettings(
        epochs=SELECTION_EPOCHS,
        paths=settings.paths,
        seed=settings.seed,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        amp=settings.amp,
    )
    chosen = successive_halving(
        lambda scored: distinct[len(scored)],
        data,
        training,
        rounds=((len(distinct), SELECTION_EPOCHS),),
        folder=folder,
        identity=search_identity(
            space, lut, data, {**settings.to_dict(), "seeds": seeds, "budget_ms": budget_ms, "decoder": decoder}
        ),
        device=device,
        advance=lambda done, total: advance("comparing", done, total),
        ranks=ranks,
    )
    best = next(number for number, result in enumerate(results) if result.decoded.arch.digest == chosen.arch.digest)
    if ranks.is_main:
        _keep(results[best], folder, {"seeds": seeds, "dice_on_the_other_half": round(chosen.score, 4)})
    return SeveralResult(results, best, chosen.score)


def _keep(result: SearchResult, folder: Path, more: dict[str, Any]) -> None:
    """Put the network, its picture, its front and how it was searched into the run folder."""
    arch = result.decoded.arch
    for name in (PICTURE, CONFIG):
        shutil.copyfile(result.folder / name, folder / name)
    for name in (FRONT, "tensorboard/search"):
        shutil.rmtree(folder / name, ignore_errors=True)
        if (result.folder / name).exists():
            shutil.copytree(result.folder / name, folder / name)
    save_arch(folder / ARCH, dataclasses.replace(arch, provenance={**arch.provenance, **more}))
