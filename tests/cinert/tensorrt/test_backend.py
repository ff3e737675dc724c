"""What the back ends say where something is lacking, and which plan they take."""

import dataclasses
import json
from types import SimpleNamespace

import pytest

import cinert.backends.tensorrt.backend as subject
from cinert.backends import get_backend, resolve_backend
from cinert.backends.base import Engine
from cinert.backends.tensorrt import TensorRtBackend, TensorRtRtxBackend, flavour
from cinert.backends.tensorrt.flavour import TENSORRT
from cinert.errors import BackendUnavailableError, BadInputError, VerdictError


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(flavour, "find_spec", lambda name: None)


@pytest.fixture
def fake_module(monkeypatch):
    """Installs a module of that version in place of TensorRT."""

    def install(version, **content):
        module = SimpleNamespace(__version__=version, **content)
        monkeypatch.setattr(flavour, "find_spec", lambda name: name)
        monkeypatch.setattr(flavour, "import_module", lambda name: module)
        return module

    return install


@pytest.mark.parametrize(
    ("name", "package", "words"),
    [("trt", "tensorrt", "NVIDIA's own index"), ("trt-rtx", "tensorrt-rtx", "wheels are on PyPI")],
)
def test_a_missing_package_is_exit_3_with_where_to_get_it(nothing_installed, name, package, words):
    with pytest.raises(BackendUnavailableError, match=f"the package {package} is not installed") as error:
        resolve_backend(name, to_build=True)
    assert error.value.exit_code == 3
    assert words in str(error.value)


@pytest.mark.parametrize(
    "failure", [ImportError("libnvinfer.so.11: cannot open"), OSError("bad ELF"), RuntimeError("x")]
)
def test_a_library_that_does_not_load_is_a_reason(monkeypatch, failure):
    def broken(name):
        raise failure

    monkeypatch.setattr(flavour, "find_spec", lambda name: name)
    monkeypatch.setattr(flavour, "import_module", broken)
    availability = TensorRtBackend().available()
    assert not availability.ok
    assert availability.reason == f"TensorRT cannot be loaded ({failure})"


def test_a_library_that_is_too_old_is_a_reason(fake_module):
    fake_module("8.6.1")
    assert TensorRtBackend().available().reason == "TensorRT 8.6.1 is too old, 10.12 or later is needed"


@pytest.mark.parametrize("version", ["10.12.0.36", "10.13.2", "11.0.0.4"])
def test_the_versions_of_one_code_path_are_taken(fake_module, version):
    fake_module(version)
    assert flavour.version(flavour.load(TENSORRT)) == version


def test_tensorrt_needs_a_gpu_to_build_and_rtx_does_not(monkeypatch, fake_module):
    fake_module("11.0.0")
    monkeypatch.setattr(subject, "driver_problem", lambda index: "there is no NVIDIA driver here")
    assert TensorRtBackend().buildable().reason == "there is no NVIDIA driver here"
    assert TensorRtRtxBackend().available().reason == "there is no NVIDIA driver here"
    assert TensorRtRtxBackend().buildable().ok


@pytest.mark.parametrize(("capability", "ok"), [("8.6", True), ("9.0", False)])
def test_rtx_does_not_run_on_a_gpu_that_it_does_not_know(fake_module, gpu_of, capability, ok):
    fake_module("1.7.1", ComputeCapability=SimpleNamespace(__members__=["SM86", "SM120"]))
    gpu_of(capability)
    availability = TensorRtRtxBackend().available()
    assert availability.ok is ok
    if not ok:
        assert availability.reason == "TensorRT-RTX knows compute capability 8.6, 12.0, and this GPU has 9.0"
    assert TensorRtRtxBackend().buildable().ok


def test_the_cpu_is_no_device_for_either():
    assert "not on the CPU" in TensorRtRtxBackend().available("cpu").reason


def test_without_device_memory_nothing_runs(monkeypatch, fake_module, gpu_of):
    fake_module("11.0.0")
    gpu_of("9.0")
    monkeypatch.setattr(subject, "installed", lambda: ())
    assert TensorRtBackend().available().reason == "neither pycuda nor cuda-core is installed"


def test_a_pretended_gpu_is_in_the_fingerprint(fake_module, gpu_of, monkeypatch):
    fake_module("11.0.0")
    gpu_of("9.0")
    monkeypatch.setattr(subject, "driver_version", lambda: "590.1")
    found = TensorRtBackend(cuda_graph=False).fingerprint()
    assert found["device"]["compute_capability"] == "9.0"
    assert found["device"]["driver"] == "590.1"
    assert found["libraries"]["tensorrt"] == "11.0.0"
    assert found["libraries"]["cuda_graph"] is False


def test_without_a_gpu_rtx_has_to_be_told_what_to_build_for(rtx, conv_model, monkeypatch):
    monkeypatch.setattr(subject, "driver_problem", lambda index: "there is no NVIDIA driver here")
    with pytest.raises(BadInputError, match="has to be told which GPU to build for") as error:
        TensorRtRtxBackend().compile(conv_model, threads=1)
    assert "--compute-capability" in error.value.hint
    assert "8.6" in error.value.hint


def test_tensorrt_builds_for_its_own_gpu_alone(fake_module, gpu_of, conv_model):
    fake_module("11.0.0")
    gpu_of("9.0")
    with pytest.raises(BadInputError, match=r"builds for the GPU that is here, and not for compute capability 8\.6"):
        TensorRtBackend(capabilities=("8.6",)).compile(conv_model, threads=1)


