"""What makes each rival what it is, against small computations by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate, max_pool2d

from cinert.baselines.msu_net_network import patch_statistics
from cinert.baselines.nas_unet import DOWN_OPS, UP_OPS, CellOp
from cinert.baselines.nas_unet_network import SearchedCell, make_cell_op
from cinert.network import build_network, random_weights


def parameters(arch):
    return sum(parameter.numel() for parameter in build_network(arch).parameters())


def test_the_2d_unet_of_the_source_has_its_31_million_parameters(make):
    arch = make("unet2d", in_channels=1, input_shape_DHW=(20, 128, 112))
    arch = dataclasses.replace(arch, widths=(64, 128, 256, 512, 1024), strides=((1, 2, 2),) * 4)
    widths = arch.widths
    down = sum(9 * (a * b + b * b) for a, b in zip((1, *widths), widths, strict=False))
    up = sum(9 * 3 * width * width + 4 * 2 * width * width + width for width in widths[:-1])
    norms = 4 * (sum(widths) + sum(widths[:-1]))
    assert parameters(arch) == down + up + norms + 64 * 4 + 4 == 31_036_676


@pytest.mark.parametrize("patch", [(2, 2), (4, 2)])
def test_patch_statistics(patch):
    x = torch.randn(3, 2, 8, 4, dtype=torch.float64)
    rows, columns = patch
    patches = x.numpy().reshape(3, 2, 8 // rows, rows, 4 // columns, columns)
    expected = np.concatenate([patches.mean(axis=(3, 5)), patches.std(axis=(3, 5))], axis=1)
    np.testing.assert_allclose(patch_statistics(x, patch).numpy(), expected, atol=1e-9)


def test_constant_patches_have_a_gradient():
    x = torch.full((1, 1, 4, 4), 3.0, requires_grad=True)
    patch_statistics(x, (2, 2)).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_msu_net_has_a_unet_for_each_size_of_patch(make):
    for scales, patches in ((1, ((2, 2),)), (2, ((2, 2), (4, 4)))):
        network = build_network(make("msu-net", scales=scales))
        assert network.patches == patches
        assert [len(body.down) for body in network.bodies] == [2, 1][:scales]


def test_ica_unet_works_on_each_component_by_itself(make):
    arch = make("ica-unet", components=3)
    network = random_weights(build_network(arch), 0)
    image = torch.randn(1, 2, 6, 12, 20)
    with torch.no_grad():
        components = network.unmix(image)
        assert components.shape == (1, 3, 3, 6, 10)
        features = [network.bodies[number](components[:, number : number + 1]) for number in range(3)]
        mixed = network.mix(torch.cat(features, dim=1))
        by_hand = network.head(network.refine(torch.cat((mixed, image), dim=1)))
        torch.testing.assert_close(network(image), by_hand, rtol=1e-4, atol=1e-5)


def test_what_a_component_more_costs(make):
    # A filter over two channels of 2x2x2 voxels, a U-Net, and a patch of 4 channels from each of 6.
    body = 27 * (6 + 36 + 48 + 64 + 72 + 36) + 2 * (6 + 6 + 8 + 8 + 6 + 6) + 8 * 6 * 4 + 6
    more = parameters(make("ica-unet", components=4)) - parameters(make("ica-unet", components=3))
    assert more == 16 + body + 6 * 4 * 8


def test_bix_nas_runs_the_same_convolutions_again(make):
    once = tuple(((0,), (1,), (2,)) for _ in range(1))
    thrice = once * 5
    one, three = make("bix-nas", iterations=1, skips=once), make("bix-nas", iterations=3, skips=thrice)
    norms = 2 * (2 * 2 * (4 + 6 + 8))  # two stages, two norms in each block, weight and bias
    steps = 2 * (6 + 8 + 6 + 4)
    assert parameters(three) - parameters(one) == 2 * (norms + steps)


def test_bix_nas_with_two_levels_by_hand(make):
    skips = (((0, 1), (1,)), ((1,), (0, 1)), ((0,), (1,)))
    arch = make("bix-nas", widths=(4, 6), strides=((1, 2, 2),), iterations=2, skips=skips)
    network = random_weights(build_network(arch), 0)
    x = torch.randn(3, 2, 8, 12)

    def down(module, features, run):
        return module.convolution(max_pool2d(features, 2), run)

    def up(module, features, run):
        return interpolate(module.convolution(features, run), scale_factor=2.0, mode="bilinear", align_corners=False)

    with torch.no_grad():
        encoder, decoder = network.stages
        stem = network.stem(x)
        fine = encoder.blocks[0](stem, 0)
        coarse = encoder.blocks[1](down(encoder.steps["from0_to1"], fine, 0), 0)
        low = decoder.blocks[1](coarse, 0)
        joined = (up(decoder.steps["from1_to0"], low, 0) + fine + up(decoder.skips["from1_to0"], coarse, 0)) / 3
        high = decoder.blocks[0](joined, 0)
        # Second iteration; the skip from 0 to 1 is used in this one alone, so that its first norm is for it.
        fine = encoder.blocks[0]((stem + up(encoder.skips["from1_to0"], low, 0)) / 2, 1)
        arriving = down(encoder.steps["from0_to1"], fine, 1) + down(encoder.skips["from0_to1"], high, 0) + low
        coarse = encoder.blocks[1](arriving / 3, 1)
        low = decoder.blocks[1](coarse, 1)
        high = decoder.blocks[0]((up(decoder.steps["from1_to0"], low, 1) + fine) / 2, 1)
        torch.testing.assert_close(network.segment(x), network.head(high), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [(2, 2), (1, 2), (3, 2)])
@pytest.mark.parametrize("op", CellOp.__args__)
def test_every_op_of_nas_unet_gives_the_grid_it_should(op, stride):
    x = torch.randn(2, 4, 6, 8)
    fine, coarse = (6 * stride[0], 8 * stride[1]), (6 // stride[0], 8 // stride[1])
    assert make_cell_op(op, 4, "keep", stride)(x).shape == (2, 4, 6, 8)
    if op in DOWN_OPS:
        assert make_cell_op(op, 4, "down", stride)(x).shape == (2, 4, *coarse)
    if op in UP_OPS:
        assert make_cell_op(op, 4, "up", stride)(x).shape == (2, 4, *fine)


def test_channel_weights_by_hand():
    weights = make_cell_op("cweight", 3, "keep", (2, 2))
    x = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        factors = torch.sigmoid(weights.weigh.weight[:, :, 0, 0] @ x.mean(dim=(2, 3)).T + weights.weigh.bias[:, None])
        torch.testing.assert_close(weights(x), x * factors.T[:, :, None, None])


def test_a_cell_by_hand():
    cell = SearchedCell(
        (((0, "identity"), (1, "cweight")), ((2, "maxpool"), (0, "identity"))), 3, ("keep", "up"), (2, 2)
    )
    fine, coarse = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 2, 2)
    with torch.no_grad():
        first = fine + cell.ops[0][1](coarse)
        second = nn.functional.max_pool2d(first, 3, 1, 1) + fine
        torch.testing.assert_close(cell(fine, coarse), torch.cat((first, second), dim=1))
