import dataclasses

import numpy as np
import pytest
import torch

from cinert.network import build_network, fold_batch_norm, random_weights
from cinert.spaces import load_any_space
from cinert.ushape.blocks import BLOCKS
from cinert.ushape.choices import random_ushape
from cinert.ushape.network import make_block


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_keeps_the_size_and_gives_the_width(name):
    assert make_block(name, 6, 10)(torch.zeros(2, 6, 3, 8, 8)).shape == (2, 10, 3, 8, 8)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_reaches_as_far_as_its_kernels(name):
    block = random_weights(make_block(name, 1, 4), seed=0)
    x = torch.zeros(1, 1, 9, 9, 9)
    at_rest = block(x)
    x[0, 0, 4, 4, 4] = 1
    reached = (block(x) != at_rest).any(dim=1)[0]
    extent = [int(reached.any(dim=axes).sum()) for axes in ((1, 2), (0, 2), (0, 1))]
    expected = [1, 1, 1]
    for conv in BLOCKS[name].convs:
        for axis in range(3):
            expected[axis] += 2 * conv.padding_DHW[axis]
    assert extent[0] <= expected[0]
    assert (extent[0] > 1) == (expected[0] > 1)
    assert max(extent[1:]) <= max(expected[1:])


@pytest.mark.parametrize("join", ["concat", "add"])
@pytest.mark.parametrize("down", ["maxpool", "strided"])
@pytest.mark.parametrize("residual", [False, True])
def test_every_way_to_join_levels_maps_an_image_to_its_own_grid(join, down, residual):
    space = dataclasses.replace(load_any_space("cardiac-small"), join=join, down=down, residual=residual)
    arch = random_ushape(space, np.random.default_rng(0))
    network = random_weights(build_network(arch), seed=1)
    x = torch.randn(1, 1, *arch.input_shape_DHW, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = network(x)
        folded = fold_batch_norm(network)(x)
    assert logits.shape == (1, 4, *arch.input_shape_DHW)
    assert not any(isinstance(module, torch.nn.BatchNorm3d) for module in network.modules())
    # Sums make the logits larger, and rounding with them.
    torch.testing.assert_close(folded, logits, rtol=1e-4, atol=1e-5 * float(logits.abs().max()))


def test_slices_are_apart_where_no_block_sees_across_them():
    space = load_any_space("cardiac-small")
    flat = dataclasses.replace(space, blocks=(("inplane",),) * space.levels)
    network = random_weights(build_network(random_ushape(flat, np.random.default_rng(0))), seed=0)
    arch = network.arch
    x = torch.randn(1, 1, *arch.grid.input_shape_DHW)
    changed = x.clone()
    changed[:, :, 4] += 1
    with torch.no_grad():
        differs = (network(x) != network(changed)).flatten(3).any(dim=3)[0].any(dim=0)
    assert differs.tolist() == [number == 4 for number in range(arch.grid.input_shape_DHW[0])]
