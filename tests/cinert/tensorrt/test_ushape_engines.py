"""Every block at every level of U-shaped networks, and what joins the levels, become real plans without a GPU."""

import dataclasses

import numpy as np
import onnx
import pytest

from cinert.onnx import network_model
from cinert.spaces import USHAPE_PRESETS, load_any_space
from cinert.typed import typed_onnx
from cinert.ushape.arch import UShapeArch
from cinert.ushape.blocks import BLOCKS
from latency.noise_ranges import with_noise_ranges
from latency.ushape.design import seeded_ushape

PRECISIONS = ("fp32", "fp16")
SMALL, LARGE = map(load_any_space, reversed(USHAPE_PRESETS))
GRIDS = list(dict.fromkeys((*SMALL.grids, *LARGE.grids)))


def holding(blocks, grid, **joins):
    """A network that holds the blocks, one after the other, at every level of both ways."""
    space = dataclasses.replace(
        SMALL,
        grids=(grid,),
        widths=((8,), (12,), (16,), (24,)),
        blocks=(tuple(blocks),) * SMALL.levels,
        encoder_depths=((len(blocks),),) * SMALL.levels,
        decoder_depths=((len(blocks),),) * (SMALL.levels - 1),
        **joins,
    )
    levels = (tuple(blocks),) * SMALL.levels
    return UShapeArch(space=space, grid_number=0, shape=space.shape((8, 12, 16, 24), levels, levels[1:]))


def built(backend, model, precision):
    plan = backend.compile(model, precision=precision, threads=1)
    assert plan.files["sm86.plan"].startswith(b"vtrt")
    return plan


@pytest.mark.parametrize(
    "grid",
    [grid if grid == SMALL.grids[1] else pytest.param(grid, marks=pytest.mark.slow) for grid in GRIDS],
    ids=lambda grid: "x".join(map(str, grid.shape_DHW)),
)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_builds_at_every_level(rtx, block, precision, grid, record_property):
    engine = built(rtx(), network_model(holding([block], grid)), precision)
    assert engine.build["kept_in_fp32"] == []
    record_property("tensorrt-rtx engines", 1)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_strided_summed_and_residual_networks_build(rtx, precision, record_property):
    arch = holding(["inplane", "conv"], SMALL.grids[0], down="strided", join="add", residual=True)
    assert built(rtx(), network_model(arch), precision).build["kept_in_fp32"] == []
    record_property("tensorrt-rtx engines", 1)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("space", [SMALL, LARGE], ids=lambda space: space.name)
def test_random_networks_of_a_preset_build(rtx, space, precision, record_property):
    for seed in range(2):
        built(rtx(), network_model(seeded_ushape(space, seed)), precision)
    record_property("tensorrt-rtx engines", 2)


def test_every_block_builds_in_int8_with_every_convolution_quantised(rtx, record_property):
    model = with_noise_ranges(network_model(holding(list(BLOCKS), SMALL.grids[0])))
    engine = built(rtx(), model, "int8")
    graph = onnx.load_from_string(engine.onnx).graph
    producers = {node.output[0]: node.op_type for node in graph.node}
    convolutions = [node for node in graph.node if node.op_type in {"Conv", "ConvTranspose"}]
    assert sum(node.op_type == "ConvTranspose" for node in convolutions) == SMALL.levels
    assert all(producers.get(name) == "DequantizeLinear" for node in convolutions for name in node.input[:2])
    record_property("tensorrt-rtx engines", 1)


def test_transposed_convolutions_are_quantised_by_their_output_channels():
    """Their weights are (in, out, D, H, W), those of other convolutions (out, in, D, H, W)."""
    grid = dataclasses.replace(SMALL.grids[0], shape_DHW=(2, 16, 16), spacing_mm=(50.0, 10.0, 10.0))
    model = with_noise_ranges(network_model(holding(["inplane"], grid)))
    graph = onnx.load_from_string(typed_onnx(model, "int8").data).graph
    made = {node.output[0]: node for node in graph.node}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    seen = set()
    for node in graph.node:
        if node.op_type in {"Conv", "ConvTranspose"}:
            quantise = made[made[node.input[1]].input[0]]
            axis = next(attribute.i for attribute in quantise.attribute if attribute.name == "axis")
            assert axis == (1 if node.op_type == "ConvTranspose" else 0)
            assert shapes[quantise.input[1]] == (shapes[quantise.input[0]][axis],)
            seen.add(node.op_type)
    assert seen == {"Conv", "ConvTranspose"}


@pytest.mark.parametrize(("precision", "most"), [("fp16", 5e-3), ("int8", 0.15)])
def test_lower_precision_stays_near_and_keeps_no_convolution_in_fp32(precision, most):
    import onnxruntime

    grid = dataclasses.replace(SMALL.grids[0], shape_DHW=(4, 16, 16), spacing_mm=(25.0, 10.0, 10.0))
    model = with_noise_ranges(network_model(holding(list(BLOCKS), grid)))
    typed = typed_onnx(model, precision)
    assert not {"Conv", "ConvTranspose"} & {kept.op for kept in typed.kept_in_fp32}
    image = np.random.default_rng(9).standard_normal(model.input_shapes[0], dtype=np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    expected, lower = (
        onnxruntime.InferenceSession(data, options).run(None, {"image": image})[0] for data in (model.onnx, typed.data)
    )
    assert 0 < np.abs(lower - expected).max() / np.abs(expected).max() < most
