"""Networks with their authors' cells and skips: what their files hold, and small computations by hand."""

import dataclasses

import pytest
import torch
import yaml
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from cinert.arch import load_arch, save_arch
from cinert.backends.tensorrt import TensorRtRtxBackend
from cinert.baselines.kinds import PUBLISHED, design
from cinert.baselines.nas_unet import DOWN_OPS, UP_OPS
from cinert.baselines.nas_unet_published_network import PublishedCell, joined, make_published_op
from cinert.errors import BadInputError
from cinert.network import build_network, random_weights
from cinert.onnx import network_model
from cinert.spaces import load_space

TWO_LEVELS = (((0,), (0,)), ((2, 0), (0, 1)), ((0, 2), (0,)), ((1,), (2,)))
"""Skips of two levels and two iterations that need the bridge in the first iteration alone."""


def published(kind, space="small", **choices):
    return design(kind, load_space(space), PUBLISHED[kind].widths_in(load_space(space)), cells="published", **choices)


@pytest.mark.parametrize("name", ["nas-unet", "nas-unet batch", "bix-nas"])
def test_they_read_back_and_the_norm_is_part_of_the_network(tmp_path, make, name):
    arch = make(f"published {name}")
    save_arch(tmp_path / "arch.yaml", arch)
    again = load_arch(tmp_path / "arch.yaml")
    assert again == arch
    assert again.digest == dataclasses.replace(arch, provenance={}, source="other").digest
    assert len({make(f"published {each}").digest for each in ("nas-unet", "nas-unet batch", "bix-nas")}) == 3


# What `cinert baseline` wrote for the space `small` before the authors' cells were at hand.
@pytest.mark.parametrize(
    ("kind", "widths", "digest"),
    [("nas-unet", (8, 16, 32, 64), "8e35498e4c3a9687"), ("bix-nas", (32, 32, 32, 32), "986a327b7479e111")],
)
def test_older_files_stay_what_they_were(tmp_path, kind, widths, digest):
    arch = design(kind, load_space("small"), widths)
    assert "cells" not in arch.to_dict()
    save_arch(tmp_path / "arch.yaml", arch)
    assert load_arch(tmp_path / "arch.yaml").digest == arch.digest == digest


def test_what_is_written_is_the_authors():
    nas = published("nas-unet", "paper")
    assert (nas.widths, nas.norm) == ((48,) * 6, "group")
    # On 64x56 five levels leave two pixels.
    assert published("nas-unet").widths == (48,) * 5
    assert published("nas-unet", norm="batch").norm == "batch"
    bix = published("bix-nas")
    assert (bix.widths, bix.stem_width, bix.norm) == ((48,) * 4, 32, "batch")
    # As their own code says of these skips: blocks that it passes through are not computed.
    assert bix.needed() == ({0, 1}, {0, 2}, {0, 1}, {2, 3}, {1, 2}, {0, 1, 2, 3})
    network = build_network(bix)
    assert network.bridge is None
    assert "encoder3" not in network.blocks
    assert network.runs["decoder3"] == [3, 5]


def test_a_scaled_bix_nas_keeps_its_proportions():
    arch = design("bix-nas", load_space("small"), (24,) * 4, cells="published")
    assert (arch.widths, arch.stem_width) == ((24,) * 4, 16)


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("nas-unet", {"cells": "ours"}, "cells is 'ours', expected 'published', or no such key"),
        ("nas-unet", {"widths": [16] * 4, "input_shape_DHW": [2, 16, 40]}, "expected at most 3"),
        ("nas-unet", {"widths": [16]}, "expected at least 2 positive widths"),
        ("nas-unet", {"down_cell": [[[0, "identity"]]]}, "expected one of maxpool, avgpool, cweight, conv"),
        ("nas-unet", {"up_cell": [[[1, "maxpool"]]]}, "expected one of cweight, conv, dilated, depthwise on input 1"),
        ("nas-unet", {"up_cell": [[[0, "maxpool"]]]}, "expected one of identity, cweight, conv, dilated, depthwise"),
        ("nas-unet", {"up_cell": [[[3, "conv"]]]}, "expected inputs below 2 for node 2"),
        ("nas-unet", {"up_cell": [[[0, "conv"]]]}, "expected 4 nodes, as down_cell has"),
        ("nas-unet", {"norm": "layer"}, "norm is 'layer', expected 'group' or 'batch'"),
        ("bix-nas", {"norm": "group"}, "norm is 'group', expected 'batch'"),
        ("bix-nas", {"widths": [6, 6, 6, 8]}, "expected the same width at each level"),
        ("bix-nas", {"stem_width": 0}, "stem_width is 0, expected at least 1"),
        ("bix-nas", {"input_shape_DHW": [2, 24, 80]}, "expected at least 32 pixels in plane, to be halved 5 times"),
        ("bix-nas", {"sources": [[[0]] * 4] * 3}, "expected two stages for each iteration"),
        ("bix-nas", {"sources": [[[0]] * 3] * 6}, "expected 4 blocks in each stage"),
        ("bix-nas", {"sources": [[[1]] * 4] * 6}, "0 alone in the first stage"),
        ("bix-nas", {"sources": [[[0]] * 4, *[[[5]] * 4] * 5]}, "expected different blocks, at least one, from 0 to 4"),
        ("bix-nas", {"sources": [[[0]] * 4, *[[[1, 1]] * 4] * 5]}, "expected different blocks"),
        ("bix-nas", {"sources": [[[0]] * 4, *[[[]] * 4] * 5]}, "expected different blocks, at least one"),
        ("bix-nas", {"sources": 3}, "sources is 3: expected a list of stages"),
    ],
)
def test_bad_files_are_refused_with_the_reason(tmp_path, make, kind, change, says):
    path = tmp_path / "arch.yaml"
    path.write_text(yaml.safe_dump({**make(f"published {kind}").to_dict(), **change}))
    with pytest.raises(BadInputError) as error:
        load_arch(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)


