"""Choosing paths by a genetic algorithm (Lu 2022, Sec. 2.3).

A gene is a path, an individual a set of n paths from a pool of the most probable ones, and its fitness the latency of
their union. Crossover exchanges genes of two individuals, mutation replaces one by another of the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cinert.errors import BadInputError
from cinert.paths import Path

Genes = tuple[int, ...]
"""Positions in the pool, in its order, so that no set of paths stands twice."""


@dataclass(frozen=True, kw_only=True)
class GeneticSettings:
    """Sizes as in Lu 2022, Sec. 3.1; the paper leaves the rates and the selection open."""

    pool: int = 10
    """Most probable paths that genes are taken from."""
    population: int = 20
    """Individuals."""
    generations: int = 100
    """Rounds of crossover, mutation and selection."""
    mutation_rate: float = 0.3
    """Share of children of which a gene is replaced."""
    seed: int = 0
    """Of everything drawn."""


PAPER = GeneticSettings()


def require_genes(n: int, settings: GeneticSettings = PAPER) -> None:
    """Refuse more paths than the pool has genes.

    Raises:
        BadInputError: naming both numbers.
    """
    if n > settings.pool:
        raise BadInputError(
            f"{n} paths asked for, and the genetic decoder chooses from the {settings.pool} most probable.",
            hint=f"give --paths of at most {settings.pool}, or another --decoder.",
        )


def fittest_paths(
    pool: Sequence[Path], n: int, latency_ms: Callable[[list[Path]], float], settings: GeneticSettings
) -> list[Path]:
    """Find the `n` paths of the pool whose union is fastest.

    Parents are the faster of two drawn individuals; of parents and children the fastest go on.

    Args:
        pool: paths, most probable first; ties in latency go to the more probable.
        n: paths to take, no more than the pool has.
        latency_ms: of the union of paths.
        settings: how.

    Returns:
        The paths, in the order of the pool.
    """
    rng = np.random.default_rng([settings.seed, 11])
    known: dict[Genes, float] = {}

    def fitness(genes: Genes) -> tuple[float, Genes]:
        if genes not in known:
            known[genes] = latency_ms([pool[gene] for gene in genes])
        return known[genes], genes

    def parent() -> Genes:
        first, second = rng.integers(len(population), size=2)
        return min(population[first], population[second], key=fitness)

    population = [_ordered(rng.choice(len(pool), n, replace=False)) for _ in range(settings.population)]
    for _ in range(settings.generations):
        children: list[Genes] = []
        while len(children) < settings.population:
            for child in _crossover(parent(), parent(), rng):
                mutated = rng.random() < settings.mutation_rate
                children.append(_mutate(child, len(pool), rng) if mutated else child)
        population = sorted({*population, *children}, key=fitness)[: settings.population]
    return [pool[gene] for gene in population[0]]


def _ordered(genes: Sequence[int] | np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Genes:
    return tuple(sorted(int(gene) for gene in genes))


def _crossover(first: Genes, second: Genes, rng: np.random.Generator) -> tuple[Genes, Genes]:
    """Exchange some of the genes that the two do not share."""
    mine, theirs = (rng.permutation(sorted(set(a) - set(b))) for a, b in ((first, second), (second, first)))
    count = int(rng.integers(len(mine) + 1))
    gone, come = {int(gene) for gene in mine[:count]}, {int(gene) for gene in theirs[:count]}
    return _ordered([*(set(first) - gone | come)]), _ordered([*(set(second) - come | gone)])


def _mutate(genes: Genes, pool: int, rng: np.random.Generator) -> Genes:
    others = [gene for gene in range(pool) if gene not in genes]
    if not others:
        return genes
    kept = list(genes)
    kept[int(rng.integers(len(kept)))] = others[int(rng.integers(len(others)))]
    return _ordered(kept)
