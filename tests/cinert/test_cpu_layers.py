import pytest
import torch
from torch import nn

from cinert.backends.cpu_layers import with_cpu_layers


@pytest.mark.parametrize(
    "pool", [nn.MaxPool3d(3, stride=1, padding=1), nn.MaxPool3d(2, 2), nn.MaxPool3d((1, 2, 2), (1, 2, 2))]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_maxima_are_the_same(pool, dtype):
    x = torch.randn(2, 5, 4, 6, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    pooled = with_cpu_layers(pool)(x)
    assert torch.equal(pooled, pool(x))
    assert pooled.is_contiguous()


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 2, "dilation": 2, "bias": False},
        {"kernel_size": 3, "padding": 1, "groups": 4},
        {"kernel_size": (1, 3, 3), "padding": (0, 1, 1), "stride": (1, 2, 2)},
    ],
)
@torch.inference_mode()
def test_the_convolutions_are_the_same(options):
    torch.manual_seed(0)
    x, conv = torch.randn(1, 4, 6, 10, 8), nn.Conv3d(4, 8, **options)
    torch.testing.assert_close(with_cpu_layers(conv)(x), conv(x))


def test_every_layer_of_a_network_is_replaced_in_a_copy_alone():
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Sequential(nn.MaxPool3d(2), nn.Conv3d(2, 2, 1), nn.MaxPool3d(3)))
    names = [type(module) for module in network.modules()]
    replaced = with_cpu_layers(network)
    assert [type(module) for module in network.modules()] == names
    formats = []
    for module in replaced.modules():
        if isinstance(module, nn.MaxPool3d):
            module.register_forward_pre_hook(
                lambda _, inputs: formats.append(inputs[0].is_contiguous(memory_format=torch.channels_last_3d))
            )
    with torch.profiler.profile() as profile, torch.inference_mode():
        replaced(torch.randn(1, 1, 12, 12, 12))
    assert formats == [True, True]
    assert sum(event.name == "mkldnn::_convolution_pointwise" for event in profile.events()) == 2