def test_skips_of_another_number_of_levels_are_refused():
    with pytest.raises(BadInputError, match=r"skips of bix-nas are of 4 levels, and there are 3 widths.*--cells ours"):
        design("bix-nas", load_space("small"), (48, 48, 48), cells="published")


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("op", ["identity", *DOWN_OPS])
def test_every_op_gives_the_grid_it_should(op, norm):
    x = torch.randn(2, 16, 7, 8)
    if op not in ("maxpool", "avgpool"):
        assert make_published_op(op, 16, "keep", norm)(x).shape == x.shape
    if op in DOWN_OPS:
        rows = 3 if op in ("maxpool", "avgpool") else 4
        assert make_published_op(op, 16, "down", norm)(x).shape == (2, 16, rows, 4)
    if op in UP_OPS:
        assert make_published_op(op, 16, "up", norm)(x).shape == (2, 16, 13, 15)


def test_channel_weights_by_hand():
    weights = make_published_op("cweight", 32, "keep", "group")
    x = torch.randn(2, 32, 3, 5)
    first, _, second = weights.weigh
    assert first.weight.shape == (2, 32, 1, 1)
    with torch.no_grad():
        inner = torch.relu(x.mean(dim=(2, 3)) @ first.weight[:, :, 0, 0].T + first.bias)
        factors = torch.sigmoid(inner @ second.weight[:, :, 0, 0].T + second.bias)
        torch.testing.assert_close(weights(x), x * factors[:, :, None, None])
    # Fewer than 16 channels have one between the layers, not none.
    assert make_published_op("cweight", 8, "keep", "group").weigh[0].out_channels == 1


def test_of_two_sizes_the_smaller_is_brought_to_the_larger():
    small, large = torch.randn(1, 2, 3, 5), torch.randn(1, 2, 4, 6)
    rows, columns = [0, 0, 1, 2], [0, 0, 1, 2, 3, 4]
    expected = small[:, :, rows][:, :, :, columns] + large
    assert torch.equal(joined(small, large), expected)
    assert torch.equal(joined(large, small), expected)


def test_a_cell_by_hand():
    nodes = (((0, "avgpool"), (1, "maxpool")), ((2, "identity"), (0, "maxpool")))
    cell = random_weights(PublishedCell(nodes, (5, 3), 16, resizing="down", norm="group"), 0)
    assert cell.before[0][2].num_groups == 1
    assert PublishedCell(nodes, (5, 3), 32, resizing="down", norm="group").before[1][2].num_groups == 2
    before, previous = torch.randn(2, 5, 15, 16), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        first, second = (step(x) for step, x in zip(cell.before, (before, previous), strict=True))
        assert first.shape == second.shape == (2, 16, 8, 8)
        node = avg_pool2d(first, 2) + max_pool2d(second, 2)
        torch.testing.assert_close(cell(before, previous), torch.cat((node, node + max_pool2d(first, 2)), dim=1))


def test_bix_nas_with_two_levels_by_hand(make):
    arch = make("published bix-nas", widths=(6, 6), stem_width=4, sources=TWO_LEVELS, input_shape_DHW=(3, 1, 2))
    # Decoder 1 of iteration 1 (the finer one) is read by nobody, and by its last run alone it has norms.
    assert arch.needed() == ({0, 1}, {0, 1}, {0, 1}, {1})
    network = random_weights(build_network(arch), 0)
    assert {name: len(block.norms) for name, block in network.blocks.items()} == {
        "encoder0": 2,
        "encoder1": 2,
        "decoder0": 1,
        "decoder1": 2,
    }
    x = torch.randn(3, 2, 9, 14)

    def to(features, size):
        return interpolate(features, size=size, mode="bilinear", align_corners=True)

    with torch.no_grad():
        stem = max_pool2d(network.stem(x), 2)
        fine, coarse = (4, 7), (2, 3)
        blocks = network.blocks
        encoder = [blocks["encoder0"](stem, 0)]
        encoder.append(blocks["encoder1"](max_pool2d(encoder[0], 2), 0))
        bridge = to(network.bridge(max_pool2d(encoder[1], 2)), coarse)
        decoder = [blocks["decoder0"]((encoder[1] + bridge) / 2, 0)]
        decoder.append(blocks["decoder1"]((to(decoder[0], fine) + encoder[0]) / 2, 0))
        encoder = [blocks["encoder0"]((stem + decoder[1]) / 2, 1)]
        encoder.append(blocks["encoder1"](max_pool2d(encoder[0], 2), 1))
        last = blocks["decoder1"](to(encoder[1], fine), 1)
        expected = network.head(network.tail(to(last, (9, 14))))
        torch.testing.assert_close(network.segment(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["nas-unet", "nas-unet batch", "bix-nas"])
def test_tensorrt_rtx_builds_them(make, name, precision, record_property):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (pip install tensorrt-rtx)")
    model = network_model(make(f"published {name}"))
    plan = TensorRtRtxBackend(capabilities=("8.6",)).compile(model, precision=precision, threads=1).files["sm86.plan"]
    assert plan.startswith(b"vtrt")
    record_property("tensorrt-rtx engines", 1)
