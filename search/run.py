"""A search from its data to RUN/arch.yaml, with its run folder, checkpoints and resumption."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cinert.arch import Arch, save_arch
from cinert.files import check_writable, write_json
from cinert.paths import walk
from cinert.resume import refuse_other_settings
from cinert.space import Space
from latency.cost import SpaceCosts
from latency.estimate import estimate, estimate_record
from latency.lut import Lut
from search.checkpoint import Checkpoint
from search.data import FoldData
from search.decode import Decoded, decode
from search.draw import draw_arch
from search.fastest import fastest_arch
from search.genetic import GeneticSettings
from search.lagrangian import charged, least_multiplier
from search.loop import Search, read_supernet
from search.pareto import decode_cheaper
from search.ranks import ALONE, Ranks
from search.records import picture_title, search_config, search_identity, search_provenance
from search.run_folder import ARCH, CONFIG, FRONT, PICTURE, SUPERNET, clear_run, refuse_foreign_arch
from search.run_log import RunLog
from search.settings import EpochReport, SearchSettings


@dataclass(frozen=True)
class SearchResult:
    """What a search wrote."""

    decoded: Decoded
    folder: Path
    resumed_at: int
    """Epochs that were already done when this run began."""
    cheaper: tuple[Decoded, ...] = ()
    """Networks of smaller budgets."""


def prepare_run(folder: Path, identity: dict[str, Any], *, restart: bool) -> Checkpoint | None:
    """Make the run folder, or make sure that what lies there can be continued.

    Returns:
        The state to go on from; None where there is none.

    Raises:
        BadInputError: the folder cannot be written, or holds a search with other settings.
    """
    check_writable(folder / ARCH)
    supernet = folder / SUPERNET
    if restart:
        clear_run(folder)
    elif supernet.exists():
        begun = read_supernet(supernet)
        refuse_other_settings(folder, begun.values.get("identity", {}), identity)
        return begun
    else:
        refuse_foreign_arch(folder, SUPERNET)
    return None


def run_identity(space: Space, lut: Lut, data: FoldData, settings: SearchSettings) -> dict[str, Any]:
    """What a run has to share with one that it continues."""
    told = settings.to_dict()
    if not settings.reads_paths:
        # Any number of them can be decoded from one search.
        del told["paths"]
    return search_identity(space, lut, data, told)


def run_search(
    space: Space,
    lut: Lut,
    data: FoldData,
    settings: SearchSettings,
    *,
    budget_ms: float,
    cheaper: int = 0,
    write: bool = True,
    folder: Path,
    device: torch.device,
    advance: Callable[[int, int], None] | None = None,
    restart: bool = False,
    on_epoch: Callable[[EpochReport], None] | None = None,
    ranks: Ranks = ALONE,
) -> SearchResult:
    """Search, or continue a search, and decode.

    Args:
        space: to search.
        lut: prices of the device that will run the network.
        data: of the fold; only its training patients are used.
        settings: of the search.
        budget_ms: the decoded union's estimate has to stay within it; with the loss `lagrangian` its upper end.
        cheaper: smaller budgets that networks are decoded for as well (`search.pareto`).
        write: the decoded network and its picture; not where another is chosen later (`search.selection`).
        folder: of the run.
        device: where to compute.
        advance: called with (steps done, steps in all).
        restart: throw away what the folder holds.
        on_epoch: called after each epoch, once its checkpoint is on disk.
        ranks: processes that share the work; the first alone writes.

    Raises:
        BackendUnavailableError: the device has not the settings' precision.
        BadInputError: the LUT lacks a part of the space, or the folder holds another search.
    """
    costs = SpaceCosts.from_lut(lut, space)
    identity = run_identity(space, lut, data, settings)
    begun = ranks.from_main(lambda: prepare_run(folder, identity, restart=restart))
    search = Search(
        space, costs, data.train, settings, device, upper_share=lambda arch: _upper_share(arch, lut), ranks=ranks
    )
    if begun is not None:
        search.restore(begun)
    resumed_at = search.next_epoch
    config = search_config(
        space,
        lut,
        identity,
        budget_ms=budget_ms,
        device=device,
        weight_patients=search.weight_patients,
        arch_patients=search.arch_patients,
        decoder=settings.decoder,
    )
    if ranks.is_main:
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
    with RunLog(folder, first_epoch=resumed_at, name="search", write=ranks.is_main) as log:
        log.line(f"computing on {ranks.size} x {device}, mixed precision {search.precision.name}")
        while not search.finished:
            report = search.run_epoch(step_done)
            if ranks.is_main:
                search.save(folder / SUPERNET, identity)
            log.metrics(report.epoch, report.metrics())
            if on_epoch is not None:
                on_epoch(report)

        def decode_at(ms: float) -> Decoded:
            return ranks.from_main(lambda: decode_search(search, lut, data, settings, ms))

        decoded = decode_at(budget_ms)
        log.line(f"decoded {len(decoded.arch.paths)} paths, {decoded.arch.estimate}, budget_met {decoded.budget_met}")
        more: tuple[Decoded, ...] = ()
        if cheaper:

            def needed_ms(arch: Arch) -> float:
                return _counted_ms(arch, lut, settings)

            more = decode_cheaper(
                decode_at,
                needed_ms,
                least_ms=needed_ms(fastest_arch(space, lut)),
                most_ms=min(needed_ms(decoded.arch), budget_ms),
                count=cheaper,
            )
        if write and ranks.is_main:
            draw_arch(folder / PICTURE, decoded.arch, title=picture_title(decoded.arch, lut, budget_ms))
            save_arch(folder / ARCH, decoded.arch)
            # Chosen by an earlier command, among networks that this one did not compare.
            shutil.rmtree(folder / FRONT, ignore_errors=True)
    return SearchResult(decoded, folder, resumed_at, more)


def _counted_ms(arch: Arch, lut: Lut, settings: SearchSettings) -> float:
    """What is held against a budget: the estimate, or its upper end where the budget is hard."""
    found = estimate(arch, lut)
    return found.high_ms if settings.loss == "lagrangian" else found.ms


def _upper_share(arch: Arch, lut: Lut) -> float:
    """Upper end of the estimate's interval over the estimate."""
    found = estimate(arch, lut)
    return found.high_ms / found.ms


