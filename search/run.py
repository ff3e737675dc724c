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

from cinert.arch import Arch, save_arch
from cinert.files import check_writable, write_json
from cinert.paths import walk
from cinert.resume import refuse_other_settings
from latency.cost import SpaceCosts
from search.checkpoint import Checkpoint
from search.decode import Decoded, decode
from search.draw import draw_arch
from search.fastest import fastest_arch
from search.genetic import GeneticSettings
from search.lagrangian import charged, least_multiplier
from search.loop import Search, read_supernet
from search.pareto import decode_cheaper
from search.problem import RunContext, SearchProblem
from search.records import picture_title, problem_identity, search_config, search_provenance
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


def run_identity(problem: SearchProblem, settings: SearchSettings) -> dict[str, Any]:
    """What a run has to share with one that it continues."""
    told = settings.to_dict()
    if not settings.reads_paths:
        # Any number of them can be decoded from one search.
        del told["paths"]
    return problem_identity(problem, told)


def run_search(
    problem: SearchProblem,
    settings: SearchSettings,
    context: RunContext,
    *,
    cheaper: int = 0,
    write: bool = True,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> SearchResult:
    """Search, or continue a search, and decode.

    Args:
        problem: the decoded union's estimate has to stay within its budget; with the loss `lagrangian` its upper end.
        settings: of the search; a finished one can be decoded again by another decoder.
        context: where it runs.
        cheaper: smaller budgets that networks are decoded for as well (`search.pareto`).
        write: the decoded network and its picture; not where another is chosen later (`search.selection`).
        on_epoch: called after each epoch, once its checkpoint is on disk.

    Raises:
        BackendUnavailableError: the device has not the settings' precision.
        BadInputError: the LUT lacks a part of the space, the settings aim at another budget, or the folder holds
            another search.
    """
    problem = problem.relaxed_as(settings)
    identity = run_identity(problem, settings)
    search, resumed_at = _begun(problem, settings, context, identity)
    folder, ranks = context.folder, context.ranks
    steps = search.steps_per_epoch()
    total, done = steps * settings.epochs, steps * search.next_epoch

    def step_done(steps: int = 1) -> None:
        nonlocal done
        done += steps
        context.progress("searching", done, total)

    step_done(0)
    with RunLog(folder, first_epoch=resumed_at, name="search", write=ranks.is_main) as log:
        log.line(f"computing on {ranks.size} x {context.device}, mixed precision {search.precision.name}")
        while not search.finished:
            report = search.run_epoch(step_done)
            if ranks.is_main:
                search.save(folder / SUPERNET, identity)
            log.metrics(report.epoch, report.metrics())
            if on_epoch is not None:
                on_epoch(report)

        def decode_at(ms: float) -> Decoded:
            return ranks.from_main(lambda: decode_search(search, problem, settings, ms))

        decoded = decode_at(problem.budget_ms)
        log.line(f"decoded {len(decoded.arch.paths)} paths, {decoded.arch.estimate}, budget_met {decoded.budget_met}")
        more: tuple[Decoded, ...] = ()
        if cheaper:
            needed_ms = problem.held_ms(settings)
            more = decode_cheaper(
                decode_at,
                needed_ms,
                least_ms=needed_ms(fastest_arch(problem.space, problem.lut)),
                most_ms=min(needed_ms(decoded.arch), problem.budget_ms),
                count=cheaper,
            )
        if write and ranks.is_main:
            draw_arch(folder / PICTURE, decoded.arch, title=picture_title(decoded.arch, problem))
            save_arch(folder / ARCH, decoded.arch)
            # Chosen by an earlier command, among networks that this one did not compare.
            shutil.rmtree(folder / FRONT, ignore_errors=True)
    return SearchResult(decoded, folder, resumed_at, more)


def _begun(
    problem: SearchProblem, settings: SearchSettings, context: RunContext, identity: dict[str, Any]
) -> tuple[Search, int]:
    """The search as the run folder left it, with its set-up on disk, and how many epochs were done."""
    costs = SpaceCosts.from_lut(problem.lut, problem.space)
    folder, ranks = context.folder, context.ranks
    begun = ranks.from_main(lambda: prepare_run(folder, identity, restart=context.restart))

    def upper_share(arch: Arch) -> float:
        return problem.high_ms(arch) / problem.ms(arch)

    search = Search(
        problem.space, costs, problem.data.train, settings, context.device, upper_share=upper_share, ranks=ranks
    )
    if begun is not None:
        search.restore(begun)
    config = search_config(
        problem.space,
        problem.lut,
        identity,
        budget_ms=problem.budget_ms,
        device=context.device,
        weight_patients=search.weight_patients,
        arch_patients=search.arch_patients,
        decoder=settings.decoder,
    )
    if ranks.is_main:
        write_json(folder / CONFIG, config)
    return search, search.next_epoch


def decode_search(search: Search, problem: SearchProblem, settings: SearchSettings, budget_ms: float) -> Decoded:
    """Decode a finished search within a budget, with the estimate and where the network comes from.

    Args:
        search: that is finished.
        problem: that it solves.
        settings: its own, perhaps with other paths and another decoder.
        budget_ms: to decode for.
    """
    hard = settings.loss == "lagrangian"
    charge = _priced(search, problem, settings.paths, budget_ms) if settings.holds_budget else contextlib.nullcontext()
    with charge:
        decoded = decode(
            search.architecture,
            paths=settings.paths,
            decoder=settings.decoder,
            budget_ms=budget_ms,
            estimate_ms=problem.held_ms(settings),
            genetic=GeneticSettings(seed=settings.seed),
        )
    if hard and not decoded.budget_met:
        decoded = _fastest(search, problem, budget_ms)
    arch = dataclasses.replace(
        decoded.arch,
        estimate=problem.estimated(decoded.arch).record(problem.lut),
        provenance=search_provenance(decoded, problem.data, settings, budget_ms, search.entropies()),
    )
    return dataclasses.replace(decoded, arch=arch)


def _fastest(search: Search, problem: SearchProblem, budget_ms: float) -> Decoded:
    """The fastest network of the space, where nothing that the architecture prefers is within a hard budget."""
    arch = fastest_arch(search.space, problem.lut)
    logs = dict(zip(search.costs.edges, search.architecture.log_edges().tolist(), strict=True))
    return Decoded(
        arch=arch,
        probabilities=tuple(math.exp(math.fsum(logs[edge] for edge in walk(path))) for path in arch.paths),
        paths_passed_over=0,
        cells_passed_over=0,
        budget_met=problem.high_ms(arch) <= budget_ms,
        is_fastest=True,
    )


def _priced(search: Search, problem: SearchProblem, paths: int, budget_ms: float) -> AbstractContextManager[None]:
    """The architecture charged for latency just enough for the most probable network to be within a budget."""
    architecture, prices = search.architecture, search.prices()

    def upper_ms(multiplier: float) -> float:
        with charged(architecture, prices, multiplier):
            return problem.high_ms(decode(architecture, paths=paths).arch)

    return charged(architecture, prices, least_multiplier(upper_ms, budget_ms))
