"""What a user sees where TensorRT cannot be used: the commands in a process of their own, in a spoilt environment."""

import json

import pytest
from safetensors.torch import save

from cinert.backends.base import Engine
from cinert.bundle_write import BundleContent, write_bundle
from cinert.network import Network, random_weights
from cinert.onnx import network_model
from cinert.sampling import random_arch
from cinert.spaces import load_space
from export.dice_gate import parity_not_run
from export.engine import spec_of, tensor_specs
from export.parity import TOLERANCE

NO_PACKAGE = """
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name.startswith("tensorrt") else find_spec(name, *a)
"""
NO_DRIVER = """
import cinert.device_memory.driver as driver
driver.LIBRARY = "libcuda-that-is-not-there.so.1"
"""
COMMAND = """
import sys
from importlib.metadata import entry_points
name, *words = sys.argv[1:]
(entry,) = entry_points(group="console_scripts", name=name)
entry.load()(words)
"""


def assert_one_line(result, code, *words):
    assert result.returncode == code, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr


class TestVendorIndexUnreachable:
    """`pip install tensorrt` fails, and leaves nothing or the package without its libraries."""

    def test_bench_ops_says_what_is_missing_and_where_it_comes_from(self, run_python, tmp_path):
        output = tmp_path / "lut.json"
        result = run_python(NO_PACKAGE + COMMAND, "bench-ops", "--backend", "trt", "-o", output)
        words = ("the package tensorrt is not installed", "pip install tensorrt cuda-core", "pypi.nvidia.com")
        assert_one_line(result, 3, *words)
        assert list(tmp_path.iterdir()) == []

    def test_doctor_says_it_too_and_goes_on(self, run_python):
        result = run_python(NO_PACKAGE + COMMAND, "cinert", "doctor", "--json")
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout)
        trt = found["backends"]["trt"]
        assert (trt["available"], trt["buildable"]) == (False, False)
        assert "pypi.nvidia.com" in trt["reason"]
        assert "wheels are on PyPI" in found["backends"]["trt-rtx"]["reason"]
        assert found["backends"]["ort"]["available"] is True
        assert not found["auto"].startswith("trt")

    def test_a_package_without_its_libraries_is_half_installed(self, run_python, tmp_path):
        (tmp_path / "tensorrt").mkdir()
        (tmp_path / "tensorrt" / "__init__.py").write_text("from tensorrt_libs import *\n")
        path = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
        result = run_python(path + COMMAND, "bench-ops", "--backend", "trt", "-o", tmp_path / "lut.json")
        assert_one_line(result, 3, "TensorRT is half installed", "No module named 'tensorrt_libs'", "pypi.nvidia.com")


@pytest.fixture
def built_elsewhere(tmp_path):
    """A bundle whose plan nothing can deserialise: whoever tried would not say what the tests expect."""
    arch = random_arch(load_space("demo"), 0)
    network = random_weights(Network(arch), 0)
    model = network_model(arch)
    inputs, outputs = tensor_specs(model.onnx)
    build = {"version": "0.0", "compute_capabilities": ["8.6"], "kept_in_fp32": [], "audit": "not_run"}
    return write_bundle(
        tmp_path / "bundle",
        BundleContent(
            arch=arch,
            weights=save(network.state_dict()),
            onnx=model.onnx,
            engine=Engine("trt-rtx", "fp32", {"sm86.plan": b"plan"}, build=build),
            preprocessing=spec_of(arch),
            inputs=inputs,
            outputs=outputs,
            fingerprint={},
            parity=parity_not_run("fp32", TOLERANCE),
            versions={},
            seen_patients=(),
        ),
    ).folder


@pytest.mark.parametrize("command", ["bench-engine", "evaluate-bundle"])
def test_no_driver_is_one_line_and_the_interpreter_lives(run_python, built_elsewhere, tmp_path, command):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (pip install tensorrt-rtx)")
    words = [command, built_elsewhere, "-o", tmp_path / "out.json"]
    words += ["--data", tmp_path] if command == "evaluate-bundle" else []
    result = run_python(NO_DRIVER + COMMAND, *words)
    assert_one_line(result, 3, "back end trt-rtx is not available because there is no NVIDIA driver here")
    assert not (tmp_path / "out.json").exists()
