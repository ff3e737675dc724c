"""nnU-Net's networks: the planner's rule, and the modules against the authors' where these are installed."""

import pytest
import torch

from cinert.baselines.kinds import KINDS, design
from cinert.baselines.nnunet import topology
from cinert.baselines.nnunet_network import ImageNorm, ResidualBlock
from cinert.errors import BadInputError
from cinert.network import build_network, random_weights
from cinert.spaces import load_space

FLAT, CUBE = (1, 2, 2), (2, 2, 2)


@pytest.mark.parametrize(
    ("shape", "spacing", "strides", "flat_kernels"),
    [
        # ACDC's 3d_fullres configuration, and the same voxels in the crop of the space `paper`.
        ((20, 256, 224), (5.0, 1.5625, 1.5625), (FLAT, CUBE, CUBE, FLAT, FLAT), 1),
        ((20, 128, 112), (5.0, 1.5625, 1.5625), (FLAT, CUBE, CUBE, FLAT), 1),
        ((10, 64, 56), (10.0, 3.125, 3.125), (FLAT, CUBE, FLAT), 1),
        ((10, 96, 96), (10.0, 5 / 3, 5 / 3), (FLAT, FLAT, CUBE, FLAT), 2),
        # Cubes from the start; 8 voxels are halved to 4, beside others.
        ((32, 32, 8), (1.0, 1.0, 1.0), (CUBE, (2, 2, 1), (2, 2, 1)), 0),
        # A single axis is halved from 12 voxels on, not from 8.
        ((4, 12, 4), (1.0, 1.0, 1.0), ((1, 2, 1),), 0),
        ((4, 8, 4), (1.0, 1.0, 1.0), (), 0),
        # Twice the finest voxel is too coarse.
        ((16, 16, 16), (2.0, 1.0, 1.0), (FLAT, CUBE), 1),
        # An odd axis stays.
        ((16, 18, 16), (1.0, 1.0, 1.0), (CUBE, (2, 1, 2)), 0),
    ],
)
def test_the_planners_rule(shape, spacing, strides, flat_kernels):
    found = topology(shape, spacing)
    assert found.strides == strides
    deep = len(strides) + 1 - flat_kernels
    assert found.kernels == ((1, 3, 3),) * flat_kernels + ((3, 3, 3),) * deep


def test_what_is_written_for_the_papers_grid():
    space = load_space("paper")
    plain = design("nnunet", space, KINDS["nnunet"].widths_in(space))
    assert plain.widths == (32, 64, 128, 256, 320)
    assert plain.strides == (FLAT, CUBE, CUBE, FLAT)
    assert (plain.convs_per_level, plain.norm) == (2, "instance")
    residual = design("nnunet-resenc", space, KINDS["nnunet-resenc"].widths_in(space))
    assert residual.kernels == plain.kernels == ((1, 3, 3), *((3, 3, 3),) * 4)
    assert (residual.blocks, residual.convs_per_level) == ((1, 3, 4, 6, 6), 1)


def test_fewer_levels_end_with_a_cubic_kernel_and_more_are_refused():
    space = load_space("small")
    assert design("nnunet", space, (8, 16)).kernels == ((1, 3, 3), (3, 3, 3))
    assert design("nnunet", space, (8,) * 4).strides == (FLAT, CUBE, FLAT)
    with pytest.raises(BadInputError, match="5 widths, and nnU-Net plans 4 levels for the grid of space small"):
        design("nnunet", space, (8,) * 5)


def test_a_residual_block_begins_as_its_shortcut(make):
    torch.manual_seed(0)
    network = build_network(make("nnunet-resenc"))
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    assert len(blocks) == 1 + 3 + 4
    for block, channels, stride in ((blocks[0], 4, None), (blocks[1], 4, FLAT), (blocks[4], 6, CUBE)):
        x = torch.randn(2, channels, 4, 8, 12)
        with torch.no_grad():
            expected = x if stride is None else torch.nn.functional.avg_pool3d(x, stride)
            for layer in block.shortcut[1 if stride else 0 :]:
                expected = layer(expected)
            torch.testing.assert_close(block(x), torch.nn.functional.leaky_relu(expected, 0.01))


@pytest.mark.parametrize("kind", ["nnunet", "nnunet-resenc"])
def test_the_authors_networks_give_the_same(make, kind):
    unet = pytest.importorskip(
        "dynamic_network_architectures.architectures.unet",
        reason="dynamic_network_architectures is not installed (pip install --no-deps dynamic_network_architectures)",
    )
    arch = make(kind, input_shape_DHW=(4, 16, 24))
    ours = random_weights(build_network(arch), 0)
    settings = {
        "input_channels": arch.in_channels,
        "n_stages": len(arch.widths),
        "features_per_stage": arch.widths,
        "conv_op": torch.nn.Conv3d,
        "kernel_sizes": arch.kernels,
        "strides": ((1, 1, 1), *arch.strides),
        "num_classes": 4,
        "n_conv_per_stage_decoder": arch.convs_per_level,
        "conv_bias": True,
        "norm_op": torch.nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": torch.nn.LeakyReLU,
    }
    if kind == "nnunet":
        theirs = unet.PlainConvUNet(**settings, n_conv_per_stage=arch.convs_per_level)
    else:
        theirs = unet.ResidualEncoderUNet(**settings, n_blocks_per_stage=arch.blocks)
    # Each of their weights once, in the order of the forward pass, as ours are but for the decoder's levels.
    encoder = [*theirs.encoder.parameters()]
    decoder = [
        *(p for up in reversed(theirs.decoder.transpconvs) for p in up.parameters()),
        *(p for level in reversed(theirs.decoder.stages) for p in level.parameters()),
        *theirs.decoder.seg_layers[-1].parameters(),
    ]
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), [*encoder, *decoder], strict=True):
            other.copy_(mine)
        image = torch.randn(2, arch.in_channels, *arch.input_shape_DHW, generator=torch.Generator().manual_seed(1))
        expected = theirs.eval()(image)
        assert expected.std() > 0.05
        assert (ours(image) - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("kind", ["nnunet", "nnunet-resenc"])
def test_a_process_may_be_left_without_any_image(make, kind):
    network = build_network(make(kind))
    logits = network(torch.zeros(0, 2, 6, 24, 40))
    assert logits.shape == (0, 4, 6, 24, 40)
    logits.sum().backward()
    assert all(not parameter.grad.any() for parameter in network.parameters())


def test_a_norm_keeps_the_layout_of_what_it_reads():
    norm, x = ImageNorm(4, affine=True), torch.randn(2, 4, 3, 5, 6)
    expected = torch.nn.functional.instance_norm(x)
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        normed = norm(x.contiguous(memory_format=layout))
        assert normed.is_contiguous(memory_format=layout)
        torch.testing.assert_close(normed, expected)
