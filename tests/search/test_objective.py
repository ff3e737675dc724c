"""The losses (Zeng 2020, Eq. 6; Lu 2022, Eq. 2) by hand, and their gradients by finite differences."""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional

from search.latency_terms import TermInput
from search.methods import RELAXED
from search.objective import Objective, bounded_loss, weighted_loss
from search.relaxation import ArchParameters
from search.supernet import Supernet
from search.terms import latency_of

ZENG = dataclasses.replace(RELAXED["zeng2020"], latency_weight=0.01).settings(budget_ms=50.0)
LU = dataclasses.replace(
    RELAXED["zeng2020"], latency_term="critical-path", occurrence="forward", loss="bounded", latency_weight=10.0
).settings(budget_ms=30.0)
SETTINGS = {
    "accuracy alone": dataclasses.replace(ZENG, latency_term="none", latency_weight=None),
    "weighted, path-wise": ZENG,
    "weighted, union": dataclasses.replace(ZENG, latency_term="union"),
    "bounded, critical path": LU,
    "bounded, critical path by beta": dataclasses.replace(LU, occurrence="beta"),
    "bounded, far too slow": dataclasses.replace(LU, bound_ms=2.0),
    "lagrangian, union": dataclasses.replace(
        RELAXED["zeng2020"], latency_term="union", loss="lagrangian", latency_weight=None
    ).settings(budget_ms=10.0),
}


class NoNoise(ArchParameters):
    """Gumbel-softmax without its noise, so that a loss can be differentiated numerically."""

    def sample(self, generator, *, temperature):
        return self.relax()


@pytest.fixture
def loss_of(either, costs, randomised):
    torch.manual_seed(0)
    supernet = Supernet(either).double()
    parameters = randomised(NoNoise(either), 7, scale=0.5).double()
    images = torch.randn(1, 1, *either.input_shape_DHW, dtype=torch.float64)
    labels = torch.randint(0, 4, (1, *either.input_shape_DHW))

    def loss(settings):
        cross_entropy = functional.cross_entropy(supernet(images, parameters.relax()), labels)
        latency_ms = latency_of(
            settings.latency_term,
            TermInput(
                costs=costs,
                architecture=parameters,
                paths=2,
                occurrence=settings.occurrence,
                gumbel=torch.Generator(),
                temperature=1.0,
            ),
        )
        return Objective(settings)(cross_entropy, latency_ms)

    return parameters, loss


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_gradient_of_alpha_beta_gamma(either, loss_of, settings):
    parameters, loss = loss_of
    value = loss(settings)
    value.backward()
    # Rounding of a large loss, over the step.
    rounding = 1e-8 + 1e-9 * abs(float(value.detach()))
    rng = torch.Generator().manual_seed(0)
    names = {name for name, _ in parameters.named_parameters()}
    assert {"beta", "alpha.ct"} <= names
    assert ("gamma.ep" in names) == (either.relaxation == "separate")
    step = 1e-6
    for name, parameter in parameters.named_parameters():
        flat = parameter.data.view(-1)
        for index in torch.randperm(len(flat), generator=rng)[:4].tolist():
            before = float(flat[index])
            ends = []
            for sign in (1, -1):
                flat[index] = before + sign * step
                with torch.no_grad():
                    ends.append(float(loss(settings)))
            flat[index] = before
            numeric = (ends[0] - ends[1]) / (2 * step)
            assert float(parameter.grad.view(-1)[index]) == pytest.approx(numeric, rel=3e-4, abs=rounding), name


def test_lambda_weighs_milliseconds():
    assert float(weighted_loss(torch.tensor(0.5), torch.tensor(40.0), 1e-4)) == pytest.approx(0.504)


def test_bounded_loss_by_hand():
    """0.5 x 48 + 10 exp(-2), and at the bound 0.5 x 50 + 10."""
    found = [float(bounded_loss(torch.tensor(0.5), torch.tensor(ms), 10.0, 50.0)) for ms in (48.0, 50.0)]
    assert found == pytest.approx([24 + 10 * math.exp(-2), 35.0])


def test_above_an_exponent_of_ten_the_exponential_goes_on_as_its_tangent():
    cross_entropy = torch.tensor(0.5, dtype=torch.float64)
    for ms, slope in ((59.0, math.exp(9)), (60.0, math.exp(10)), (61.0, math.exp(10)), (5000.0, math.exp(10))):
        latency = torch.tensor(ms, dtype=torch.float64, requires_grad=True)
        loss = bounded_loss(cross_entropy, latency, 1.0, 50.0)
        loss.backward()
        assert float(latency.grad) == pytest.approx(0.5 + slope)
        expected = math.exp(ms - 50) if ms <= 60 else math.exp(10) * (1 + ms - 60)
        assert float(loss.detach()) == pytest.approx(0.5 * ms + expected)


def test_single_precision_neither_overflows_nor_loses_its_gradient():
    latency = torch.tensor(1000.0, requires_grad=True)
    bounded_loss(torch.tensor(0.5), latency, 10.0, 50.0).backward()
    assert math.isfinite(float(latency.grad))
    assert float(latency.grad) > 1e4


@pytest.mark.parametrize(
    "fields",
    [
        {"loss": "bounded"},
        {"bound_ms": 50.0},
        {"loss": "lagrangian", "bound_ms": 50.0},
        {"latency_weight": None},
        {"latency_term": "none"},
        {"latency_term": "critical-path"},
        {"occurrence": "beta"},
    ],
)
def test_a_loss_without_what_it_needs_is_refused(fields):
    with pytest.raises(ValueError, match="with"):
        dataclasses.replace(ZENG, **fields)
