"""int8: ranges from real frames, pairs as TensorRT wants them, and nothing quantised in silence."""

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from cinert.backends.base import Model
from cinert.errors import BadInputError
from cinert.onnx import export_onnx, network_model
from cinert.ops import Concatenate
from cinert.sampling import random_arch
from cinert.spaces import load_space
from cinert.typed import typed_onnx


@pytest.fixture(scope="module")
def model():
    space = dataclasses.replace(load_space("demo"), input_shape_DHW=(4, 16, 16))
    rng = np.random.default_rng(0)
    frames = tuple(rng.standard_normal((1, 1, 4, 16, 16), dtype=np.float32) for _ in range(4))
    return dataclasses.replace(network_model(random_arch(space, 3)), calibration=frames)


@pytest.fixture(scope="module")
def quantised(model):
    return typed_onnx(model, "int8")


def run(data, image):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options).run(None, {"image": image})[0]


def test_quantised_logits_stay_near(model, quantised):
    image = np.random.default_rng(9).standard_normal((1, 1, 4, 16, 16), dtype=np.float32)
    expected = run(model.onnx, image)
    difference = np.abs(run(quantised.data, image) - expected).max() / np.abs(expected).max()
    assert 1e-4 < difference < 0.15


def test_every_convolution_reads_quantised_values_and_keeps_its_bias(quantised):
    graph = onnx.load_from_string(quantised.data).graph
    producers = {node.output[0]: node.op_type for node in graph.node}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert convolutions
    for node in convolutions:
        assert [producers.get(name) for name in node.input[:2]] == ["DequantizeLinear"] * 2
        assert all(name not in producers for name in node.input[2:])


def test_zero_points_are_zero_because_tensorrt_knows_no_others(quantised):
    graph = onnx.load_from_string(quantised.data).graph
    points = [numpy_helper.to_array(item) for item in graph.initializer if item.name.endswith("zero_point")]
    assert points
    assert all(not point.any() and point.dtype == np.int8 for point in points)


def test_what_stays_in_fp32_is_listed(quantised):
    assert {kept.op for kept in quantised.kept_in_fp32} <= {"Relu", "MaxPool", "Concat", "Add", "Resize"}
    assert all("not quantised" in kept.reason for kept in quantised.kept_in_fp32)


def test_the_same_frames_give_the_same_bytes(model, quantised):
    assert typed_onnx(model, "int8").data == quantised.data


def test_without_frames_it_is_bad_input(model):
    with pytest.raises(BadInputError, match="int8 needs real frames") as error:
        typed_onnx(dataclasses.replace(model, calibration=()), "int8")
    assert error.value.hint == "give --calibration DIR."


def test_frames_of_another_shape_are_bad_input(model):
    with pytest.raises(BadInputError, match="a calibration input is"):
        typed_onnx(dataclasses.replace(model, calibration=(np.zeros((1, 1, 4, 16, 17), np.float32),)), "int8")


def test_a_graph_without_convolutions_stays_as_it_is_and_needs_no_frames():
    shapes = ((1, 2, 3, 4, 4),) * 3
    model = Model(name="concat", input_shapes=shapes, make_onnx=lambda: export_onnx(Concatenate(), shapes))
    typed = typed_onnx(model, "int8")
    assert typed.data == model.onnx
    assert [kept.op for kept in typed.kept_in_fp32] == ["Concat"]
