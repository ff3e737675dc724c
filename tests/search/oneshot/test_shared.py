import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch.func import functional_call

from cinert.network import build_network
from cinert.spaces import load_any_space
from cinert.ushape.choices import random_ushape
from search.oneshot.scoring import with_weights
from search.oneshot.shared import SharedWeights, narrowed

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=[("maxpool", "concat", False), ("strided", "add", True)])
def space(request):
    down, join, residual = request.param
    small = load_any_space("cardiac-small")
    return dataclasses.replace(
        small,
        grids=(dataclasses.replace(small.grids[0], shape_DHW=(4, 32, 32), spacing_mm=(25.0, 5.0, 5.0)),),
        blocks=(
            ("inplane", "separable"),
            ("inplane", "pseudo3d"),
            ("conv", "inplane-dilated"),
            ("inplane-separable", "conv"),
        ),
        down=down,
        join=join,
        residual=residual,
    )


@pytest.fixture(scope="module")
def weights(space):
    torch.manual_seed(0)
    return SharedWeights(space)


def test_an_extracted_network_computes_what_the_shared_weights_compute_for_it(space, weights):
    rng = np.random.default_rng(0)
    for _ in range(8):
        arch = random_ushape(space, rng)
        x = torch.randn(2, 1, *arch.input_shape_DHW)
        shared = build_network(arch).train()
        alone = with_weights(arch, weights.of(arch), CPU).train()
        with torch.no_grad():
            expected = functional_call(shared, weights.of(arch), (x,))
            torch.testing.assert_close(alone(x), expected, rtol=1e-5, atol=1e-5)


def test_gradients_of_the_shared_weights_are_those_of_the_network(space, weights):
    weights = copy.deepcopy(weights).double()
    arch = random_ushape(space, np.random.default_rng(1))
    x = torch.randn(2, 1, *arch.input_shape_DHW, dtype=torch.float64)
    alone = build_network(arch).double()
    alone.load_state_dict({**alone.state_dict(), **{name: each.detach() for name, each in weights.of(arch).items()}})
    alone.train()(x).square().mean().backward()
    functional_call(build_network(arch).double().train(), weights.of(arch), (x,)).square().mean().backward()
    # What the network does not hold has no gradient; what it holds has that of the network, at the same place.
    gradients = copy.deepcopy(weights)
    with torch.no_grad():
        for name, parameter in weights.named_parameters():
            target = dict(gradients.named_parameters())[name]
            target.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    sliced = gradients.of(arch)
    for name, parameter in alone.named_parameters():
        torch.testing.assert_close(sliced[name].detach(), parameter.grad)
    total = sum(float(each.detach().abs().sum()) for each in gradients.parameters())
    assert total == pytest.approx(sum(float(each.grad.abs().sum()) for each in alone.parameters()), rel=1e-4)


def test_a_wider_network_holds_the_weights_of_a_narrower_one(space, weights):
    largest = dataclasses.replace(
        random_ushape(space, np.random.default_rng(0)), shape=space.largest, grid_number=0, source="largest"
    )
    widths = tuple(row[0] for row in space.widths)
    narrow = dataclasses.replace(largest, shape=dataclasses.replace(space.largest, widths=widths))
    wide_stem, narrow_stem = (weights.of(arch)["body.stem.0.weight"] for arch in (largest, narrow))
    assert torch.equal(wide_stem[: widths[0]], narrow_stem)
    assert wide_stem.data_ptr() == narrow_stem.data_ptr()


def test_of_joined_channels_both_halves_are_narrowed():
    tensor = torch.arange(12.0).reshape(2, 6)
    assert narrowed(tensor, torch.Size((1, 4)), joined=6).tolist() == [[0, 1, 3, 4]]
    assert narrowed(tensor, torch.Size((1, 4))).tolist() == [[0, 1, 2, 3]]
