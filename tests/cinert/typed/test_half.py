"""Half precision: values as computed by the ONNX reference, types as declared, and exceptions named."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from cinert.baselines.networks import build_baseline
from cinert.baselines.unet3d import UNet3d
from cinert.network import random_weights
from cinert.onnx import export_onnx, network_model
from cinert.sampling import random_arch
from cinert.spaces import load_space
from cinert.typed.half import to_half


def graph(nodes, weights=(), opset=20):
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 2, 3, 4, 4))]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)]
    model = helper.make_model(
        helper.make_graph(nodes, "graph", inputs, outputs, list(weights)),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )
    return onnx.shape_inference.infer_shapes(model).SerializeToString()


def elements(data):
    """Element type of each tensor of a graph, by name."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data)).graph
    values = [*model.value_info, *model.input, *model.output]
    return {value.name: TensorProto.DataType.Name(value.type.tensor_type.elem_type) for value in values}


def run(data, image):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


@pytest.mark.parametrize("seed", range(4))
def test_networks_in_fp16_stay_close_and_keep_nothing_in_fp32(seed):
    data = network_model(random_arch(load_space("demo"), seed)).onnx
    typed = to_half(data, "fp16")
    assert typed.kept_in_fp32 == ()
    image = np.random.default_rng(seed).standard_normal((1, 1, 10, 64, 56), dtype=np.float32)
    expected, half = run(data, image), run(typed.data, image)
    difference = np.abs(half - expected).max() / np.abs(expected).max()
    # Above zero: half precision was computed; below a few of its steps: nothing else was changed.
    assert 0 < difference < 5e-3
    types = elements(typed.data)
    assert types.pop("image") == types.pop("logits") == "FLOAT"
    assert set(types.values()) == {"FLOAT16"}


def test_weights_take_half_the_space():
    data = network_model(random_arch(load_space("demo"), 1)).onnx
    assert 0.45 < len(to_half(data, "fp16").data) / len(data) < 0.6


def test_bf16_is_computed_in_bf16():
    weight = np.random.default_rng(0).standard_normal((2, 2, 1, 1, 1), dtype=np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["features"], name="conv"),
        helper.make_node("Relu", ["features"], ["logits"], name="relu"),
    ]
    data = graph(nodes, [numpy_helper.from_array(weight, "w")])
    typed = to_half(data, "bf16")
    assert {elements(typed.data)[name] for name in ("features", "logits_bf16")} == {"BFLOAT16"}
    image = np.random.default_rng(1).standard_normal((1, 2, 3, 4, 4), dtype=np.float32)
    expected = run(data, image)
    (half,) = ReferenceEvaluator(typed.data).run(None, {"image": image})
    difference = np.abs(half - expected).max() / np.abs(expected).max()
    assert 1e-4 < difference < 0.03


def test_an_op_that_is_not_known_to_be_safe_stays_in_fp32_and_is_named():
    nodes = [
        helper.make_node("Relu", ["image"], ["a"], name="relu"),
        helper.make_node("Softmax", ["a"], ["b"], name="attention", axis=1),
        helper.make_node("Mul", ["a", "b"], ["logits"], name="gate"),
    ]
    typed = to_half(graph(nodes), "fp16")
    assert [(kept.node, kept.op) for kept in typed.kept_in_fp32] == [("attention", "Softmax")]
    assert "not on the list" in typed.kept_in_fp32[0].reason
    types = elements(typed.data)
    assert (types["a"], types["b"], types["logits_fp16"]) == ("FLOAT16", "FLOAT", "FLOAT16")
    image = np.random.default_rng(1).standard_normal((1, 2, 3, 4, 4), dtype=np.float32)
    np.testing.assert_allclose(run(typed.data, image), run(graph(nodes), image), atol=2e-3)


def test_a_weight_beyond_fp16_keeps_its_node_in_fp32_and_not_in_bf16():
    weight = numpy_helper.from_array(np.full((2, 2, 1, 1, 1), 7e4, np.float32), "w")
    data = graph([helper.make_node("Conv", ["image", "w"], ["logits"], name="conv")], [weight])
    (kept,) = to_half(data, "fp16").kept_in_fp32
    assert kept.node == "conv"
    assert "w reaches 7e+04, beyond the 65504 of fp16" in kept.reason
    assert to_half(data, "bf16").kept_in_fp32 == ()


def test_a_weight_that_is_not_a_number_keeps_its_node_in_fp32():
    weight = numpy_helper.from_array(np.full((2, 2, 1, 1, 1), np.nan, np.float32), "w")
    data = graph([helper.make_node("Conv", ["image", "w"], ["logits"], name="conv")], [weight])
    assert len(to_half(data, "fp16").kept_in_fp32) == 1


def test_inputs_that_the_standard_fixes_to_fp32_stay_so():
    scales = numpy_helper.from_array(np.asarray([1, 1, 2, 2, 2], np.float32), "scales")
    node = helper.make_node("Resize", ["image", "", "scales"], ["logits"], name="up", mode="linear")
    typed = to_half(graph([node], [scales]), "fp16")
    model = onnx.load_from_string(typed.data)
    assert [(tensor.name, tensor.data_type) for tensor in model.graph.initializer] == [("scales", TensorProto.FLOAT)]


def test_a_tensor_that_is_an_output_and_read_again_is_cast_once():
    nodes = [
        helper.make_node("Relu", ["image"], ["logits"], name="relu"),
        helper.make_node("Add", ["logits", "logits"], ["twice"], name="add"),
        helper.make_node("Softmax", ["twice"], ["unused"], name="soft"),
    ]
    typed = onnx.load_from_string(to_half(graph(nodes), "fp16").data)
    assert [node.op_type for node in typed.graph.node] == ["Cast", "Relu", "Cast", "Add", "Cast", "Softmax"]
    assert list(typed.graph.node[3].input) == ["logits_fp16", "logits_fp16"]


def test_whole_numbers_are_left_alone():
    nodes = [
        helper.make_node("Shape", ["image"], ["shape"], name="shape"),
        helper.make_node("Reshape", ["image", "shape"], ["logits"], name="reshape"),
    ]
    types = elements(to_half(graph(nodes), "fp16").data)
    assert types["shape"] == "INT64"
    assert types["logits_fp16"] == "FLOAT16"


def test_the_unet_with_its_transposed_convolutions():
    unet = UNet3d.for_space(load_space("demo"), (8, 16, 32), {})
    network = random_weights(build_baseline(unet), 0)
    data = export_onnx(network, [(1, 1, 10, 64, 56)])
    typed = to_half(data, "fp16")
    assert typed.kept_in_fp32 == ()
    image = np.random.default_rng(0).standard_normal((1, 1, 10, 64, 56), dtype=np.float32)
    expected = run(data, image)
    assert 0 < np.abs(run(typed.data, image) - expected).max() / np.abs(expected).max() < 5e-3
