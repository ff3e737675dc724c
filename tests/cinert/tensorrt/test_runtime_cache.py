"""The runtime cache on a double: kernels are compiled once for a GPU and a plan, and nothing damaged is taken."""

from types import SimpleNamespace

import numpy as np
import pytest

import cinert.backends.tensorrt.backend as subject
from cinert.backends.base import Engine
from cinert.backends.tensorrt import TensorRtRtxBackend, flavour
from cinert.backends.tensorrt.runner import TensorRtRunner
from cinert.backends.tensorrt.runtime_cache import RuntimeCache


class JitCache:
    """As IRuntimeCache: takes what it serialised itself, if it was on the same GPU."""

    def __init__(self, gpu):
        self._gpu, self.kernels = gpu, b""

    def deserialize(self, blob):
        taken = blob.startswith(self._gpu)
        if taken:
            self.kernels = blob.removeprefix(self._gpu)
        return taken

    def serialize(self):
        return bytearray(self._gpu + self.kernels)


class JitConfig:
    def __init__(self, gpu):
        self._gpu, self.cache = gpu, None

    def create_runtime_cache(self):
        return JitCache(self._gpu)

    def set_runtime_cache(self, cache):
        self.cache = cache
        return True


@pytest.fixture
def load_engine(onnx_engine, conv_model):
    """Deserialises an engine that compiles for a GPU what its cache lacks, and counts it in `compiled`."""

    def deserialise(gpu=b"ada:"):
        engine = onnx_engine(conv_model.onnx)
        engine.compiled, plain = 0, engine.create_execution_context

        def create_execution_context(config):
            if not config.cache.kernels:
                engine.compiled += 1
                config.cache.kernels = b"machine code"
            return plain()

        engine.create_runtime_config = lambda: JitConfig(gpu)
        engine.create_execution_context = create_execution_context
        return engine

    return deserialise


@pytest.fixture
def run(fake_trt, device, tmp_path):
    """Makes a runner, with the cache in `kernels` unless another path is given, and runs a frame; the runner."""

    def run(engine, path=tmp_path / "kernels"):
        runner = TensorRtRunner(fake_trt, engine, device, cuda_graph=True, runtime_cache=RuntimeCache(engine, path))
        assert np.isfinite(runner.run(np.ones(runner.input_shapes[0], np.float32))).all()
        return runner

    return run


def test_a_second_load_compiles_nothing(load_engine, run, tmp_path):
    first, second = load_engine(), load_engine()
    run(first)
    kept = (tmp_path / "kernels").stat()
    run(second)
    assert (first.compiled, second.compiled) == (1, 0)
    after = (tmp_path / "kernels").stat()
    assert (after.st_ino, after.st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns), "written again for nothing"


def test_a_fork_takes_the_kernels_of_the_first(load_engine, run):
    engine = load_engine()
    run(engine).fork()
    assert engine.compiled == 1


@pytest.mark.parametrize("position", [0, 40, -1])
def test_a_changed_byte_is_not_deserialised(load_engine, run, tmp_path, position, monkeypatch):
    run(load_engine())
    path = tmp_path / "kernels"
    whole = path.read_bytes()
    data = bytearray(whole)
    data[position] ^= 1
    path.write_bytes(data)

    def never(self, blob):
        raise AssertionError("deserialised")

    monkeypatch.setattr(JitCache, "deserialize", never)
    again = load_engine()
    run(again)
    assert again.compiled == 1
    assert path.read_bytes() == whole


def test_kernels_of_another_gpu_are_replaced(load_engine, run):
    run(load_engine(b"ada:"))
    other, again = load_engine(b"blackwell:"), load_engine(b"blackwell:")
    run(other)
    run(again)
    assert (other.compiled, again.compiled) == (1, 0)


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(load_engine, run, tmp_path):
    (tmp_path / "file").write_text("no folder")
    engine = load_engine()
    run(engine, tmp_path / "file" / "kernels")
    assert engine.compiled == 1


def test_each_plan_has_a_cache_of_its_own(load_engine, device, fake_trt, gpu_of, tmp_path, monkeypatch):
    engines = [load_engine() for _ in range(3)]
    loaded = iter(engines)

    class Logger:
        Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0)

    runtime = SimpleNamespace(deserialize_cuda_engine=lambda plan: next(loaded))
    module = SimpleNamespace(__version__="1.7.1", ILogger=Logger, Runtime=lambda log: runtime, **vars(fake_trt))
    monkeypatch.setattr(flavour, "find_spec", lambda name: name)
    monkeypatch.setattr(flavour, "import_module", lambda name: module)
    monkeypatch.setattr(subject, "open_device", lambda index: device)
    monkeypatch.setenv("CINERT_CACHE", str(tmp_path))
    gpu_of("8.6")
    for plan in (b"one plan", b"one plan", b"another"):
        build = {"version": "1.7.1", "compute_capabilities": ["8.6"]}
        TensorRtRtxBackend().load(Engine("trt-rtx", "fp32", {"sm86.plan": plan}, build=build), threads=1).close()
    assert [engine.compiled for engine in engines] == [1, 0, 1]
    assert len(list(tmp_path.glob("trt-rtx-1.7.1-GPU-0-*.runtime-cache"))) == 2
