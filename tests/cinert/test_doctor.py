import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

import cinert.doctor
from cinert import __version__
from cinert.backends import BACKENDS, Availability
from cinert.doctor import examine
from cinert.main import main


def run(*words):
    return CliRunner().invoke(main, list(words))


def test_doctor_names_every_back_end_and_why_not():
    result = run("doctor")
    assert result.exit_code == 0, result.output
    for name in BACKENDS:
        assert name in result.output
    assert "(auto)" in result.output


def test_doctor_as_json():
    found = json.loads(run("doctor", "--json").stdout)
    assert found["cinert"] == __version__
    assert found["backends"]["torch"]["available"] is True
    assert found["backends"]["torch"]["precisions"][0] == "fp32"
    assert found["backends"]["ort"]["precisions"] == ["fp32", "int8"]
    assert found["backends"]["torch"]["libraries"]["torch"]
    assert found["backends"]["trt"]["available"] is False
    assert found["backends"]["trt"]["reason"]
    assert found["auto"] in BACKENDS
    assert found["machine"]["threads_used"] >= 1
    assert {"trt", "rtx", "pycuda", "bedside"} <= set(found["optional_packages"])
    assert "dev" not in found["optional_packages"]
    assert found["cache"]["folder"]


def test_a_library_that_breaks_on_import_is_a_finding(monkeypatch):
    def broken(name):
        raise OSError("libnvinfer.so.10: cannot open shared object file\nlong trace")

    monkeypatch.setattr(cinert.doctor, "get_backend", broken)
    backend = examine()["backends"]["ort"]
    assert backend["available"] is False
    assert backend["reason"] == "libnvinfer.so.10: cannot open shared object file"


def test_a_gpu_is_described(monkeypatch):
    class Properties:
        name, major, minor, total_memory = "H200", 9, 0, 2**37

    class Cuda:
        is_available = staticmethod(lambda: True)
        device_count = staticmethod(lambda: 1)
        get_device_properties = staticmethod(lambda number: Properties)

    real = cinert.doctor.import_module
    monkeypatch.setattr(cinert.doctor, "import_module", lambda name: Cuda if name == "torch.cuda" else real(name))
    assert examine()["gpu"]["devices"] == [{"name": "H200", "compute_capability": "9.0", "memory_gib": 128.0}]
    assert "cuda:0" in run("doctor").output


def test_version_and_help():
    assert run("--version").stdout.split()[-1] == __version__
    listing = run("--help").stdout
    assert "doctor" in listing
    assert "report" in listing


def test_an_unknown_subcommand_is_a_usage_error():
    result = run("nope")
    assert result.exit_code == 2
    assert "No such command" in result.stderr


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["doctor", "--help"]])
def test_the_group_imports_no_torch(words):
    code = f"""
import sys
from cinert.main import main
try:
    main({words!r})
except SystemExit:
    pass
assert not {{"torch", "onnx", "monai", "matplotlib", "bench"}} & set(sys.modules), "heavy import"
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_doctor_tells_what_builds_from_what_runs(monkeypatch):
    class Builder:
        def precisions_on(self):
            return ("fp16",)

        def available(self):
            return Availability(ok=False, reason="there is no NVIDIA driver here")

        def buildable(self):
            return Availability(ok=True, reason="for compute capability 8.6")

        def fingerprint(self):
            return {"libraries": {"tensorrt_rtx": "1.7"}}

    monkeypatch.setattr(cinert.doctor, "get_backend", lambda name: Builder())
    found = examine()["backends"]["trt-rtx"]
    assert (found["available"], found["buildable"]) == (False, True)
    assert found["libraries"] == {"tensorrt_rtx": "1.7"}
    shown = " ".join(run("doctor").output.replace("│", " ").split())
    assert "cannot run:" in shown
    assert "can build:" in shown
