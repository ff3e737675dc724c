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
from search.fastest import fastest_arch
from search.lagrangian import charged, least_multiplier, prices_of
from search.loop import Search
from search.problem import SearchProblem
from search.relaxation import ArchParameters
from search.run import decode_search

CPU = torch.device("cpu")


def composed(probabilities):
    """Probabilities by parameter as the latency reads them."""
    cells = {kind: probabilities[f"alpha.{kind}"] for kind in CELL_KINDS}
    if "gamma.ct" in probabilities:
        cells = {kind: probabilities[f"gamma.{kind}"][:, None] * alpha for kind, alpha in cells.items()}
    return cells, probabilities["beta"]


def test_prices_are_milliseconds_by_probability(either, costs, randomised):
    """Derivatives by the probabilities themselves; what is the same for a whole choice does not matter."""
    parameters = randomised(ArchParameters(either), 3, scale=0.5).double()

    def latency(probabilities):
        cells, beta = composed(probabilities)
        return union_ms(costs, cells, drawn_visits(costs, beta, 2))

    prices = prices_of(parameters, lambda: latency(parameters.probabilities()))
    free = {name: p.detach().clone().requires_grad_() for name, p in parameters.probabilities().items()}
    latency(free).backward()
    assert set(prices) == set(free)
    for name, price in prices.items():
        # A softmax turns what is left into nothing.
        share = parameters.probabilities()[name].detach()
        with torch.no_grad():
            moved = ArchParameters(either).double()
            moved.load_state_dict(parameters.state_dict())
            moved.get_parameter(name).add_(price - free[name].grad)
        torch.testing.assert_close(moved.probabilities()[name].detach(), share)


def test_no_other_distribution_within_the_budget_is_as_close(tiny, randomised):
    """One choice, of a cell's first node, against a numerical optimum."""
    parameters = randomised(ArchParameters(tiny), 1, scale=1.0).double()
    price = torch.zeros_like(parameters.alpha["ct"])
    price[0] = torch.arange(len(tiny.ops), 0, -1, dtype=torch.float64) ** 2
    steps, budget = price[0].numpy(), 4.0

    def charged_at(multiplier):
        with charged(parameters, {"alpha.ct": price}, multiplier):
            return parameters.probabilities()["alpha.ct"][0].detach().numpy()

    q = charged_at(0.0)
    assert q @ steps > budget
    found = charged_at(least_multiplier(lambda multiplier: float(charged_at(multiplier) @ steps), budget))
    best = minimize(
        lambda p: float(p @ np.log(p / q)),
        found * 0.9 + 0.1 / len(q),
        bounds=[(1e-9, 1)] * len(q),
        constraints=[
            {"type": "eq", "fun": lambda p: p.sum() - 1},
            {"type": "ineq", "fun": lambda p: budget - p @ steps},
        ],
        tol=1e-12,
    )
    assert found @ steps == pytest.approx(budget, rel=1e-5)
    np.testing.assert_allclose(found, best.x, atol=5e-4)


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


@pytest.mark.parametrize("paths", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_every_budget_that_a_network_can_meet_is_met(tiny, lut, fold, ours, randomised, paths, seed):
    """From the fastest network on, whatever the logits say."""
    settings = dataclasses.replace(ours, paths=paths)
    search = Search(tiny, SpaceCosts.from_lut(lut, tiny), fold.train, settings, CPU)
    randomised(search.architecture, seed, scale=3.0)
    fastest = fastest_arch(tiny, lut)
    least_ms = estimate(fastest, lut).high_ms
    problem = SearchProblem(space=tiny, lut=lut, data=fold, budget_ms=least_ms)
    for share in (1.0, 1.02, 1.1, 1.3, 2.0, 4.0):
        decoded = decode_search(search, problem, settings, share * least_ms)
        assert decoded.budget_met
        assert estimate(decoded.arch, lut).high_ms <= share * least_ms
        assert decoded.arch.digest == fastest.digest or not decoded.is_fastest
        assert len(decoded.probabilities) == len(decoded.arch.paths)


def test_prices_of_the_path_wise_term_are_without_noise(tiny, lut, fold, ours, randomised):
    prices = []
    for seed in (0, 1):
        settings = dataclasses.replace(ours, latency_term="path-wise", seed=seed)
        search = Search(tiny, SpaceCosts.from_lut(lut, tiny), fold.train, settings, CPU)
        randomised(search.architecture, 5, scale=0.5)
        prices.append(search.prices())
    for name, price in prices[0].items():
        assert torch.equal(price, prices[1][name])


def test_a_tight_budget_is_used(tiny, lut, fold, ours):
    """Networks for several budgets out of one search: within each, and dearer where more is allowed."""
    settings = dataclasses.replace(ours, epochs=4, bound_ms=6.0)
    search = Search(tiny, SpaceCosts.from_lut(lut, tiny), fold.train, settings, CPU)
    problem = SearchProblem(space=tiny, lut=lut, data=fold, budget_ms=6.0)
    while not search.finished:
        search.run_epoch()
    budgets = (4.0, 6.0, 9.0, 14.0)
    found = [decode_search(search, problem, settings, budget) for budget in budgets]
    times = [estimate(decoded.arch, lut).high_ms for decoded in found]
    assert all(decoded.budget_met for decoded in found)
    assert times == sorted(times)
    assert all(ms > 0.5 * budget for ms, budget in zip(times, budgets, strict=True)), times