def decode_search(search: Search, lut: Lut, data: FoldData, settings: SearchSettings, budget_ms: float) -> Decoded:
    """Decode a finished search within a budget, with the estimate and where the network comes from.

    Args:
        search: that is finished.
        lut: its prices.
        data: that it saw.
        settings: its own, perhaps with other paths and another decoder.
        budget_ms: to decode for.
    """
    hard = settings.loss == "lagrangian"
    with _priced(search, lut, settings.paths, budget_ms) if settings.holds_budget else contextlib.nullcontext():
        decoded = decode(
            search.architecture,
            paths=settings.paths,
            decoder=settings.decoder,
            budget_ms=budget_ms,
            estimate_ms=lambda arch: _counted_ms(arch, lut, settings),
            genetic=GeneticSettings(seed=settings.seed),
        )
    if hard and not decoded.budget_met:
        decoded = _fastest(search, lut, budget_ms)
    arch = dataclasses.replace(
        decoded.arch,
        estimate=estimate_record(decoded.arch, lut),
        provenance=search_provenance(decoded, data, settings, budget_ms, search.entropies()),
    )
    return dataclasses.replace(decoded, arch=arch)


def _fastest(search: Search, lut: Lut, budget_ms: float) -> Decoded:
    """The fastest network of the space, where nothing that the architecture prefers is within a hard budget."""
    arch = fastest_arch(search.space, lut)
    logs = dict(zip(search.costs.edges, search.architecture.log_edges().tolist(), strict=True))
    return Decoded(
        arch=arch,
        probabilities=tuple(math.exp(math.fsum(logs[edge] for edge in walk(path))) for path in arch.paths),
        paths_passed_over=0,
        cells_passed_over=0,
        budget_met=estimate(arch, lut).high_ms <= budget_ms,
        is_fastest=True,
    )


def _priced(search: Search, lut: Lut, paths: int, budget_ms: float) -> AbstractContextManager[None]:
    """The architecture charged for latency just enough for the most probable network to be within a budget."""
    architecture, prices = search.architecture, search.prices()

    def upper_ms(multiplier: float) -> float:
        with charged(architecture, prices, multiplier):
            return estimate(decode(architecture, paths=paths).arch, lut).high_ms

    return charged(architecture, prices, least_multiplier(upper_ms, budget_ms))
