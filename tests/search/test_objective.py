"""Gradient of the search's loss by finite differences, in float64 and without Gumbel noise (Zeng 2020, Eq. 6-9)."""

import pytest
import torch

from search.longest import longest_paths
from search.objective import architecture_loss
from search.relaxation import ArchParameters
from search.supernet import Supernet


@pytest.fixture
def loss_of(either, costs, randomised):
    torch.manual_seed(0)
    supernet = Supernet(either).double()
    parameters = randomised(ArchParameters(either), 7, scale=0.5).double()
    images = torch.randn(1, 1, *either.input_shape_DHW, dtype=torch.float64)
    labels = torch.randint(0, 4, (1, *either.input_shape_DHW))
    paths = [path for path, _ in longest_paths(either, parameters.log_edges().tolist(), 2)]

    def loss(weight):
        relaxed = parameters.relax()
        return architecture_loss(
            supernet(images, relaxed), labels, costs=costs, relaxed=relaxed, paths=paths, latency_weight=weight
        )

    return parameters, loss


@pytest.mark.parametrize("weight", [0.0, 0.01])
def test_gradient_of_alpha_beta_gamma(either, loss_of, weight):
    parameters, loss = loss_of
    loss(weight).total.backward()
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
                    ends.append(float(loss(weight).total))
            flat[index] = before
            numeric = (ends[0] - ends[1]) / (2 * step)
            assert float(parameter.grad.view(-1)[index]) == pytest.approx(numeric, rel=3e-4, abs=1e-8), name


def test_lambda_weighs_milliseconds(loss_of):
    _, loss = loss_of
    parts = loss(0.25)
    assert float(parts.total.detach()) == pytest.approx(
        float(parts.cross_entropy.detach()) + 0.25 * float(parts.latency_ms.detach())
    )
    assert float(parts.latency_ms.detach()) > 1
