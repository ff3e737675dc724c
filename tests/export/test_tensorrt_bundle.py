"""export-engine for TensorRT-RTX: real plans for several GPUs from a machine without one."""

import json
import re
import subprocess
import sys

import onnx
import pytest
from click.testing import CliRunner
from safetensors.torch import save_file

from cinert.bundle import open_bundle
from cinert.data.phantom import write_phantom
from cinert.errors import BackendUnavailableError, BadInputError
from cinert.localiser_net import VERSION, LocaliserNet
from cinert.network import random_weights
from export.cli import export_engine

RTX = ("--backend", "trt-rtx", "--threads", "1")


def run(*arguments):
    return CliRunner().invoke(export_engine, [str(argument) for argument in arguments])


def assert_refused(result, code, *words):
    assert result.exit_code == code, result.output
    assert result.output.count("\n") == 1, result.output
    for word in words:
        assert word in result.output


@pytest.fixture(autouse=True)
def needs_rtx():
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (pip install tensorrt-rtx)")


@pytest.fixture
def bundle(arch_file):
    result = run(arch_file, *RTX, "--precision", "fp16", "--compute-capability", "8.6,8.9,12.0")
    assert result.exit_code == 0, result.output
    return open_bundle(arch_file.parent / "bundle")


def test_one_plan_for_each_gpu(bundle):
    plans = sorted(path.name for path in bundle.folder.glob("*.plan"))
    assert plans == ["trt-rtx-fp16-sm120.plan", "trt-rtx-fp16-sm86.plan", "trt-rtx-fp16-sm89.plan"]
    assert bundle.manifest.engine == (
        "trt-rtx-fp16-sm86.plan",
        "trt-rtx-fp16-sm89.plan",
        "trt-rtx-fp16-sm120.plan",
    )
    assert list(bundle.engine.files) == ["sm86.plan", "sm89.plan", "sm120.plan"]


def test_what_was_not_done_is_said(bundle):
    assert bundle.manifest.parity.status == "not_run"
    assert bundle.manifest.parity.relative_logits is None
    assert bundle.manifest.parity.tolerance == 0.002
    build = bundle.engine.build
    assert build["audit"] == "not_run"
    assert build["kept_in_fp32"] == []
    assert set(build["layers"]) == {"HALF"}
    assert bundle.manifest.inputs[0].dtype == "float32"


def test_the_summary_says_so_too(arch_file):
    result = run(arch_file, *RTX, "--compute-capability", "8.6")
    assert result.exit_code == 0, result.output
    assert "not run: the engine is for another machine" in result.output


def save_localiser(folder):
    record = {"schema": "cinert.localiser", "version": VERSION, "seen_patients": [{"id": "patient901", "digest": "ab"}]}
    state = random_weights(LocaliserNet(), 0).state_dict()
    save_file(state, folder / "localiser.safetensors", metadata={"cinert": json.dumps(record)})


class TestRebuilding:
    """benchmarks/rebuild_plan.py, which knows TensorRT-RTX and nothing of ours."""

    @pytest.fixture
    def rebuild(self, repository):
        script = repository / "benchmarks" / "rebuild_plan.py"
        return lambda folder: subprocess.run(
            [sys.executable, "-I", str(script), str(folder)], capture_output=True, text=True, check=False
        )

    def test_the_script_imports_nothing_of_ours(self, repository):
        text = (repository / "benchmarks" / "rebuild_plan.py").read_text()
        assert (
            set(re.findall(r"^(?:import|from) (\w+)", text, re.M)) & {"cinert", "latency", "export", "bench"} == set()
        )

    @pytest.mark.parametrize(
        ("precision", "options"),
        [("fp16", ()), ("tf32", ("--workspace-mib", 512, "--optimisation-level", 1, "--aux-streams", 0))],
    )
    def test_every_plan_is_rebuilt_from_the_onnx_beside_it(self, arch_file, rebuild, precision, options):
        save_localiser(arch_file.parent)
        result = run(arch_file, *RTX, "--precision", precision, *options, "--compute-capability", "8.6,12.0")
        assert result.exit_code == 0, result.output
        done = rebuild(arch_file.parent / "bundle")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("the same, byte by byte") == 4

    def test_a_plan_of_other_weights_is_another_plan(self, bundle, rebuild):
        path = bundle.folder / "model.onnx"
        model = onnx.load(path)
        weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        changed = bytearray(weights.raw_data)
        changed[0] ^= 1
        weights.raw_data = bytes(changed)
        onnx.save(model, path)
        done = rebuild(bundle.folder)
        assert done.returncode == 1, done.stdout + done.stderr
        assert done.stdout.count("ANOTHER PLAN") == 3

    def test_another_version_is_not_compared(self, bundle, rebuild):
        path = bundle.folder / "manifest.json"
        version = bundle.engine.build["version"]
        path.write_text(path.read_text().replace(version, "1.2.3"))
        done = rebuild(bundle.folder)
        assert done.returncode == 2
        assert f"was built by TensorRT-RTX 1.2.3, here is TensorRT-RTX {version}" in done.stdout


