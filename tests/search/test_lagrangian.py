"""A hard budget: prices and the closest distribution by hand, gradients, and what it leaves of a tight budget."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from cinert.paths import CELL_KINDS
from latency.cost import SpaceCosts
from latency.cost_flow import drawn_visits
from latency.cost_union import union_ms
from latency.estimate import estimate
from search.lagrangian import charged, least_multiplier, prices_of
from search.loop import Search
from search.relaxation import ArchParameters
from search.run import decode_search

CPU = torch.device("cpu")


def test_prices_are_milliseconds_by_probability(either, costs, randomised):
    """Probabilities are moved one by one; what is the same for a whole choice does not matter."""
    parameters = randomised(ArchParameters(either), 3, scale=0.5).double()

    def latency(alpha, beta):
        cells = {kind: alpha[kind] for kind in CELL_KINDS}
        return union_ms(costs, cells, drawn_visits(costs, beta, 2))

    relaxed = parameters.relax()
    prices = prices_of(parameters, lambda: latency(relaxed.cells, relaxed.edges))
    beta = relaxed.edges.detach().clone().requires_grad_()
    (direct,) = torch.autograd.grad(latency({k: v.detach() for k, v in relaxed.cells.items()}, beta), beta)
    off = prices["beta"] - direct
    for vertex in parameters._vertex_of_edge.unique():
        assert float(off[parameters._vertex_of_edge == vertex].std(correction=0)) == pytest.approx(0, abs=1e-9)


def test_no_other_distribution_within_the_budget_is_as_close():
    """One choice among four options: the tilted softmax against a numerical optimum."""
    q, price, budget = np.array([0.5, 0.3, 0.15, 0.05]), np.array([9.0, 6.0, 2.0, 1.0]), 4.0

    def tilted(multiplier):
        p = q * np.exp(-multiplier * price)
        return p / p.sum()

    multiplier = least_multiplier(lambda m: float(tilted(m) @ price), budget)
    best = minimize(
        lambda p: float(p @ np.log(p / q)),
        tilted(multiplier) * 0.9 + 0.025,
        bounds=[(1e-9, 1)] * 4,
        constraints=[
            {"type": "eq", "fun": lambda p: p.sum() - 1},
            {"type": "ineq", "fun": lambda p: budget - p @ price},
        ],
        tol=1e-12,
    )
    assert tilted(multiplier) @ price == pytest.approx(budget, rel=1e-5)
    np.testing.assert_allclose(tilted(multiplier), best.x, atol=2e-4)


@pytest.mark.parametrize(("budget", "expected"), [(10.0, 0.0), (8.0, 0.0), (4.0, math.log(2)), (-1.0, 1e9)])
def test_least_multiplier(budget, expected):
    found = least_multiplier(lambda multiplier: 8 * math.exp(-multiplier), budget)
    assert found == pytest.approx(expected, rel=1e-6)


def test_logits_come_back_as_they_were_and_gradients_are_theirs(either, costs, randomised):
    parameters = randomised(ArchParameters(either), 5, scale=0.5).double()
    before = {name: tensor.detach().clone() for name, tensor in parameters.named_parameters()}
    prices = {name: torch.rand_like(tensor) for name, tensor in before.items()}
    by_hand = ArchParameters(either).double()
    with torch.no_grad():
        for name, tensor in by_hand.named_parameters():
            tensor.copy_(before[name] - 0.3 * prices[name])
    losses = []
    for architecture, multiplier in ((parameters, 0.3), (by_hand, 0.0)):
        with charged(architecture, prices, multiplier):
            relaxed = architecture.relax()
        loss = union_ms(costs, relaxed.cells, drawn_visits(costs, relaxed.edges, 2)).square()
        loss.backward()
        losses.append(float(loss.detach()))
    assert losses[0] == losses[1]
    for name, tensor in parameters.named_parameters():
        assert torch.equal(tensor, before[name])
        assert torch.equal(tensor.grad, by_hand.get_parameter(name).grad)


@pytest.mark.parametrize("budget_ms", [6.0, 9.0])
def test_the_expected_latency_is_the_budget_and_not_less(tiny, lut, fold, ours, budget_ms):
    settings = dataclasses.replace(ours, epochs=4, bound_ms=budget_ms)
    search = Search(tiny, SpaceCosts.from_lut(lut, tiny), fold.train, settings, CPU)
    reports = [search.run_epoch() for _ in range(4)]
    assert reports[1].multiplier is None
    assert all(report.multiplier > 0 for report in reports[2:])
    # Within an epoch the logits move on.
    assert [report.latency_ms for report in reports[2:]] == pytest.approx([budget_ms] * 2, rel=0.1)


def test_a_tight_budget_is_used(tiny, lut, fold, ours):
    """Networks for several budgets out of one search: within each, and dearer where more is allowed."""
    search = Search(
        tiny, SpaceCosts.from_lut(lut, tiny), fold.train, dataclasses.replace(ours, epochs=4, bound_ms=6.0), CPU
    )
    while not search.finished:
        search.run_epoch()
    budgets = (4.0, 6.0, 9.0, 14.0)
    found = [decode_search(search, lut, fold, "longest", budget) for budget in budgets]
    times = [estimate(decoded.arch, lut).high_ms for decoded in found]
    assert all(decoded.budget_met for decoded in found)
    assert times == sorted(times)
    assert all(ms > 0.5 * budget for ms, budget in zip(times, budgets, strict=True)), times
