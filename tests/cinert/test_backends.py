import dataclasses

import numpy as np
import onnx
import pytest
import torch

from cinert.backends import BACKENDS, fastest_order, get_backend, resolve_backend
from cinert.environment import binding_differences, fingerprint
from cinert.errors import BackendUnavailableError, BadInputError
from cinert.network import Network, random_weights
from cinert.onnx import network_model
from cinert.sampling import random_arch
from cinert.spaces import load_space

ON_CPU = ("torch", "ort", "openvino")
# Notes of third parties while a program is exported or loaded; they concern their own code.


def reference(arch, image):
    network = random_weights(Network(arch), 0)
    with torch.no_grad():
        return network(torch.from_numpy(image)).numpy()


@pytest.mark.parametrize("name", ON_CPU)
@pytest.mark.parametrize("seed", range(4))
def test_every_back_end_agrees_with_pytorch(name, seed):
    arch = random_arch(load_space("demo"), seed)
    image = np.random.default_rng(seed).standard_normal((1, 1, 10, 64, 56), dtype=np.float32)
    expected = reference(arch, image)
    backend = resolve_backend(name, "cpu")
    model = network_model(arch)
    with backend.runner(model, device="cpu", threads=1) as runner, runner.fork() as second:
        for each in (runner, second):
            logits = each.run(image)
            assert np.abs(logits - expected).max() <= 1e-3 * np.abs(expected).max()
        assert runner.output_shape == expected.shape
        assert runner.device_ms() > 0


@pytest.mark.parametrize("name", ON_CPU)
def test_a_stored_engine_computes_the_same(name):
    arch = random_arch(load_space("demo"), 7)
    image = np.random.default_rng(0).standard_normal((1, 1, 10, 64, 56), dtype=np.float32)
    backend = get_backend(name)
    engine = backend.compile(network_model(arch), device="cpu", threads=1)
    assert (engine.backend, engine.precision) == (name, "fp32")
    assert all(isinstance(data, bytes) and data for data in engine.files.values())
    with backend.load(engine, device="cpu", threads=1) as runner:
        logits = runner.run(image)
        expected = reference(arch, image)
        assert np.abs(logits - expected).max() <= 1e-3 * np.abs(expected).max()
        with pytest.raises(BadInputError, match="takes inputs of shape"):
            runner.run(image[:, :, :5])


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_torch_on_a_gpu(precision, cuda_graph):
    from cinert.backends.pytorch import TorchBackend

    arch = random_arch(load_space("demo"), 7)
    image = np.random.default_rng(0).standard_normal((1, 1, 10, 64, 56), dtype=np.float32)
    backend = TorchBackend(cuda_graph=cuda_graph)
    with backend.runner(network_model(arch), precision=precision, device="cuda:0", threads=1) as runner:
        expected = reference(arch, image)
        tolerance = 1e-3 if precision == "fp32" else 2e-2
        assert np.abs(runner.run(image) - expected).max() <= tolerance * np.abs(expected).max()
        assert runner.device_ms() > 0


def test_exported_onnx_is_small_and_anonymous(repository):
    arch = random_arch(load_space("demo"), 1)
    data = network_model(arch).onnx
    weights = sum(tensor.numel() for tensor in Network(arch).state_dict().values()) * 4
    assert len(data) <= weights + 100_000
    assert str(repository).encode() not in data
    operators = {node.op_type for node in onnx.load_from_string(data).graph.node}
    assert "BatchNormalization" not in operators


@pytest.mark.parametrize("name", ["trt", "trt-rtx"])
def test_tensorrt_says_why_it_is_not_available(name, monkeypatch):
    monkeypatch.setattr("cinert.backends.tensorrt.flavour.find_spec", lambda name: None)
    with pytest.raises(BackendUnavailableError, match="is not available because") as error:
        resolve_backend(name)
    assert error.value.exit_code == 3


def test_auto_takes_the_first_that_works():
    assert resolve_backend("auto", "cpu").name == fastest_order("cpu")[0]
    assert set(fastest_order()) == set(BACKENDS)


@pytest.mark.parametrize(("gpu", "first"), [(False, "openvino"), (True, "torch")])
def test_auto_prefers_the_gpu_where_there_is_one(monkeypatch, gpu, first):
    monkeypatch.setattr("cinert.backends.has_nvidia_gpu", lambda: gpu)
    monkeypatch.setattr("cinert.backends.platform.machine", lambda: "x86_64")
    order = [name for name in fastest_order() if not name.startswith("trt")]
    assert order[0] == first
    assert set(fastest_order()) == set(BACKENDS)


def test_unknown_names_and_precisions_are_bad_input():
    with pytest.raises(BadInputError, match="unknown back end 'tflite'"):
        resolve_backend("tflite")
    with pytest.raises(BadInputError, match="precision 'fp16' is not supported by back end ort") as error:
        resolve_backend("ort", "cpu", "fp16")
    assert error.value.hint == "it supports fp32, int8."
    with pytest.raises(BadInputError, match="precision 'fp8' is not supported by any back end here on device cpu"):
        resolve_backend("auto", "cpu", "fp8")
    with pytest.raises(BackendUnavailableError, match="on the CPU, not on cuda:0"):
        resolve_backend("ort", "cuda:0")


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_a_precision_that_the_device_lacks_is_bad_input(precision):
    # The GPU has it, the CPU of the same back end has not.
    with pytest.raises(
        BadInputError, match=f"precision '{precision}' is not supported by back end torch on device cpu"
    ) as error:
        resolve_backend("torch", "cpu", precision)
    assert error.value.hint == "it supports fp32, bf16."


@pytest.mark.parametrize(("precision", "expected"), [("bf16", "torch"), ("int8", "ort")])
def test_auto_takes_the_fastest_that_has_the_precision(precision, expected):
    assert resolve_backend("auto", "cpu", precision).name == expected


def test_int8_of_onnx_runtime_stays_near_pytorch_and_needs_frames():
    arch = random_arch(dataclasses.replace(load_space("demo"), input_shape_DHW=(4, 16, 16)), 3)
    rng = np.random.default_rng(0)
    frames = tuple(rng.standard_normal((1, 1, 4, 16, 16), dtype=np.float32) for _ in range(4))
    model = dataclasses.replace(network_model(arch), calibration=frames)
    backend = get_backend("ort")
    engine = backend.compile(model, precision="int8", device="cpu", threads=1)
    assert b"QuantizeLinear" in engine.onnx
    with backend.load(engine, device="cpu", threads=1) as runner:
        expected = reference(arch, frames[0])
        assert 1e-4 < np.abs(runner.run(frames[0]) - expected).max() / np.abs(expected).max() < 0.15
    with pytest.raises(BadInputError, match="int8 needs real frames to calibrate"):
        backend.compile(network_model(arch), precision="int8", device="cpu", threads=1)


def test_fingerprints_bind_device_threads_and_versions():
    backend = get_backend("ort")
    here = fingerprint(backend, device="cpu", threads=2, precision="fp32")
    assert binding_differences(here, here) == []
    there = {**here, "threads": 4, "device": {**here["device"], "name": "other"}, "libraries": {"onnxruntime": "1"}}
    differences = binding_differences(there, here)
    assert [line.split(":")[0] for line in differences] == ["threads", "device.name", "libraries.onnxruntime"]
    assert "'other' there" in differences[1]
    assert binding_differences({**here, "recorded": {}}, here) == []