class TestLoading:
    ENGINE = Engine("trt", "fp32", {"sm86.plan": b"plan"}, build={"version": "11.0.0", "compute_capabilities": ["8.6"]})

    def test_a_plan_of_another_version(self, fake_module, gpu_of):
        fake_module("11.1.0")
        gpu_of("8.6")
        with pytest.raises(BackendUnavailableError, match=r"built by TensorRT 11\.0\.0, here is 11\.1\.0") as error:
            TensorRtBackend().load(self.ENGINE, threads=1)
        assert error.value.exit_code == 3
        assert "export it again" in error.value.hint

    def test_a_plan_for_another_gpu(self, fake_module, gpu_of):
        fake_module("11.0.0")
        gpu_of("12.0")
        with pytest.raises(BackendUnavailableError, match=r"built for compute capability 8\.6, this GPU has 12\.0"):
            TensorRtBackend().load(self.ENGINE, threads=1)
        assert not TensorRtBackend().runs_here(self.ENGINE)

    def test_a_plan_that_the_library_does_not_take(self, fake_module, gpu_of, monkeypatch, device):
        self._library(fake_module, None)
        gpu_of("8.6")
        monkeypatch.setattr(subject, "open_device", lambda index: device)
        with pytest.raises(BackendUnavailableError, match="does not take the plan: magic tag does not match"):
            TensorRtBackend().load(self.ENGINE, threads=1)

    def test_a_plan_that_fits_runs(self, fake_module, gpu_of, monkeypatch, device, onnx_engine, conv_model, fake_trt):
        engine = dataclasses.replace(self.ENGINE, files={"sm86.plan": conv_model.onnx})
        self._library(fake_module, onnx_engine(conv_model.onnx), **vars(fake_trt))
        gpu_of("8.6")
        monkeypatch.setattr(subject, "open_device", lambda index: device)
        backend = get_backend("trt")
        assert backend.runs_here(engine)
        with backend.load(engine, threads=1) as runner:
            runner.fill()
            assert runner.output_shape == (1, 2, 3, 4, 4)

    @staticmethod
    def _library(fake_module, loaded, **content):
        class Logger:
            Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0)

        class Runtime:
            def __init__(self, log):
                self._log = log

            def deserialize_cuda_engine(self, plan):
                if loaded is None:
                    self._log.log(1, "magic tag does not match\n")
                return loaded

        fake_module("11.0.0", ILogger=Logger, Runtime=Runtime, **content)


def test_no_driver_is_a_line_and_not_a_crash(run_python):
    """In a process of its own, because a lean run time ends it by a segmentation fault."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (pip install tensorrt-rtx)")
    program = """
import cinert.device_memory.driver as driver
driver.LIBRARY = "libcuda-that-is-not-there.so.1"
from cinert.backends import get_backend
from cinert.backends.base import Engine
from cinert.errors import BackendUnavailableError
backend = get_backend("trt-rtx")
assert backend.buildable().ok
try:
    backend.load(Engine("trt-rtx", "fp32", {"sm86.plan": b"plan"}), threads=1)
except BackendUnavailableError as error:
    print(error.exit_code, error)
"""
    result = run_python(program)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("3 back end trt-rtx is not available because there is no NVIDIA driver here")


def test_the_run_time_needs_neither_torch_nor_onnx(run_python):
    program = """
import sys
import cinert.backends.tensorrt, cinert.device_memory
assert not {"torch", "onnx", "onnxruntime"} & set(sys.modules), sorted(sys.modules)
"""
    result = run_python(program)
    assert result.returncode == 0, result.stderr


class TestAudit:
    """The plan's own words, in the format of NVIDIA's engine inspector (developer guide, "Engine Inspector")."""

    @staticmethod
    def information(*layers):
        return json.dumps(
            {
                "Layers": [
                    {
                        "Name": name,
                        "Metadata": "".join(f"[ONNX Layer: {node}]" for node in nodes),
                        "Inputs": [{"Name": source, "Format/Datatype": "Half"}],
                        "Outputs": [{"Name": target, "Format/Datatype": kind}],
                    }
                    for name, nodes, source, target, kind in layers
                ]
            }
        )

    def test_half_throughout_passes(self):
        information = self.information(
            ("conv + relu", ["conv", "relu"], "image", "a", "Channel major FP16 format"),
            ("head", ["head"], "a", "logits", "Row major linear FP32"),
        )
        subject.audit_plan(information, "fp16", set())

    def test_fp32_between_layers_is_an_error_unless_it_was_declared(self):
        information = self.information(
            ("gate", ["gate", "mul"], "image", "a", "Row major linear FP32"),
            ("head", ["head"], "a", "logits", "Row major linear FP32"),
        )
        with pytest.raises(VerdictError, match=r"layer gate \(ONNX node gate, mul\) runs in fp32"):
            subject.audit_plan(information, "fp16", set())
        subject.audit_plan(information, "fp16", {"gate"})
        subject.audit_plan(information, "fp32", set())

    def test_a_plan_without_detail_cannot_pass(self):
        with pytest.raises(VerdictError, match="without detailed layer information"):
            subject.audit_plan(json.dumps({"Layers": ["conv"]}), "fp16", set())
