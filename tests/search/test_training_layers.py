"""The layers that a CPU trains fast compute what the network's own compute."""

import copy

import pytest
import torch
from torch import nn

from cinert.network import build_network
from cinert.ops import make_op
from cinert.sampling import random_arch
from cinert.space import load_space
from search.training_layers import use_training_layers


def with_training_layers(module):
    copied = nn.Sequential(copy.deepcopy(module))
    use_training_layers(copied)
    return copied[0]


def outputs_and_gradients(module, x):
    x = x.clone().requires_grad_()
    y = module(x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    gradients = torch.autograd.grad((y * weights).sum(), [x, *module.parameters()])
    return [y, *gradients]


@pytest.mark.parametrize("seed", range(6))
def test_a_network_computes_and_learns_the_same(seed):
    torch.manual_seed(seed)
    space = load_space("demo")
    network = build_network(random_arch(space, seed, paths=2)).double().train()
    fast = with_training_layers(network)
    x = torch.randn(2, 1, *space.input_shape_DHW, dtype=torch.float64)

    for ours, theirs in zip(outputs_and_gradients(fast, x), outputs_and_gradients(network, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    assert list(fast.state_dict()) == list(network.state_dict())


def test_parameters_stay_the_same_objects():
    network = nn.Sequential(make_op("separable", 4), nn.Conv3d(4, 2, 1))
    before = dict(network.named_parameters())

    use_training_layers(network)

    assert {name: id(parameter) for name, parameter in network.named_parameters()} == {
        name: id(parameter) for name, parameter in before.items()
    }


@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPool3d(3, stride=1, padding=1),
        nn.Conv3d(4, 6, 1),
        nn.Conv3d(4, 6, 1, bias=False),
        make_op("separable", 4),
        make_op("separable", 32),
    ],
    ids=str,
)
def test_what_is_slow_is_replaced_by_the_same(layer):
    layer, fast = layer.double(), with_training_layers(layer).double()
    assert type(fast) is not type(layer)
    channels = 32 if "32" in str(layer) else 4
    x = torch.randn(2, channels, 3, 5, 4, dtype=torch.float64)

    for ours, theirs in zip(
        outputs_and_gradients(fast.double(), x), outputs_and_gradients(layer.double(), x), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPool3d(2, 2),
        nn.MaxPool3d(3, stride=1, padding=1, dilation=2),
        nn.MaxPool3d((1, 2, 2), (1, 2, 2)),
        nn.Conv3d(4, 6, 3, padding=1),
        nn.Conv3d(4, 4, 1, groups=4),
        nn.Conv3d(4, 6, 1, stride=2),
        nn.Conv2d(4, 6, 1),
    ],
    ids=str,
)
def test_other_layers_stay(layer):
    module = nn.Sequential(layer)

    use_training_layers(module)

    assert module[0] is layer


def test_a_separable_of_many_channels_stays_depthwise():
    fast = with_training_layers(make_op("separable", 64))
    assert isinstance(fast[0], nn.Conv3d)
    assert fast[0].groups == 64
