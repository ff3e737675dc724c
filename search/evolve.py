"""Regularised evolution under the LUT (Real et al. 2019): children of good candidates, and the oldest die.

Only networks that fit the budget live. The trainings are those of a random search (`search.halving`): evolution only
chooses the candidates of its first round, so that both spend the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from cinert.arch import Arch, CellGenotype, NodeEdge, yields_nothing
from cinert.paths import CELL_KINDS, Path, legal_edges
from cinert.sampling import random_path
from cinert.space import Space
from search.halving import EstimateMs, Scored, draw_candidates, fits
from search.settings import HalvingSettings

POPULATION = 6
"""Youngest candidates that may have children; the first ones are random."""
TOURNAMENT = 3
"""Drawn from the population, the best of which is the parent."""
_TRIES = 2000


class Evolution:
    """Proposes candidates: at first random ones, then mutated winners of a tournament among the youngest.

    Args:
        space: to search.
        settings: of the trainings; seed and floor of the budget are read.
        budget_ms: every candidate's estimate stays within it.
        estimate_ms: of a network.

    Raises:
        BadInputError: too few random networks fit the budget.
    """

    def __init__(self, space: Space, settings: HalvingSettings, *, budget_ms: float, estimate_ms: EstimateMs) -> None:
        self.space, self.settings = space, settings
        self.budget_ms, self.estimate_ms = budget_ms, estimate_ms
        count = min(POPULATION, settings.candidates)
        self._first = draw_candidates(space, settings, count, budget_ms=budget_ms, estimate_ms=estimate_ms)

    def propose(self, scored: Sequence[Scored]) -> Arch:
        """The next candidate, given all before it, oldest first.

        A child that misses the budget or has lived before is drawn again, from another tournament.
        """
        if len(scored) < len(self._first):
            return self._first[len(scored)]
        rng = np.random.default_rng([self.settings.seed, 9, len(scored)])
        youngest, lived = scored[-POPULATION:], {candidate.arch.digest for candidate in scored}
        for _ in range(_TRIES):
            drawn = rng.choice(len(youngest), min(TOURNAMENT, len(youngest)), replace=False)
            parent = max((youngest[int(place)] for place in drawn), key=lambda candidate: candidate.dice)
            child = mutate(parent.arch, rng, paths=self.settings.paths)
            fit = fits(child, self.settings, budget_ms=self.budget_ms, estimate_ms=self.estimate_ms)
            if fit and child.digest not in lived:
                return child
        # A corner that no mutation leaves: start elsewhere.
        more = draw_candidates(
            self.space, self.settings, len(scored) + 1, budget_ms=self.budget_ms, estimate_ms=self.estimate_ms
        )
        return next(arch for arch in more if arch.digest not in lived)


def mutate(arch: Arch, rng: np.random.Generator, *, paths: int) -> Arch:
    """Change one thing: an edge inside a cell, or a path (another, one more, or one fewer).

    Args:
        arch: parent.
        rng: source of randomness.
        paths: to have at most.
    """
    provenance = {"method": "evolution", "parent": arch.digest}
    if rng.random() < 0.5:
        kind = CELL_KINDS[int(rng.integers(len(CELL_KINDS)))]
        cells = {**arch.cells, kind: _mutate_cell(arch.space, arch.cells[kind], rng)}
        return dataclasses.replace(arch, cells=cells, provenance=provenance)
    return dataclasses.replace(arch, paths=_mutate_paths(arch, rng, paths), provenance=provenance)


def _mutate_cell(space: Space, cell: CellGenotype, rng: np.random.Generator) -> CellGenotype:
    while True:
        node, op = int(rng.integers(space.nodes)), space.ops[rng.integers(len(space.ops))]
        edges = () if op == "zero" else (NodeEdge(int(rng.integers(node + 1)), op),)
        changed = (*cell[:node], edges, *cell[node + 1 :])
        if not yields_nothing(changed):
            return changed


def _mutate_paths(arch: Arch, rng: np.random.Generator, most: int) -> tuple[Path, ...]:
    """Add, replace or remove a path; a new one leads through an edge drawn evenly, so that deep ones occur too."""
    edges = legal_edges(arch.space.layers, arch.space.scales)
    while True:
        kept, change = list(arch.paths), rng.choice(["add", "replace", "remove"])
        if change == "replace" or (change == "remove" and len(kept) > 1):
            kept.pop(int(rng.integers(len(kept))))
        if change != "remove" and len(kept) < most:
            kept.append(random_path(arch.space, rng, through=edges[rng.integers(len(edges))]))
        distinct = tuple(dict.fromkeys(kept))
        if any(kind != "skip" for path in distinct for kind in path):
            return distinct
