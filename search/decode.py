"""From architecture parameters to an architecture (Zeng 2020, Sec. 3.5; Lu 2022, Sec. 2.1), within a budget."""

from __future__ import annotations

import functools
import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cinert.arch import Arch, CellGenotype
from cinert.errors import BadInputError
from cinert.paths import CELL_KINDS, CellKind, Path, count_paths, legal_edges, walk
from search.decode_cells import ranked_cells
from search.decoders import DecodeTask, decoder_of
from search.genetic import PAPER, GeneticSettings, fittest_paths, require_genes
from search.longest import cheapest_paths, require_paths
from search.relaxation import ArchParameters
from search.words import DecoderName

# Beyond these, paths and cells are too improbable to be worth what they add.
PATHS = 40
CELLS = 400

EstimateMs = Callable[[Arch], float]
Cells = dict[CellKind, CellGenotype]
RankedPaths = list[tuple[Path, float]]
"""Paths and their log-probabilities, most probable first."""
RankedCells = Mapping[CellKind, list[tuple[CellGenotype, float]]]


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A decoded architecture and how it came about."""

    arch: Arch
    probabilities: tuple[float, ...]
    """Product of beta along each kept path."""
    paths_passed_over: int
    """More probable paths that were left out because the union with them would miss the budget or be slower."""
    cells_passed_over: int
    """More probable sets of cells that were left out because the network with them would miss the budget."""
    budget_met: bool | None
    """Whether the estimate stays within the budget; None without a budget."""
    is_fastest: bool = False
    """Whether it is the fastest network of the space, taken because nothing more probable is within the budget."""


def decode(
    parameters: ArchParameters,
    *,
    paths: int,
    decoder: DecoderName = "longest",
    budget_ms: float | None = None,
    estimate_ms: EstimateMs | None = None,
    genetic: GeneticSettings | None = None,
) -> Decoded:
    """Decode the most probable cells and n paths.

    - `longest`: the n most probable paths, and with a budget the most probable that fit it. Without a binding budget:
      cells by argmax, paths exactly the top n (Zeng 2020). Where it binds, sets of cells are tried in the order of
      their probability, each with the paths that fit, in the order of theirs; kept is what has the largest product of
      the cells' probability and the summed probability of the paths. If nothing fits, the most probable path with the
      most probable cells is kept, and `budget_met` is False.
    - `dijkstra`: the n shortest paths by the sum of minus log beta, whatever they cost (MS-NAS); they are the n most
      probable, and found by the same code.
    - `genetic`: of a pool of the most probable paths the n whose union is fastest (Lu 2022, Sec. 2.3).
    - that of a package, or `module:function`: what it gives (`search.decoders`).

    Args:
        parameters: alpha, gamma and beta.
        paths: n, how many paths to keep; `longest` keeps fewer where the budget demands it.
        decoder: how to choose them.
        budget_ms: latency of the union on the LUT's device.
        estimate_ms: estimate of an architecture; needed with a budget.
        genetic: settings of the genetic algorithm, the paper's if None.

    Raises:
        BadInputError: more paths than exist, or than the genetic decoder chooses from; or what a package's decoder
            gives is no network of the space, of at most n paths.
        ValueError: a budget without an estimate, or any decoder but `longest` and `dijkstra` without both.
    """
    if (budget_ms is None) != (estimate_ms is None):
        raise ValueError("a budget needs an estimate, and an estimate a budget")
    if decoder not in {"longest", "dijkstra"} and estimate_ms is None:
        raise ValueError(f"the decoder {decoder} needs an estimate")
    evolved = genetic or PAPER
    if (found := decoder_of(decoder)).decode is not None:
        assert budget_ms is not None
        assert estimate_ms is not None
        require_paths(parameters.space, paths)
        task = DecodeTask(
            parameters=parameters, paths=paths, budget_ms=budget_ms, estimate_ms=estimate_ms, seed=evolved.seed
        )
        return _decoded_by(decoder, found.decode(task), task)
    if decoder == "genetic":
        require_genes(paths, evolved)
    space = parameters.space
    require_paths(space, paths)
    # One more than n, since the path of skips may have to make room.
    existing = count_paths(space.layers, space.scales)[0, 0]
    looked_at = {"longest": 0 if budget_ms is None else PATHS, "dijkstra": 0, "genetic": evolved.pool + 1}[decoder]
    wanted = min(existing, max(paths + 1, looked_at))
    # Logarithms: of a path that a large multiplier charges for, the probability itself is zero in floating point.
    costs = (-parameters.log_edges().detach().double()).tolist()
    candidates = [(path, -cost) for path, cost in cheapest_paths(space, costs, wanted)]
    ranked = {kind: ranked_cells(parameters, kind) for kind in CELL_KINDS}
    top = {kind: cells[0][0] for kind, cells in ranked.items()}

    def build(cells: Cells, chosen: Sequence[Path]) -> Arch:
        return Arch(space=space, cells=cells, paths=tuple(chosen))

    def decoded(cells: Cells, chosen: Sequence[Path], *, cells_passed_over: int, met: bool | None) -> Decoded:
        logs = dict(candidates)
        more_probable = [path for path, log in candidates if log > logs[chosen[-1]] and path not in chosen]
        return Decoded(
            arch=build(cells, chosen),
            probabilities=tuple(math.exp(logs[path]) for path in chosen),
            paths_passed_over=len([path for path in more_probable if paths > 1 or not _only_skips([path])]),
            cells_passed_over=cells_passed_over,
            budget_met=met,
        )

    if budget_ms is None or estimate_ms is None:
        return decoded(top, _pick(candidates, paths, fits=lambda _: True), cells_passed_over=0, met=None)
    limit, price = budget_ms, estimate_ms
    if decoder != "longest":
        chosen = _pick(candidates, paths, fits=lambda _: True)
        if decoder == "genetic":
            pool = [path for path, _ in candidates if paths > 1 or not _only_skips([path])][: evolved.pool]
            chosen = fittest_paths(pool, paths, lambda some: price(build(top, some)), evolved)
        return decoded(top, chosen, cells_passed_over=0, met=price(build(top, chosen)) <= limit)
    best = _best_within(candidates, ranked, paths, fits=lambda cells, chosen: price(build(cells, chosen)) <= limit)
    if best is None:
        first = next(path for path, _ in candidates if not _only_skips([path]))
        return decoded(top, [first], cells_passed_over=0, met=False)
    cells, chosen, rank = best
    return decoded(cells, chosen, cells_passed_over=rank, met=True)


def _decoded_by(decoder: DecoderName, arch: Any, task: DecodeTask) -> Decoded:
    """What the decoder of a package gave, held against what was asked for."""
    parameters, paths = task.parameters, task.paths
    if not isinstance(arch, Arch) or arch.space != parameters.space or not 1 <= len(arch.paths) <= paths:
        given = f"{len(arch.paths)} paths of {arch.space.name}" if isinstance(arch, Arch) else repr(arch)[:80]
        raise BadInputError(
            f"the decoder {decoder} gave {given}, expected an Arch of space {parameters.space.name} with 1 to {paths}"
            " paths.",
            hint="mend it, or take another --decoder.",
        )
    space = parameters.space
    logs = dict(zip(legal_edges(space.layers, space.scales), parameters.log_edges().tolist(), strict=True))
    return Decoded(
        arch=arch,
        probabilities=tuple(math.exp(math.fsum(logs[edge] for edge in walk(path))) for path in arch.paths),
        paths_passed_over=0,
        cells_passed_over=0,
        budget_met=task.estimate_ms(arch) <= task.budget_ms,
    )


def _best_within(
    candidates: RankedPaths, ranked: RankedCells, paths: int, *, fits: Callable[[Cells, list[Path]], bool]
) -> tuple[Cells, list[Path], int] | None:
    """The most probable cells and paths that fit, and how many likelier sets of cells do not; None if nothing fits."""
    logs = dict(candidates)

    def log_sum(chosen: list[Path]) -> float:
        most_probable = max(logs[path] for path in chosen)
        return most_probable + math.log(sum(math.exp(logs[path] - most_probable) for path in chosen))

    computing = [(path, log) for path, log in candidates if not _only_skips([path])]
    most = log_sum(_pick(candidates, paths, fits=lambda _: True))
    best, best_score = None, -math.inf
    for rank, (cells, log_cells) in enumerate(itertools.islice(_by_probability(ranked), CELLS)):
        # What follows is no more probable, whatever paths fit.
        if log_cells + most <= best_score:
            break
        fits_with = functools.partial(fits, cells)
        # What joins the path of skips is added to it, which costs time; without it, a path may fit.
        chosen = _pick(candidates, paths, fits=fits_with) or _pick(computing, paths, fits=fits_with)
        if chosen and log_cells + log_sum(chosen) > best_score:
            best, best_score = (cells, chosen, rank), log_cells + log_sum(chosen)
    return best


def _pick(candidates: RankedPaths, paths: int, *, fits: Callable[[list[Path]], bool]) -> list[Path]:
    """Take paths in their order, those whose union with the ones taken fits; nothing if only skips are left.

    A union of skips alone computes nothing: its price counts once another path joins it.
    """
    chosen: list[Path] = []
    for path, _ in candidates:
        if len(chosen) == paths:
            break
        if _only_skips([path]) and not chosen:
            if paths > 1:
                chosen.append(path)
        elif fits([*chosen, path]):
            chosen.append(path)
    return [] if _only_skips(chosen) else chosen


def _only_skips(paths: Sequence[Path]) -> bool:
    return all(kind == "skip" for path in paths for kind in path)


def _by_probability(ranked: RankedCells) -> Iterator[tuple[Cells, float]]:
    """Sets of one cell per kind and their log-probabilities, most probable first."""
    kinds = list(ranked)

    def log_probability(ranks: tuple[int, ...]) -> float:
        return sum(ranked[kind][rank][1] for kind, rank in zip(kinds, ranks, strict=True))

    start = (0,) * len(kinds)
    waiting = [(-log_probability(start), start)]
    seen = {start}
    while waiting:
        negative, ranks = heapq.heappop(waiting)
        yield {kind: ranked[kind][rank][0] for kind, rank in zip(kinds, ranks, strict=True)}, -negative
        for position, kind in enumerate(kinds):
            if ranks[position] + 1 < len(ranked[kind]):
                following = (*ranks[:position], ranks[position] + 1, *ranks[position + 1 :])
                if following not in seen:
                    seen.add(following)
                    heapq.heappush(waiting, (-log_probability(following), following))
