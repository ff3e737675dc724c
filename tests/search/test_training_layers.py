"""The layers that a CPU trains fast compute what the network's own compute, in the layout that makes them fast."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from cinert.baselines.kinds import KINDS, design
from cinert.network import build_network
from cinert.ops import make_op
from cinert.sampling import random_arch
from cinert.spaces import load_space
from search.training_layers import use_training_layers


def with_training_layers(module):
    copied = nn.Sequential(copy.deepcopy(module))
    use_training_layers(copied)
    return copied[0]


def outputs_and_gradients(module, x):
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = module(x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    return [y, *torch.autograd.grad((y * weights).sum(), [x, *module.parameters()])]


def assert_same(fast, own, x):
    for ours, theirs in zip(outputs_and_gradients(fast, x), outputs_and_gradients(own, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


@pytest.fixture(scope="module", params=[*range(6), *KINDS, "flat"], ids=str)
def network(request):
    """Random networks, one of each kind of baseline, and a U-Net of blocks that are flat or depthwise."""
    space = load_space("demo")
    torch.manual_seed(0)
    arch = random_arch(space, request.param, paths=2) if isinstance(request.param, int) else None
    if request.param == "flat":
        unet = design("aniso-unet", space, (8, 12))
        blocks = ("pseudo3d", "inplane-separable", "inplane-dilated", "separable")
        shape = dataclasses.replace(unet.shape, encoder=(blocks, blocks), decoder=(blocks,), down="strided")
        arch = dataclasses.replace(unet, input_shape_DHW=(4, 16, 16), shape=shape)
    return build_network(arch or design(request.param, space, (8, 12, 16))).channels_last().train()


def test_a_network_computes_and_learns_the_same(network):
    own = copy.deepcopy(network).double()
    fast = with_training_layers(own)

    assert_same(fast, own, torch.randn(2, 1, *network.arch.grid.input_shape_DHW, dtype=torch.float64))
    assert list(fast.state_dict()) == list(network.state_dict())


def test_channels_lie_last_everywhere(network):
    fast = with_training_layers(network)
    lost = []

    def look(layer, _inputs, output):
        if isinstance(output, torch.Tensor) and output.stride(1) != 1:
            lost.append(layer)

    for layer in fast.modules():
        layer.register_forward_hook(look)

    fast(torch.randn(2, 1, *network.arch.grid.input_shape_DHW))

    assert lost == []


def test_a_relu_writes_over_what_a_norm_gives_and_nothing_else():
    network = nn.Sequential(nn.Conv3d(2, 4, 3), nn.ReLU(), nn.Sequential(nn.BatchNorm3d(4), nn.ReLU()), nn.ReLU())

    use_training_layers(network)

    assert [layer.inplace for layer in network.modules() if isinstance(layer, nn.ReLU)] == [False, True, False]


def test_parameters_stay_the_same_objects():
    network = nn.Sequential(nn.Conv3d(1, 4, 3), make_op("separable", 4), nn.Conv3d(4, 2, 1))
    before = {name: id(parameter) for name, parameter in network.named_parameters()}

    use_training_layers(network)

    assert {name: id(parameter) for name, parameter in network.named_parameters()} == before


@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPool3d((1, 2, 2), (1, 2, 2)),
        nn.MaxPool3d((1, 3, 2), (1, 3, 2)),
        nn.Conv3d(4, 6, 1),
        nn.Conv3d(4, 6, 1, bias=False),
        nn.Conv3d(4, 8, (1, 3, 3), padding=(0, 1, 1), groups=4),
        nn.Conv3d(4, 4, (1, 3, 5), stride=(1, 2, 1), padding=(0, 1, 4), dilation=(1, 1, 2), groups=4),
        nn.Conv3d(4, 6, (3, 1, 1), padding=(1, 0, 0), bias=False),
        nn.Conv3d(4, 6, (2, 1, 1), stride=(2, 1, 1), dilation=(2, 1, 1)),
        nn.ConvTranspose3d(4, 8, (1, 2, 2), (1, 2, 2)),
        nn.ConvTranspose3d(4, 9, (2, 1, 3), (2, 1, 3), bias=False),
    ],
    ids=str,
)
def test_what_is_slow_is_replaced_by_the_same(layer):
    layer = layer.double()
    fast = with_training_layers(layer)
    assert type(fast) is not type(layer)
    # Of equal maxima the first one gets the gradient. A process may be left without any of the last batch.
    for x in (torch.randn(2, 4, 3, 7, 4), torch.zeros(2, 4, 3, 7, 4), torch.zeros(0, 4, 3, 7, 4)):
        assert_same(fast, layer, x.double())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv3d(1, 6, 3, padding=1, bias=False),
        nn.Conv3d(1, 6, (1, 5, 5), stride=(1, 2, 2), padding=(0, 2, 2)),
        nn.Conv3d(1, 6, (3, 1, 2), stride=(1, 3, 2), padding=(0, 1, 0)),
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.Conv2d(1, 6, (2, 4), stride=(2, 3), padding=(1, 0)),
        nn.ConvTranspose2d(1, 8, (2, 3), (2, 3)),
    ],
    ids=str,
)
def test_first_layers_and_those_of_images_are_replaced_by_the_same(layer):
    layer = layer.double()
    fast = with_training_layers(layer)
    assert type(fast) is not type(layer)
    shape = (3, 7, 10)[3 - len(layer.kernel_size) :]
    for batch in (2, 0):
        assert_same(fast, layer, torch.randn(batch, 1, *shape, dtype=torch.float64))


@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPool3d(2, 2),
        nn.MaxPool3d(3, stride=1, padding=1),
        nn.MaxPool3d((1, 2, 2), (1, 2, 2), ceil_mode=True),
        nn.Conv3d(4, 6, 3, padding=1),
        nn.Conv3d(4, 4, 1, groups=4),
        nn.Conv3d(4, 6, 1, stride=2),
        nn.Conv3d(4, 6, (1, 3, 3), padding=(0, 1, 1)),
        nn.Conv3d(4, 4, 3, padding=1, groups=4),
        nn.Conv3d(4, 4, (1, 3, 3), padding=(1, 1, 1), groups=4),
        nn.Conv3d(4, 6, (3, 1, 1), stride=(1, 2, 1)),
        nn.Conv3d(4, 6, (3, 1, 1), padding=(1, 0, 0), padding_mode="replicate"),
        nn.Conv3d(1, 6, 3, dilation=2),
        nn.Conv3d(1, 6, 3, padding="same"),
        nn.Conv2d(1, 6, 1),
        nn.Conv2d(4, 6, 3),
        nn.ConvTranspose3d(4, 4, 2, 2),
        nn.ConvTranspose3d(4, 8, 3, 2),
        nn.ConvTranspose3d(4, 8, 2, 2, output_padding=1),
        nn.ConvTranspose3d(4, 8, 2, 2, padding=1),
        nn.ConvTranspose3d(4, 8, 2, 2, groups=2),
    ],
    ids=str,
)
def test_other_layers_stay(layer):
    module = nn.Sequential(layer)

    use_training_layers(module)

    assert module[0] is layer
