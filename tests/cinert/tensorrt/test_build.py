"""Building with the real TensorRT-RTX, without a GPU: what the plan is, and what is refused in which words."""

import dataclasses

import numpy as np
import pytest
from onnx import helper, numpy_helper

from cinert.backends.tensorrt.build import BuildOptions
from cinert.errors import BadInputError, VerdictError
from cinert.onnx import network_model
from cinert.sampling import random_arch
from cinert.spaces import load_space
from cinert.typed import TypedOnnx
from latency.noise_ranges import with_noise_ranges


@pytest.mark.parametrize(
    ("precision", "layers"),
    [("fp32", {"FLOAT": 2}), ("tf32", {"FLOAT": 2}), ("fp16", {"HALF": 2}), ("bf16", {"BF16": 2})],
)
def test_every_precision_builds_and_says_what_runs_in_what(rtx, conv_model, precision, layers):
    engine = rtx("8.6", "12.0").compile(conv_model, precision=precision, threads=1)
    assert list(engine.files) == ["sm86.plan", "sm120.plan"]
    assert engine.build["layers"] == layers
    assert engine.build["kept_in_fp32"] == []
    assert engine.build["compute_capabilities"] == ["8.6", "12.0"]
    assert engine.build["audit"] == "not_run"
    assert engine.files["sm86.plan"] != engine.files["sm120.plan"]


def test_int8_builds_from_calibration(rtx, conv_model):
    rng = np.random.default_rng(3)
    frames = tuple(rng.standard_normal((1, 2, 3, 4, 4), dtype=np.float32) for _ in range(3))
    engine = rtx().compile(dataclasses.replace(conv_model, calibration=frames), precision="int8", threads=1)
    assert [kept["op"] for kept in engine.build["kept_in_fp32"]] == ["Relu"]
    assert engine.build["layers"] == {"INT8": 1, "FLOAT": 1}
    assert b"QuantizeLinear" in engine.onnx


def test_two_builds_are_the_same_and_come_from_the_typed_onnx_alone(rtx, conv_model):
    engine = rtx().compile(conv_model, precision="fp16", threads=1)
    typed = dataclasses.replace(conv_model, make_onnx=lambda: engine.onnx)
    again = rtx().compile(typed, precision="fp32", threads=1)
    assert again.files["sm86.plan"] == engine.files["sm86.plan"]


def test_an_op_that_is_refused_is_named_with_its_node(rtx, make_model):
    pool = helper.make_node(
        "MaxPool", ["image"], ["logits"], name="pool_7", kernel_shape=[2, 2, 2], dilations=[1, 2, 2]
    )
    with pytest.raises(BadInputError) as error:
        rtx().compile(make_model([pool], name="network abc"), precision="fp32", threads=1)
    message = str(error.value)
    assert "TensorRT-RTX refuses network abc" in message
    assert "op MaxPool (ONNX node pool_7)" in message
    assert "dilations" in message
    assert "\n" not in message
    assert error.value.exit_code == 2


def test_an_unknown_op_is_named(rtx, make_model):
    with pytest.raises(BadInputError, match=r"op Frobnicate \(ONNX node frob\)"):
        rtx().compile(make_model([helper.make_node("Frobnicate", ["image"], ["logits"], name="frob")]), threads=1)


def test_what_parses_and_does_not_build_is_one_line(rtx, conv_model):
    # Compute capability 7.5 has no fp32 convolution in three dimensions.
    with pytest.raises(
        BadInputError, match=r"cannot build test model for compute capability 7\.5 \(layer conv\): .*FP32 3D"
    ) as error:
        rtx("7.5").compile(conv_model, precision="fp32", threads=1)
    assert "\n" not in str(error.value)
    assert "--precision fp16" in error.value.hint


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "int8"])
def test_what_is_advised_below_compute_capability_8_builds(rtx, precision):
    """A searched network; int8 keeps its first convolution in fp32."""
    model = network_model(random_arch(load_space("demo"), 0))
    with pytest.raises(BadInputError, match=r"compute capability 7\.5") as error:
        rtx("7.5").compile(with_noise_ranges(model) if precision == "int8" else model, precision=precision, threads=1)
    assert error.value.hint.startswith("--precision fp16: ")
    assert "fp32" not in error.value.hint
    assert list(rtx("7.5").compile(model, precision="fp16", threads=1).files) == ["sm75.plan"]


