"""bench-engine on the double: a plan built elsewhere is held against PyTorch and audited where it runs."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from safetensors.torch import save

import cinert.backends.tensorrt.backend as subject
from bench.engine_cli import bench_engine
from cinert.backends.base import Engine
from cinert.backends.tensorrt import flavour
from cinert.bundle_write import BundleContent, write_bundle
from cinert.network import Network, random_weights
from cinert.onnx import network_model
from cinert.sampling import random_arch
from cinert.spaces import load_space
from cinert.typed import typed_onnx
from export.dice_gate import parity_not_run
from export.engine import spec_of, tensor_specs
from export.parity import TOLERANCE

HALF, FULL = "Channel major FP16 format", "Row major linear FP32"


class Library(SimpleNamespace):
    """What loading a plan asks of TensorRT; `make_engine` stands for deserialising."""

    def __init__(self, make_engine, **content):
        class Logger:
            Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0)

        runtime = SimpleNamespace(deserialize_cuda_engine=make_engine)
        super().__init__(__version__="11.0.0", ILogger=Logger, Runtime=lambda log: runtime, **content)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch, fake_trt, device, gpu_of, onnx_engine):
    """Writes a bundle as a machine without a GPU does, and then is the machine that has one."""

    def make(precision, *, gate_format=HALF, other_weights=False):
        space = dataclasses.replace(load_space("demo"), name="tiny", layers=2, input_shape_DHW=(4, 16, 16))
        arch = random_arch(space, seed=3, paths=1)
        network, built = (random_weights(Network(arch), seed) for seed in (0, int(other_weights)))
        model = network_model(arch, built)
        typed = typed_onnx(model, precision)
        build = {"version": "11.0.0", "compute_capabilities": ["8.6"], "kept_in_fp32": [], "audit": "not_run"}
        inputs, outputs = tensor_specs(model.onnx)
        bundle = write_bundle(
            tmp_path / "bundle",
            BundleContent(
                arch=arch,
                weights=save(network.state_dict()),
                onnx=typed.data,
                engine=Engine("trt", precision, {"sm86.plan": typed.data}, onnx=typed.data, build=build),
                preprocessing=spec_of(arch),
                inputs=inputs,
                outputs=outputs,
                fingerprint={},
                parity=parity_not_run(precision, TOLERANCE),
                versions={},
                seen_patients=(),
            ),
        )

        def layer(name, source, target, kind):
            tensors = {"Inputs": [{"Name": source}], "Outputs": [{"Name": target, "Format/Datatype": kind}]}
            return {"Name": name, "Metadata": f"[ONNX Layer: {name}]", **tensors}

        layers = [layer("gate", "image", "a", gate_format), layer("head", "a", "logits", FULL)]
        inspector = SimpleNamespace(get_engine_information=lambda kind: json.dumps({"Layers": layers}))

        def make_engine(plan):
            engine = onnx_engine(plan)
            engine.create_engine_inspector = lambda: inspector
            return engine

        library = Library(make_engine, **vars(fake_trt))
        monkeypatch.setattr(flavour, "find_spec", lambda name: name)
        monkeypatch.setattr(flavour, "import_module", lambda name: library)
        gpu_of("8.6")
        monkeypatch.setattr(subject, "open_device", lambda index: device)
        return bundle.folder

    return make


def run(folder, output, *words):
    arguments = [folder, "--threads", 1, "--frames", 5, "--warmup", 1, "--budget-ms", 60000, "-o", output, *words]
    result = CliRunner().invoke(bench_engine, [str(word) for word in arguments])
    assert output.is_file(), result.output or result.exception
    return result, json.loads(output.read_text())


def test_parity_and_audit_are_done_where_the_plan_runs(elsewhere, tmp_path, content, device):
    folder = elsewhere("fp32")
    before = content(folder)
    result, document = run(folder, tmp_path / "verify.json")
    assert result.exit_code == 0, result.output
    assert (document["parity"]["status"], document["parity"]["checked"]) == ("passed", "here")
    assert document["audit"] == {"status": "passed", "checked": "here", "reason": None}
    assert "PASSED parity" in result.stdout
    assert "PASSED audit here" in result.stdout
    # The double's events tell 1.5 ms for every execution.
    assert document["measured"]["device_p50_ms"] == document["frame_to_mask"]["device_p50_ms"] == 1.5
    assert "p50 ms, GPU alone*" in result.stdout
    assert content(folder) == before
    assert json.loads((folder / "manifest.json").read_text())["parity"]["status"] == "not_run"
    assert all(buffer.released for buffer in device.buffers)


def test_a_plan_of_other_weights_fails(elsewhere, tmp_path):
    result, document = run(elsewhere("fp32", other_weights=True), tmp_path / "verify.json")
    assert result.exit_code == 1
    assert document["parity"]["status"] == "failed"
    assert "the engine's logits differ from PyTorch's" in result.stderr


def test_fp16_without_labelled_frames_is_not_judged_and_its_layers_are(elsewhere, tmp_path):
    result, document = run(elsewhere("fp16"), tmp_path / "verify.json")
    assert result.exit_code == 0, result.output
    assert document["parity"]["status"] == "not_run"
    assert 0 < document["parity"]["relative_logits"] < 1e-2
    assert document["audit"]["status"] == "passed"
    assert "NOT JUDGED parity" in result.stdout


def test_fp16_is_judged_by_its_dice_on_data(elsewhere, tmp_path):
    from cinert.data.phantom import write_phantom

    write_phantom(tmp_path / "phantom", patients=2, seed=0)
    _, document = run(elsewhere("fp16"), tmp_path / "verify.json", "--data", tmp_path / "phantom")
    parity = document["parity"]
    assert (parity["status"], parity["tolerance"]) == ("passed", 0.002)
    assert abs(parity["dice_drop"]) <= 0.002
    assert parity["inputs"]["frames"] >= 2


def test_a_layer_in_fp32_that_was_not_declared_exits_1(elsewhere, tmp_path):
    result, document = run(elsewhere("fp16", gate_format=FULL), tmp_path / "verify.json")
    assert result.exit_code == 1
    assert document["audit"]["status"] == "failed"
    assert "network: layer gate (ONNX node gate) runs in fp32 in an engine of fp16" in document["audit"]["reason"]
    assert "FAILED audit here" in result.stdout