def test_a_changed_byte_is_refused_before_anything_is_deserialised(bundle, monkeypatch):
    def never(*_):
        raise AssertionError("deserialised")

    monkeypatch.setattr("cinert.backends.tensorrt.backend.load", never)
    path = bundle.folder / "trt-rtx-fp16-sm86.plan"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadInputError, match="is not the file that was exported"):
        open_bundle(bundle.folder)


def test_loading_it_without_a_driver_is_exit_3(bundle, monkeypatch):
    monkeypatch.setattr(
        "cinert.backends.tensorrt.backend.driver_problem", lambda index: "there is no NVIDIA driver here"
    )
    with pytest.raises(BackendUnavailableError, match="there is no NVIDIA driver here") as error:
        bundle.load_runner(threads=1)
    assert error.value.exit_code == 3


def test_the_localiser_is_built_for_the_same_gpus(arch_file):
    save_localiser(arch_file.parent)
    result = run(arch_file, *RTX, "--precision", "fp16", "--compute-capability", "8.6,12.0")
    assert result.exit_code == 0, result.output
    bundle = open_bundle(arch_file.parent / "bundle")
    assert bundle.manifest.localiser == ("localiser-trt-rtx-fp16-sm86.plan", "localiser-trt-rtx-fp16-sm120.plan")
    assert list(bundle.localiser.files) == ["sm86.plan", "sm120.plan"]
    assert set(bundle.localiser.build["layers"]) == {"HALF"}


def test_int8_takes_its_ranges_from_patients_and_counts_them_as_seen(arch_file, tmp_path):
    write_phantom(tmp_path / "phantom", patients=2, seed=0)
    result = run(
        arch_file, *RTX, "--precision", "int8", "--calibration", tmp_path / "phantom", "--compute-capability", "8.6"
    )
    assert result.exit_code == 0, result.output
    bundle = open_bundle(arch_file.parent / "bundle")
    assert b"DequantizeLinear" in (bundle.folder / "model.onnx").read_bytes()
    assert len(bundle.seen_patients) == 3
    kept = bundle.engine.build["kept_in_fp32"]
    assert kept
    assert all("not quantised" in item["reason"] for item in kept)
    assert json.loads((bundle.folder / "manifest.json").read_text())["parity"]["tolerance"] == 0.01


class TestBadInput:
    def test_no_gpu_named(self, arch_file, monkeypatch):
        monkeypatch.setattr(
            "cinert.backends.tensorrt.backend.driver_problem", lambda index: "there is no NVIDIA driver here"
        )
        assert_refused(run(arch_file, *RTX), 2, "which GPU to build for", "--compute-capability takes one or more")

    @pytest.mark.parametrize(
        ("text", "words"),
        [("8.7", "unknown to TensorRT-RTX"), ("sm86", "no compute capability"), ("8.6;8.9", "no compute capability")],
    )
    def test_capabilities(self, arch_file, text, words):
        assert_refused(run(arch_file, *RTX, "--compute-capability", text), 2, words)
        assert not (arch_file.parent / "bundle").exists()

    def test_an_option_of_tensorrt_with_another_back_end(self, arch_file):
        result = run(arch_file, "--backend", "ort", "--compute-capability", "8.6")
        assert_refused(result, 2, "--compute-capability is for TensorRT, and the back end is ort")

    def test_int8_without_calibration(self, arch_file):
        assert_refused(run(arch_file, *RTX, "--precision", "int8"), 2, "real frames", "--calibration DIR")

    def test_calibration_without_int8(self, arch_file, tmp_path):
        assert_refused(run(arch_file, *RTX, "--calibration", tmp_path), 2, "--calibration is for int8")

    def test_an_empty_calibration_folder(self, arch_file, tmp_path):
        (tmp_path / "empty").mkdir()
        result = run(
            arch_file, *RTX, "--precision", "int8", "--calibration", tmp_path / "empty", "--compute-capability", "8.6"
        )
        assert_refused(result, 2, str(tmp_path / "empty"))
