"""On a GPU: engines of both libraries against PyTorch, in every precision that needs no calibration."""

import numpy as np
import pytest
import torch

from cinert.backends import get_backend
from cinert.device_memory import installed, open_device
from cinert.network import Network, random_weights
from cinert.onnx import network_model
from cinert.sampling import random_arch
from cinert.spaces import load_space

pytestmark = pytest.mark.gpu
TOLERANCE = {"fp32": 1e-3, "tf32": 1e-2, "fp16": 2e-2, "bf16": 0.1}


@pytest.fixture(params=["trt", "trt-rtx"])
def backend(request):
    found = get_backend(request.param)
    availability = found.available()
    if not availability.ok:
        pytest.skip(f"{request.param}: {availability.reason}")
    return found


@pytest.mark.parametrize("cuda_graph", [True, False])
@pytest.mark.parametrize("precision", TOLERANCE)
def test_engines_give_pytorchs_logits(backend, precision, cuda_graph):
    arch = random_arch(load_space("demo"), 7)
    image = np.random.default_rng(0).standard_normal((1, 1, 10, 64, 56), dtype=np.float32)
    with torch.inference_mode():
        expected = random_weights(Network(arch), 0)(torch.from_numpy(image)).numpy()
    backend.cuda_graph = cuda_graph
    engine = backend.compile(network_model(arch), precision=precision, threads=1)
    assert engine.build["audit"] == "passed"
    with backend.load(engine, threads=1) as runner, runner.fork() as second:
        for each in (runner, second):
            difference = np.abs(each.run(image) - expected).max() / np.abs(expected).max()
            assert difference <= TOLERANCE[precision]
        assert runner.device_ms() > 0
        assert runner.layer_times_ms(runs=2)
        assert "Layers" in runner.information()


@pytest.mark.parametrize("implementation", ["pycuda", "cuda-core"])
def test_both_device_memories_carry_an_engine(backend, implementation, monkeypatch):
    if implementation not in installed():
        pytest.skip(f"{implementation} is not installed")
    where = "cinert.backends.tensorrt.backend.open_device"
    monkeypatch.setattr(where, lambda index: open_device(index, implementation))
    with backend.runner(network_model(random_arch(load_space("demo"), 7)), threads=1) as runner:
        runner.fill()
        assert np.isfinite(runner.run(np.zeros(runner.input_shapes[0], np.float32))).all()


def test_a_second_engine_is_built_from_the_timings_of_the_first(backend, tmp_path, monkeypatch):
    if backend.name == "trt-rtx":
        pytest.skip("TensorRT-RTX keeps no timings")
    monkeypatch.setenv("CINERT_CACHE", str(tmp_path))
    model = network_model(random_arch(load_space("demo"), 7))
    first = backend.compile(model, threads=1)
    assert first.files["timing-cache"]
    (cache,) = tmp_path.glob("*.timing-cache")
    kept = cache.read_bytes()
    backend.compile(model, threads=1)
    # Every tactic was in the cache already.
    assert len(cache.read_bytes()) == len(kept)


def test_a_second_load_compiles_nothing(backend, tmp_path, monkeypatch):
    if backend.name == "trt":
        pytest.skip("a plan of TensorRT holds its machine code")
    monkeypatch.setenv("CINERT_CACHE", str(tmp_path))
    engine = backend.compile(network_model(random_arch(load_space("demo"), 7)), threads=1)
    backend.load(engine, threads=1).close()
    (cache,) = tmp_path.glob("*.runtime-cache")
    kept = cache.read_bytes()
    backend.load(engine, threads=1).close()
    assert len(cache.read_bytes()) == len(kept)
