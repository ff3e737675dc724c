"""Budgets to decode at, and what nothing beats."""

import pytest

from cinert.sampling import random_arch
from search.decode import Decoded
from search.pareto import decode_cheaper, unbeaten


def decoder(tiny, *, needs, misses=()):
    """Decodes at a budget the dearest of some networks that it allows, and notes what it was asked for."""
    asked = []
    different = {arch.digest: arch for arch in (random_arch(tiny, seed, paths=1) for seed in range(100))}
    archs = dict(zip(needs, different.values(), strict=False))

    def decode_at(budget_ms):
        asked.append(budget_ms)
        arch = archs[max(ms for ms in needs if ms <= budget_ms)]
        met = not any(abs(budget_ms - missed) < 1e-9 for missed in misses)
        return Decoded(arch=arch, probabilities=(1.0,), paths_passed_over=0, cells_passed_over=0, budget_met=met)

    by_digest = {arch.digest: ms for ms, arch in archs.items()}
    return decode_at, lambda arch: by_digest[arch.digest], asked


def test_budgets_in_between(tiny):
    decode_at, needed_ms, asked = decoder(tiny, needs=(10, 20, 30, 40, 50), misses=(20,))
    found = decode_cheaper(decode_at, needed_ms, least_ms=10, most_ms=50, count=3)
    assert asked == pytest.approx([40, 30, 20])
    assert [needed_ms(one.arch) for one in found] == [30, 40]


def test_budgets_that_nothing_needs_are_passed_over(tiny):
    decode_at, needed_ms, asked = decoder(tiny, needs=(10, 13, 16, 19, 50))
    found = decode_cheaper(decode_at, needed_ms, least_ms=10, most_ms=50, count=3)
    # Evenly spread they would be 20, 30 and 40, and lead to one network three times.
    assert asked == pytest.approx([40, 16, 13])
    assert [needed_ms(one.arch) for one in found] == [13, 16, 19]


def test_no_budgets_in_between(tiny):
    decode_at, needed_ms, asked = decoder(tiny, needs=(10, 30))
    assert decode_cheaper(decode_at, needed_ms, least_ms=10, most_ms=30, count=0) == ()
    assert decode_cheaper(decode_at, needed_ms, least_ms=10, most_ms=10, count=3) == ()
    assert asked == []
    # Below what the first budget leads to there is nothing more.
    assert len(decode_cheaper(decode_at, needed_ms, least_ms=10, most_ms=30, count=3)) == 1
    assert len(asked) == 1


def test_what_is_beaten_is_left_out():
    networks = [(1, 0.3), (2, 0.2), (3, 0.6), (4, 0.6), (5, 0.7), (3, 0.5)]
    front = unbeaten(reversed(networks), cost=lambda one: one[0], dice=lambda one: one[1])
    assert front == [(1, 0.3), (3, 0.6), (5, 0.7)]
