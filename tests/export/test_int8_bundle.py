"""int8 on the CPU, from calibration to the proof: ONNX Runtime runs what TensorRT engines are built from."""

import json

import onnx
from click.testing import CliRunner

from bench.engine_cli import bench_engine
from cinert.bundle import open_bundle
from cinert.data.phantom import write_phantom
from export.cli import export_engine


def run(command, *words):
    return CliRunner().invoke(command, [str(word) for word in words])


def test_an_int8_bundle_of_onnx_runtime(arch_file, tmp_path):
    data = tmp_path / "phantom"
    write_phantom(data, patients=2, seed=0)
    words = ("--backend", "ort", "--precision", "int8", "--calibration", data, "--data", data, "--threads", 1)
    result = run(export_engine, arch_file, *words)
    assert result.exit_code == 0, result.output
    bundle = open_bundle(arch_file.parent / "bundle")
    assert bundle.manifest.engine == ("ort-int8.onnx",)
    assert bundle.manifest.parity.status == "passed"
    assert bundle.manifest.parity.dice_drop <= bundle.manifest.parity.tolerance == 0.01
    graph = onnx.load(bundle.folder / "ort-int8.onnx").graph
    assert "QuantizeLinear" in {node.op_type for node in graph.node}
    words = ("--data", data, "--threads", 1, "--frames", 5, "--budget-ms", 60000, "-o", tmp_path / "verify.json")
    result = run(bench_engine, bundle.folder, *words)
    assert result.exit_code == 0, result.output
    parity = json.loads((tmp_path / "verify.json").read_text())["parity"]
    assert (parity["status"], parity["checked"]) == ("passed", "here")
    assert parity["dice_drop"] == bundle.manifest.parity.dice_drop
