"""The genetic decoder against brute force, and Dijkstra's against the longest paths."""

import itertools

import numpy as np
import pytest

from cinert.arch import Arch
from cinert.errors import BadInputError
from cinert.paths import union
from latency.estimate import estimate
from search.decode import decode
from search.genetic import GeneticSettings, _crossover, _mutate, fittest_paths
from search.longest import longest_paths
from search.relaxation import ArchParameters


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [1, 2, 3, 7, 10])
def test_it_finds_the_fastest_union_of_the_pool(either, randomised, lut, n, seed):
    parameters = randomised(ArchParameters(either), seed)
    found = decode(
        parameters, paths=n, decoder="genetic", budget_ms=50.0, estimate_ms=lambda arch: estimate(arch, lut).ms
    )
    ranked = longest_paths(either, parameters.log_edges().detach().double().tolist(), 11)
    pool = [path for path, _ in ranked if n > 1 or set(path) != {"skip"}][:10]
    fastest = min(
        estimate(Arch(space=either, cells=found.arch.cells, paths=paths), lut).ms
        for paths in itertools.combinations(pool, n)
    )
    assert estimate(found.arch, lut).ms == pytest.approx(fastest)
    assert list(found.arch.paths) == [path for path in pool if path in found.arch.paths]
    assert found.budget_met == (fastest <= 50.0)


def test_the_same_seed_chooses_the_same_among_equals(tiny, randomised):
    pool = [path for path, _ in longest_paths(tiny, ArchParameters(tiny).log_edges().tolist(), 10)]
    settings = GeneticSettings(seed=3)
    found = [fittest_paths(pool, 4, lambda paths: float(len(union(paths))), settings) for _ in range(2)]
    assert found[0] == found[1]
    assert len(set(found[0])) == 4


def test_crossover_and_mutation_keep_the_genes_different_and_in_order():
    rng = np.random.default_rng(0)
    for _ in range(200):
        first, second = (tuple(sorted(rng.choice(10, 4, replace=False).tolist())) for _ in range(2))
        children = _crossover(first, second, rng)
        assert sorted([*children[0], *children[1]]) == sorted([*first, *second])
        for child in (*children, _mutate(first, 10, rng)):
            assert list(child) == sorted(set(child))
            assert len(child) == 4
        assert len(set(_mutate(first, 10, rng)) - set(first)) == 1


def test_more_paths_than_the_pool_has_are_refused(tiny):
    with pytest.raises(BadInputError, match="11 paths asked for, and the genetic decoder chooses from the 10"):
        decode(ArchParameters(tiny), paths=11, decoder="genetic", budget_ms=5.0, estimate_ms=lambda _: 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_dijkstra_takes_the_most_probable_paths_whatever_they_cost(either, randomised, lut, seed):
    parameters = randomised(ArchParameters(either), seed)
    ranked = longest_paths(either, parameters.log_edges().detach().double().tolist(), 3)
    found = decode(
        parameters, paths=3, decoder="dijkstra", budget_ms=3.0, estimate_ms=lambda arch: estimate(arch, lut).ms
    )
    assert found.arch.paths == tuple(path for path, _ in ranked)
    assert found.probabilities == pytest.approx([probability for _, probability in ranked])
    assert found.budget_met is False
    assert decode(parameters, paths=3, decoder="dijkstra").arch == decode(parameters, paths=3).arch