def test_all_capabilities_are_looked_at_before_one_is_built_for(rtx, conv_model, monkeypatch):
    monkeypatch.setattr("cinert.backends.tensorrt.backend.build_plan", lambda *_, **__: pytest.fail("built"))
    with pytest.raises(BadInputError, match=r"compute capability 7\.5"):
        rtx("8.6", "7.5").compile(conv_model, precision="bf16", threads=1)


def test_mixed_types_are_refused(rtx, make_model):
    other = numpy_helper.from_array(np.ones((1, 2, 3, 4, 4), np.float16), "other")
    add = helper.make_node("Add", ["image", "other"], ["logits"], name="mixed")
    with pytest.raises(BadInputError, match=r"op Add \(ONNX node mixed\)"):
        rtx().compile(make_model([add], weights=[other]), threads=1)


@pytest.mark.parametrize("capability", ["8.7", "99.0", "sm86"])
def test_an_unknown_compute_capability_is_bad_input(rtx, conv_model, capability):
    with pytest.raises(BadInputError, match=f"compute capability '{capability}' is unknown to TensorRT-RTX"):
        rtx(capability).compile(conv_model, threads=1)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_a_precision_that_the_gpu_lacks_is_bad_input(rtx, conv_model, precision):
    with pytest.raises(
        BadInputError, match=f"precision {precision} is not supported by a GPU of compute capability 7.5"
    ):
        rtx("7.5").compile(conv_model, precision=precision, threads=1)


def test_a_layer_in_fp32_that_was_not_declared_is_an_error(rtx, make_model, monkeypatch):
    # A graph that was declared fp16 and is fp32.
    relu = make_model([helper.make_node("Relu", ["image"], ["logits"], name="relu_3")])
    monkeypatch.setattr("cinert.typed.typed_onnx", lambda model, precision: TypedOnnx(relu.onnx, ()))
    with pytest.raises(VerdictError, match=r"layer relu_3 \(ONNX node relu_3\) runs in fp32 in an engine of fp16"):
        rtx().compile(relu, precision="fp16", threads=1)


def test_a_declared_layer_may_stay_in_fp32(rtx, make_model):
    nodes = [
        helper.make_node("Relu", ["image"], ["a"], name="relu"),
        helper.make_node("Sigmoid", ["a"], ["b"], name="gate"),
        helper.make_node("Mul", ["a", "b"], ["logits"], name="mul"),
    ]
    engine = rtx().compile(make_model(nodes), precision="fp16", threads=1)
    assert [kept["node"] for kept in engine.build["kept_in_fp32"]] == ["gate"]
    assert engine.build["layers"] == {"HALF": 2, "FLOAT": 1}


def test_too_small_a_workspace_is_said_with_the_option_that_raises_it(rtx):
    model = network_model(random_arch(load_space("demo"), 0))
    with pytest.raises(BadInputError, match="within workspace limit") as error:
        rtx(options=BuildOptions(workspace_mib=1)).compile(model, threads=1)
    assert error.value.hint == "raise --workspace-mib."


def test_options_reach_the_builder(rtx, conv_model):
    options = BuildOptions(workspace_mib=64, optimisation_level=1, aux_streams=0)
    engine = rtx(options=options).compile(conv_model, threads=1)
    assert engine.build["options"] == {"workspace_mib": 64, "optimisation_level": 1, "aux_streams": 0}


def test_a_shape_that_does_not_fit_is_named_with_its_node(rtx, make_model):
    # Static shapes that contradict each other.
    weight = numpy_helper.from_array(np.ones((2, 3, 1, 1, 1), np.float32), "w")
    conv = helper.make_node("Conv", ["image", "w"], ["logits"], name="conv_bad")
    with pytest.raises(BadInputError, match="conv_bad"):
        rtx().compile(make_model([conv], weights=[weight]), threads=1)


def test_onnx_that_is_none_is_refused(rtx, conv_model):
    broken = dataclasses.replace(conv_model, make_onnx=lambda: b"not a graph")
    with pytest.raises(BadInputError, match="TensorRT-RTX refuses test model"):
        rtx().compile(broken, threads=1)
