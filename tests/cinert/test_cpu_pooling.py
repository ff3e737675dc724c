import pytest
import torch
from torch import nn

from cinert.backends.cpu_pooling import with_vectorised_pools


@pytest.mark.parametrize(
    "pool", [nn.MaxPool3d(3, stride=1, padding=1), nn.MaxPool3d(2, 2), nn.MaxPool3d((1, 2, 2), (1, 2, 2))]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_maxima_are_the_same(pool, dtype):
    x = torch.randn(2, 5, 4, 6, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    pooled = with_vectorised_pools(pool)(x)
    assert torch.equal(pooled, pool(x))
    assert pooled.is_contiguous()


def test_every_pool_of_a_network_is_replaced_in_a_copy_alone():
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Sequential(nn.MaxPool3d(2), nn.MaxPool3d(3)))
    replaced = with_vectorised_pools(network)
    assert [type(module) for module in network[1]] == [nn.MaxPool3d, nn.MaxPool3d]
    formats = []
    for module in replaced.modules():
        if isinstance(module, nn.MaxPool3d):
            module.register_forward_pre_hook(
                lambda _, inputs: formats.append(inputs[0].is_contiguous(memory_format=torch.channels_last_3d))
            )
    replaced(torch.randn(1, 1, 12, 12, 12))
    assert formats == [True, True]
