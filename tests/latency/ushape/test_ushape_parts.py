"""The parts of U-shaped networks have the shapes, operations and weights that torch counts, and none is forgotten."""

import math
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cinert.errors import BadInputError
from cinert.network import build_network, fold_batch_norm, random_weights
from cinert.onnx import network_model
from cinert.spaces import USHAPE_PRESETS, load_any_space
from latency.breakdown import arch_parts
from latency.parts import PartKey, input_shapes
from latency.roofline import needed_flops
from latency.ushape.design import seeded_ushape
from latency.ushape.parts import grid_parts, make_ushape_part, row_keys, space_keys, ushape_part_model

NODES = {
    "stem": ("Conv", "Relu"),
    "conv": ("Conv", "Relu"),
    "depthwise": ("Conv",),
    "pool": ("MaxPool",),
    "strided": ("Conv", "Relu"),
    "enlarge": ("ConvTranspose",),
    "concat": ("Concat",),
    "merge": ("Add",),
}
MISSING = {"tiny": {"strided", "merge"}, "summed": {"pool", "concat"}, "refined": {"strided"}}
ARITHMETIC = {"stem", "conv", "depthwise", "strided", "enlarge", "head"}


def counted_flops(module, inputs):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["tiny", "summed", "refined"])
def test_each_part_has_the_shapes_flops_and_weights_of_its_key(request, name):
    keys = row_keys(request.getfixturevalue(name))
    assert {key.kind for key in keys} == {*NODES, "head"} - MISSING[name]
    for key in keys:
        module = fold_batch_norm(make_ushape_part(key).eval())
        inputs = [torch.zeros(shape) for shape in input_shapes(key)]
        assert module(*inputs).shape == (1, key.channels_out, *key.shape_out), key.label
        assert sum(parameter.numel() for parameter in module.parameters()) == key.weight_count, key.label
        if key.kind in ARITHMETIC:
            assert counted_flops(module, inputs) == key.flops, key.label


@pytest.mark.parametrize("name", ["tiny", "summed", "refined"])
def test_taps_in_the_padding_are_not_needed(request, name):
    """Products of a filter of ones and voxels of ones, counted."""
    for key in row_keys(request.getfixturevalue(name)):
        if key.kind in ARITHMETIC:
            module = make_ushape_part(key)
            layer = next(each for each in (module, *module.modules()) if hasattr(each, "weight"))
            with torch.no_grad():
                layer.weight.fill_(1.0)
                if layer.bias is not None:
                    layer.bias.zero_()
                products = float(layer(torch.ones(input_shapes(key)[0], dtype=torch.float32)).double().sum())
            assert needed_flops(key) == pytest.approx(2 * products), key.label


@pytest.mark.parametrize("name", ["tiny", "summed", "refined", *USHAPE_PRESETS])
def test_every_part_of_random_networks_can_be_priced(request, name):
    space = load_any_space(name) if name in USHAPE_PRESETS else request.getfixturevalue(name)
    keys = space_keys(space)
    assert len({key.label for key in keys}) == len(keys) == len(set(keys))
    assert set(row_keys(space)) <= set(keys)
    for seed in range(40):
        assert set(arch_parts(seeded_ushape(space, seed))) <= set(keys)


@pytest.mark.parametrize("name", ["tiny", "summed", "refined"])
def test_every_part_of_a_space_occurs(request, name):
    """Nothing is priced that no network holds: what is drawn often enough shows every part."""
    space = request.getfixturevalue(name)
    found = set()
    for seed in range(3000):
        found |= set(arch_parts(seeded_ushape(space, seed)))
    assert found == set(space_keys(space))


@pytest.mark.parametrize("name", ["tiny", "summed", "refined"])
def test_the_parts_are_the_nodes_of_the_graph(request, name):
    space = request.getfixturevalue(name)
    for seed in range(10):
        arch = seeded_ushape(space, seed)
        parts = arch_parts(arch)
        expected = Counter({"ConvTranspose": 1})
        for key, count in parts.items():
            for op in NODES.get(key.kind, ()):
                expected[op] += count
        graph = onnx.load_from_string(network_model(arch).onnx).graph
        assert Counter(node.op_type for node in graph.node) == expected
        network = fold_batch_norm(random_weights(build_network(arch), 0))
        weights = sum(count * key.weight_count for key, count in parts.items())
        assert weights == sum(parameter.numel() for parameter in network.parameters())
        image = torch.zeros(1, 1, *arch.input_shape_DHW)
        arithmetic = sum(count * key.flops for key, count in parts.items() if key.kind in ARITHMETIC)
        assert arithmetic == counted_flops(network, [image])


def test_a_head_without_a_stride_is_a_convolution(tiny):
    import dataclasses

    flat = dataclasses.replace(tiny, stem_stride=(1, 1, 1), strides=((1, 2, 2), (2, 2, 2)))
    head = grid_parts(flat)[0].head(6)
    assert (head.shape_in, head.shape_out, head.kernel) == ((4, 16, 16), (4, 16, 16), 1)
    assert head.flops == 2 * 4 * 16 * 16 * 6 * 4
    assert not head.transposed


def test_labels_and_keys_of_kernels_that_are_no_cubes(tiny):
    key = grid_parts(tiny)[0].stem(6)
    assert key.label == "stem 1-6 4x16x16-4x8x8 k1x5x5 s1x2x2 fp32"
    assert key.to_dict()["kernel"] == [1, 5, 5]
    assert PartKey.from_dict(key.to_dict(), source="key") == key
    dilated = next(key for key in space_keys(tiny) if key.dilation != 1)
    assert dilated.label.endswith("k1x3x3 d1x2x2 fp32")
    assert PartKey.from_dict(dilated.to_dict(), source="key") == dilated


def test_a_cube_is_one_number_however_it_is_given(tiny):
    cube = next(key for key in space_keys(tiny) if key.kernel == 3)
    assert cube == PartKey.from_dict({**cube.to_dict(), "kernel": [3, 3, 3]}, source="key")
    assert (cube.kernel, cube.kernel_DHW, cube.taps) == (3, (3, 3, 3), 27)
    assert hash(cube) == hash(PartKey.from_dict({**cube.to_dict(), "kernel": [3, 3, 3]}, source="key"))


def test_part_models_run(tiny):
    import onnxruntime

    for key in row_keys(tiny)[:12]:
        model = ushape_part_model(key)
        session = onnxruntime.InferenceSession(model.onnx)
        inputs = [np.ones(shape, np.float32) for shape in model.input_shapes]
        (result,) = session.run(None, dict(zip([node.name for node in session.get_inputs()], inputs, strict=True)))
        assert result.shape == (1, key.channels_out, *key.shape_out)
        assert math.isfinite(float(result.sum()))


def test_an_unknown_kind_is_refused(tiny):
    key = grid_parts(tiny)[0].merge(0, 4)
    with pytest.raises(BadInputError, match="unknown part 'attention' of a U-shaped network"):
        make_ushape_part(PartKey.from_dict({**key.to_dict(), "kind": "attention"}, source="key"))
