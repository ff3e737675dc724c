"""The graph that is written for timing is the graph that torch exports for deployment, node by node."""

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from cinert.network import build_network, fold_batch_norm, random_weights
from cinert.onnx import export_onnx, network_input_shape, network_model
from cinert.ops import Concatenate, Merge
from cinert.spaces import load_any_space
from cinert.ushape.arch import UShapeArch
from cinert.ushape.blocks import BLOCKS
from cinert.ushape.graph import module_onnx
from cinert.ushape.network import make_head
from cinert.ushape.space import Grid

TINY = {"grids": (Grid(shape_DHW=(4, 16, 16), spacing_mm=(10.0, 4.0, 4.0)),), "strides": ((1, 2, 2), (2, 2, 2))}


def arch(**shape):
    """Every block there is, at three small levels."""
    wanted = {"down": "maxpool", "join": "concat", "residual": False, "stem_stride": (1, 2, 2), **shape}
    space = dataclasses.replace(
        load_any_space("cardiac-small"),
        **TINY,
        **wanted,
        widths=((4,), (6,), (5,)),
        blocks=(tuple(BLOCKS),) * 3,
        encoder_depths=((2,), (2,), (1,)),
        decoder_depths=((1,), (2,)),
    )
    blocks = list(BLOCKS)
    network = space.shape((4, 6, 5), ((*blocks[:2],), (*blocks[2:4],), (blocks[4],)), ((blocks[5],), (*blocks[:2],)))
    return UShapeArch(space=space, grid_number=0, shape=network)


def nodes(data):
    """Op and attributes of each node, and where its inputs come from, whatever they are called."""
    graph = onnx.load_from_string(data).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = {name: number for number, node in enumerate(graph.node) for name in node.output}
    found = []
    for node in graph.node:
        inputs = [weights[name].tobytes() if name in weights else made.get(name, "image") for name in node.input]
        found.append((node.op_type, {a.name: helper.get_attribute_value(a) for a in node.attribute}, inputs))
    return found


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"down": "strided", "join": "add", "residual": True},
        {"stem_stride": (1, 1, 1), "residual": True},
    ],
    ids=["plain", "strided, summed, residual", "no stride in the stem"],
)
def test_the_written_graph_is_the_exported_one(shape):
    network = random_weights(build_network(arch(**shape)), 3)
    input_shape = network_input_shape(arch(**shape))
    exported = export_onnx(network, [input_shape])
    written = module_onnx(fold_batch_norm(network).body, [input_shape])
    assert nodes(written) == nodes(exported)
    x_BCDHW = np.random.default_rng(0).standard_normal(input_shape, dtype=np.float32)
    logits = [onnxruntime.InferenceSession(data).run(["logits"], {"image": x_BCDHW})[0] for data in (written, exported)]
    np.testing.assert_array_equal(*logits)
    assert logits[0].shape == (1, 4, 4, 16, 16)
    with torch.no_grad():
        np.testing.assert_allclose(logits[0], network(torch.from_numpy(x_BCDHW)).numpy(), rtol=1e-4, atol=1e-5)


def test_timing_takes_the_written_graph_and_training_torchs():
    timed, network = network_model(arch()), random_weights(build_network(arch()), 0)
    assert nodes(timed.onnx) == nodes(network_model(arch(), network).onnx)
    assert onnx.load_from_string(timed.onnx).producer_name == "cinert"
    assert onnx.load_from_string(network_model(arch(), network).onnx).producer_name == "pytorch"


@pytest.mark.parametrize(
    ("module", "inputs", "ops"),
    [
        (Concatenate(), 2, ["Concat"]),
        (Merge(), 2, ["Add"]),
        (nn.MaxPool3d((1, 2, 2)), 1, ["MaxPool"]),
        (make_head(3, (1, 1, 1)), 1, ["Conv"]),
        (make_head(3, (1, 2, 2)), 1, ["ConvTranspose"]),
    ],
)
def test_parts_are_written_too(module, inputs, ops):
    shape = (1, 3, 2, 4, 4)
    data = module_onnx(module.eval(), [shape] * inputs)
    assert [node.op_type for node in onnx.load_from_string(data).graph.node] == ops
    arrays = [np.random.default_rng(number).standard_normal(shape, dtype=np.float32) for number in range(inputs)]
    session = onnxruntime.InferenceSession(data)
    (result,) = session.run(None, dict(zip([node.name for node in session.get_inputs()], arrays, strict=True)))
    with torch.no_grad():
        np.testing.assert_allclose(result, module(*map(torch.from_numpy, arrays)).numpy(), rtol=1e-5, atol=1e-6)


def test_a_module_that_is_not_plain_is_refused():
    with pytest.raises(TypeError, match="GELU is not a module of a plain network"):
        module_onnx(nn.Sequential(nn.Conv3d(1, 1, 1), nn.GELU()), [(1, 1, 2, 2, 2)])
