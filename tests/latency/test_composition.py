"""The two rules of composition, by hand."""

from collections import Counter

import numpy as np
import pytest

from cinert.arch import Arch, NodeEdge
from cinert.sampling import random_arch
from latency.breakdown import break_down
from latency.composition import Composed, best_rule, composed
from latency.parts import PartCatalogue
from latency.prices import Fit

CELL = ((NodeEdge(0, "conv"),), (), (NodeEdge(0, "dilated"),))
KINDS = ("ct", "ns", "ep")


@pytest.fixture
def catalogue(two_layers):
    return PartCatalogue(two_layers)


@pytest.fixture
def broken_down(two_layers):
    """Down and up, or flat and on by a skip edge; they meet at the end. The second node of every cell is empty."""
    arch = Arch(space=two_layers, cells=dict.fromkeys(KINDS, CELL), paths=(("ct", "ep"), ("ns", "skip")))
    return break_down(arch)


def made_up(broken_down, **ms):
    """One millisecond a part, but for the kinds that are named."""
    return {key: ms.get(key.kind.replace("pre.", ""), 1.0) for key in broken_down.total}


def end_parts(catalogue):
    return Counter({catalogue.stem(): 1, catalogue.head(2): 1, catalogue.merge(0): 2, catalogue.concatenation(0, 2): 1})


def way_down(catalogue):
    return Counter(
        {
            catalogue.preprocessing("ct", 0): 1,
            catalogue.op("conv", 1): 1,
            catalogue.op("dilated", 1): 1,
            catalogue.concatenation(1, 2): 1,
            catalogue.preprocessing("ep", 1, 2): 1,
            catalogue.op("conv", 0): 1,
            catalogue.op("dilated", 0): 1,
        }
    )


def way_flat(catalogue):
    return Counter({catalogue.preprocessing("ns", 0): 1, catalogue.op("conv", 0): 1, catalogue.op("dilated", 0): 1})


def test_a_sum_holds_every_part(broken_down, catalogue):
    found = composed(broken_down, made_up(broken_down), "sum")
    assert found == end_parts(catalogue) + way_down(catalogue) + way_flat(catalogue)


def test_the_longest_path_holds_its_own_parts_and_where_it_meets(broken_down, catalogue):
    """Seven parts down and up, three flat; what is paid where they meet is on every path."""
    found = composed(broken_down, made_up(broken_down), "critical path")
    assert found == end_parts(catalogue) + way_down(catalogue)
    dear = composed(broken_down, made_up(broken_down, ns=5.5), "critical path")
    assert dear == end_parts(catalogue) + way_flat(catalogue)


@pytest.mark.parametrize("seed", range(8))
def test_the_longest_path_is_part_of_the_sum_and_a_lone_path_all_of_it(two_layers, seed):
    several = break_down(random_arch(two_layers, seed, paths=3))
    lone = break_down(random_arch(two_layers, seed, paths=1))
    prices = {key: 1.0 + len(key.label) for key in several.total | lone.total}
    assert composed(several, prices, "critical path") <= composed(several, prices, "sum")
    assert composed(lone, prices, "critical path") == composed(lone, prices, "sum")


def guess(rule, held_out_ms):
    nothing = np.zeros(0)
    found = Fit(constant_ms=0.0, prices_ms=nothing, error_ms=nothing, from_networks=nothing, condition=1.0)
    return Composed(rule=rule, fit=found, predicted_ms=held_out_ms, held_out_ms=held_out_ms)


@pytest.mark.parametrize(
    ("error_of_the_sum", "error_of_the_path", "best"),
    [(0.05, 0.08, "sum"), (0.05, 0.05, "sum"), (0.05, 0.046, "sum"), (0.05, 0.044, "critical path")],
)
def test_the_sum_stays_unless_it_is_clearly_beaten(error_of_the_sum, error_of_the_path, best):
    measured = np.array([1.0, 2.0, 4.0])
    rules = [
        guess("sum", measured * (1 + error_of_the_sum)),
        guess("critical path", measured * (1 - error_of_the_path)),
    ]
    assert best_rule(rules, measured).rule == best
