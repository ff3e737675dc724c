"""Regularised evolution: children within the budget, of good parents, the oldest of which die."""

import numpy as np
import pytest

from cinert.sampling import random_arch
from latency.estimate import estimate
from search.evolve import POPULATION, Evolution, mutate
from search.halving import Scored
from search.settings import HalvingSettings

SETTINGS = HalvingSettings(candidates=18, epochs=6, paths=3)


@pytest.fixture
def evolution(tiny, lut):
    return Evolution(tiny, SETTINGS, budget_ms=30.0, estimate_ms=lambda arch: estimate(arch, lut).ms)


def live(evolution, count, dice):
    """Propose and score one after the other."""
    scored = []
    for _ in range(count):
        arch = evolution.propose(scored)
        scored.append(Scored(arch, dice(arch)))
    return scored


def test_candidates_differ_and_fit_the_budget(evolution, lut):
    scored = live(evolution, 18, lambda arch: int(arch.digest[:4], 16))
    assert len({candidate.arch.digest for candidate in scored}) == 18
    assert all(18.0 <= estimate(candidate.arch, lut).ms <= 30.0 for candidate in scored)
    assert all(candidate.arch.provenance["method"] == "evolution" for candidate in scored[POPULATION:])


def test_parents_win_tournaments_among_the_youngest(evolution):
    scored = live(evolution, 30, lambda arch: int(arch.digest[:4], 16))
    for number in range(POPULATION, 30):
        parent = scored[number].arch.provenance["parent"]
        youngest = scored[number - POPULATION : number]
        assert parent in {candidate.arch.digest for candidate in youngest}
        # The best of three is never among the two worst of six.
        worst = sorted(youngest, key=lambda candidate: candidate.dice)[:2]
        assert parent not in {candidate.arch.digest for candidate in worst}


def test_it_climbs(evolution, lut):
    """Where Dice is a share of separable ops, children have more of them than the first, random ones."""

    def dice(arch):
        ops = [edge.op for cell in arch.cells.values() for edges in cell for edge in edges]
        return ops.count("separable")

    scored = live(evolution, 60, dice)
    assert max(candidate.dice for candidate in scored) >= 4
    assert np.mean([candidate.dice for candidate in scored[-12:]]) > np.mean([c.dice for c in scored[:POPULATION]]) + 1


def test_the_same_scores_lead_to_the_same_candidates(tiny, lut, evolution):
    again = Evolution(tiny, SETTINGS, budget_ms=30.0, estimate_ms=lambda arch: estimate(arch, lut).ms)
    digests = [
        [candidate.arch.digest for candidate in live(each, 12, lambda arch: len(arch.paths))]
        for each in (evolution, again)
    ]
    assert digests[0] == digests[1]


def test_a_mutation_changes_one_thing(tiny):
    rng = np.random.default_rng(0)
    kinds = set()
    for seed in range(200):
        parent = random_arch(tiny, seed, paths=2)
        child = mutate(parent, rng, paths=3)
        cells = [kind for kind in parent.cells if parent.cells[kind] != child.cells[kind]]
        added, removed = set(child.paths) - set(parent.paths), set(parent.paths) - set(child.paths)
        assert len(cells) <= 1
        assert not (cells and (added or removed))
        assert max(len(added), len(removed)) <= 1
        assert 1 <= len(child.paths) <= 3
        kinds.add((len(cells), len(added), len(removed)))
    assert {(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)} <= kinds
