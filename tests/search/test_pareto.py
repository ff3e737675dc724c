"""Budgets to decode at, and what nothing beats."""

import pytest

from cinert.sampling import random_arch
from search.decode import Decoded
from search.pareto import decode_cheaper, unbeaten


def test_budgets_in_between(tiny):
    asked = []

    def decode_at(ms):
        """The budget of 20 ms is missed, and that of 40 ms finds what 30 ms found."""
        asked.append(ms)
        arch = random_arch(tiny, min(int(ms), 30), paths=1)
        return Decoded(arch=arch, probabilities=(1.0,), paths_passed_over=0, cells_passed_over=0, budget_met=ms != 20)

    found = decode_cheaper(decode_at, least_ms=10, budget_ms=50, count=3)
    assert asked == pytest.approx([20, 30, 40])
    assert [one.arch.digest for one in found] == [random_arch(tiny, 30, paths=1).digest]
    assert decode_cheaper(decode_at, least_ms=10, budget_ms=50, count=0) == ()
    # Nothing is decoded above the budget.
    assert decode_cheaper(decode_at, least_ms=51, budget_ms=50, count=3) == ()


def test_what_is_beaten_is_left_out():
    networks = [(1, 0.3), (2, 0.2), (3, 0.6), (4, 0.6), (5, 0.7), (3, 0.5)]
    front = unbeaten(reversed(networks), cost=lambda one: one[0], dice=lambda one: one[1])
    assert front == [(1, 0.3), (3, 0.6), (5, 0.7)]
