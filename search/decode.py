"""From architecture parameters to an architecture (Zeng 2020, Sec. 3.5; Lu 2022, Sec. 2.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cinert.arch import Arch, CellGenotype, NodeEdge, live_edges, yields_nothing
from cinert.paths import CELL_KINDS, CellKind, Path, count_paths
from cinert.space import Space
from search.longest import longest_paths, require_paths
from search.relaxation import ArchParameters

# Beyond these, paths are too improbable to be worth what they add.
CANDIDATES = 100

EstimateMs = Callable[[Arch], float]


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A decoded architecture and how it came about."""

    arch: Arch
    probabilities: tuple[float, ...]
    """Product of beta along each kept path."""
    passed_over: int
    """More probable paths that were left out because the union with them would miss the budget."""
    budget_met: bool | None
    """Whether the estimate stays within the budget; None without a budget."""


def decode(
    parameters: ArchParameters,
    *,
    paths: int,
    budget_ms: float | None = None,
    estimate_ms: EstimateMs | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Decoded:
    """Decode cells by argmax and keep the most probable paths whose union stays within the budget.

    Paths are taken in order of their probability. One whose union with those already taken would miss the budget is
    passed over. Where the budget does not bind, this is exactly the top n. If nothing fits, the most probable path
    is kept, and `budget_met` is False.

    Args:
        parameters: alpha, gamma and beta.
        paths: n, how many paths to keep at most.
        budget_ms: latency of the union on the LUT's device.
        estimate_ms: estimate of an architecture; needed with a budget.
        provenance: recorded in the architecture.

    Raises:
        BadInputError: more paths than exist.
        ValueError: a budget without an estimate.
    """
    if (budget_ms is None) != (estimate_ms is None):
        raise ValueError("a budget needs an estimate, and an estimate a budget")
    space = parameters.space
    require_paths(space, paths)
    cells = {kind: decode_cell(parameters, kind) for kind in CELL_KINDS}

    def build(chosen: list[Path]) -> Arch:
        return Arch(space=space, cells=cells, paths=tuple(chosen), provenance=dict(provenance or {}))

    def fits(chosen: list[Path]) -> bool:
        # A union of skips alone computes nothing: its price counts once another path joins it.
        return (
            budget_ms is None or estimate_ms is None or _only_skips(chosen) or estimate_ms(build(chosen)) <= budget_ms
        )

    # One more than n, since the path of skips may have to make room.
    existing = count_paths(space.layers, space.scales)[0, 0]
    wanted = min(existing, paths + 1 if budget_ms is None else max(paths + 1, CANDIDATES))
    candidates = longest_paths(space, parameters.log_edges().detach().double().tolist(), wanted)
    chosen: list[Path] = []
    passed_over = 0
    for path, _ in candidates:
        if len(chosen) == paths or (paths == 1 and _only_skips([path])):
            continue
        if fits([*chosen, path]):
            chosen.append(path)
        else:
            passed_over += 1
    met: bool | None = None if budget_ms is None else True
    if _only_skips(chosen):
        chosen = [next(path for path, _ in candidates if not _only_skips([path]))]
        met = False
    probability = dict(candidates)
    return Decoded(
        arch=build(chosen),
        probabilities=tuple(probability[path] for path in chosen),
        passed_over=passed_over,
        budget_met=met,
    )


def _only_skips(paths: list[Path]) -> bool:
    return all(kind == "skip" for path in paths for kind in path)


def decode_cell(parameters: ArchParameters, kind: CellKind) -> CellGenotype:
    """Choose one (input, op) pair for each node; `zero` leaves the node empty.

    A cell that would yield nothing is decoded again without `zero`. Edges that carry only zeros are dropped.
    """
    space = parameters.space
    cell = _choose(parameters, kind, banned=None)
    if yields_nothing(cell):
        cell = _choose(parameters, kind, banned=space.ops.index("zero"))
    return live_edges(cell)


def _choose(parameters: ArchParameters, kind: CellKind, *, banned: int | None) -> CellGenotype:
    alpha = parameters.alpha[kind].detach().clone()
    if banned is not None:
        alpha[:, banned] = -torch.inf
    gamma = parameters.gamma[kind].detach() if kind in parameters.gamma else None
    cell: list[tuple[NodeEdge, ...]] = []
    for node in range(parameters.space.nodes):
        first = node * (node + 1) // 2
        rows = slice(first, first + node + 1)
        input_, column = _pair(alpha[rows], None if gamma is None else gamma[rows], parameters.space)
        op = parameters.space.ops[column]
        cell.append(() if op == "zero" else (NodeEdge(input_, op),))
    return tuple(cell)


def _pair(alpha: Tensor, gamma: Tensor | None, space: Space) -> tuple[int, int]:
    """Best (input, op column) of a node; the first of equal ones."""
    if gamma is None:
        return divmod(int(alpha.flatten().argmax()), len(space.ops))
    input_ = int(gamma.argmax())
    return input_, int(alpha[input_].argmax())
