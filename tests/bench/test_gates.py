"""Parity of an engine that could not run where it was exported: checked by bench-engine, with export's gates."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from bench.engine_cli import bench_engine
from bench.gates import ParityInputs, check_audit, check_parity, parity_at_export, parity_inputs
from bench.tables import gate_lines
from cinert.bundle import open_bundle
from cinert.data.dataset import Sample
from cinert.files import sha256_of_file
from cinert.localiser_net import VERSION, LocaliserNet, localiser_model
from cinert.network import random_weights

NOT_RUN = {"status": "not_run", "relative_logits": None, "dice_drop": None, "inputs": {}}


def run(*words):
    words = ["--threads", 1, "--frames", 5, "--warmup", 1, "--budget-ms", 60000, "--device", "cpu", *words]
    return CliRunner().invoke(bench_engine, [str(word) for word in words])


@pytest.fixture
def left_open(bundle_folder, tmp_path):
    """The bundle as a machine writes it that cannot run the engine; `weights_times` spoils its weights."""

    def make(weights_times=1.0):
        folder = tmp_path / "bundle"
        shutil.copytree(bundle_folder, folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["parity"] |= NOT_RUN
        path = folder / "weights.safetensors"
        # Files are pinned by their hash, so that the changed one is pinned anew.
        tensors = load_file(path)
        last = sorted(name for name in tensors if name.startswith("head") and name.endswith("weight"))[-1]
        tensors[last] *= weights_times
        save_file(tensors, path)
        manifest["files"][path.name] = sha256_of_file(path)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return make


def test_parity_passes_here_and_the_bundle_stays_as_it_is(left_open, tmp_path, content):
    folder = left_open()
    before = content(folder)
    result = run(folder, "-o", tmp_path / "verify.json")
    assert result.exit_code == 0, result.output
    parity = json.loads((tmp_path / "verify.json").read_text())["parity"]
    assert (parity["status"], parity["checked"], parity["inputs"]) == ("passed", "here", {"random": 4})
    assert 0 < parity["relative_logits"] < parity["tolerance"] == 1e-3
    assert "PASSED parity" in result.stdout
    assert content(folder) == before


def test_an_engine_that_computes_something_else_exits_1_and_is_told(left_open, tmp_path):
    result = run(left_open(weights_times=1.01), "-o", tmp_path / "verify.json")
    assert result.exit_code == 1
    assert "FAILED parity" in result.stdout
    assert "the engine's logits differ from PyTorch's" in result.stderr
    document = json.loads((tmp_path / "verify.json").read_text())
    assert document["parity"]["status"] == "failed"
    assert document["parity"]["relative_logits"] > 1e-3
    assert document["budget_met"] is True
    assert document["failures"] == [f"parity: {document['parity']['reason']}"]


def test_what_passed_at_export_is_not_repeated_unless_there_are_data(bundle_folder, patients_folder, tmp_path):
    assert parity_inputs(open_bundle(bundle_folder), None) is None
    assert run(bundle_folder, "-o", tmp_path / "verify.json").exit_code == 0
    parity = json.loads((tmp_path / "verify.json").read_text())["parity"]
    assert (parity["status"], parity["checked"], parity["inputs"]) == ("passed", "export", {"random": 1})
    result = run(bundle_folder, "--data", patients_folder, "-o", tmp_path / "verify.json")
    assert result.exit_code == 0, result.output
    parity = json.loads((tmp_path / "verify.json").read_text())["parity"]
    assert (parity["checked"], parity["inputs"]) == ("here", {"random": 4, "frames": 3})


def test_data_in_no_known_layout_are_refused_before_anything_is_measured(left_open, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run(left_open(), "--data", tmp_path / "empty", "-o", tmp_path / "out" / "verify.json")
    assert result.exit_code == 2
    assert str(tmp_path / "empty") in result.stderr
    assert not (tmp_path / "out" / "verify.json").exists()


def test_without_pytorch_it_stays_open_and_says_so(left_open, monkeypatch):
    bundle = open_bundle(left_open())
    monkeypatch.setattr("bench.gates.find_spec", lambda name: None)
    assert parity_inputs(bundle, None) is None
    parity = parity_at_export(bundle)
    assert parity.status == "not_run"
    assert "PyTorch, the reference, is not installed here" in parity.reason
    assert "NOT JUDGED" in gate_lines({"parity": parity.to_dict(), "audit": None})[0]


class TestBelowFp32:
    """The gates by precision, on a runner that is the network itself but for what the test adds to its logits."""

    @pytest.fixture
    def compare(self, bundle, tiny_arch):
        network = bundle.load_runner("cpu", 1)
        rng = np.random.default_rng(0)
        label = np.zeros((4, 16, 16), np.uint8)
        label[1:3, 4:12, 4:12] = rng.integers(1, 4, (2, 8, 8))
        frames = [Sample("p", 1, "ED", rng.standard_normal((4, 16, 16), dtype=np.float32), label, 1.0)]

        def compare(precision, change, *, frames=frames):
            below = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, precision=precision))
            pipeline = SimpleNamespace(runner=SimpleNamespace(run=lambda x: change(network.run(x))), localiser=None)
            images = {"random": [rng.standard_normal((1, 1, 4, 16, 16), dtype=np.float32)]}
            return check_parity(below, pipeline, ParityInputs(images=images, frames=frames))

        return compare

    @pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.002), ("int8", 0.01)])
    def test_hardly_any_dice_may_be_lost(self, compare, precision, tolerance):
        # Logits that are twice PyTorch's give the same mask.
        parity = compare(precision, lambda logits: 2 * logits)
        assert (parity.status, parity.tolerance, parity.inputs) == ("passed", tolerance, {"frames": 1})
        assert parity.dice_drop == 0.0
        assert parity.relative_logits == pytest.approx(1.0, rel=1e-3)
        assert parity.failures == []

    def test_background_everywhere_fails(self, compare):
        def background(logits):
            logits[:, 0] = 1e3
            return logits

        parity = compare("fp16", background)
        assert parity.status == "failed"
        assert "the mean Dice drops by" in parity.failures[0]
        (line,) = gate_lines({"parity": parity.to_dict(), "audit": None})
        assert "FAILED" in line

    def test_logits_that_are_no_numbers_fail_and_are_valid_json(self, compare):
        parity = compare("int8", lambda logits: logits * np.float32("nan"))
        assert parity.status == "failed"
        assert parity.relative_logits is None
        json.dumps(parity.to_dict(), allow_nan=False)

    def test_without_labelled_frames_logits_are_told_and_not_judged(self, compare):
        parity = compare("fp16", lambda logits: 2 * logits, frames=())
        assert (parity.status, parity.inputs, parity.dice_drop) == ("not_run", {"random": 1}, None)
        assert parity.relative_logits == pytest.approx(1.0, rel=1e-3)
        assert "give --data" in parity.reason
        assert parity.failures == []


@pytest.mark.parametrize(("factor", "status"), [(1.0, "passed"), (1.01, "failed")])
def test_the_localiser_is_held_against_pytorch_too(bundle, tmp_path, factor, status):
    from cinert.backends import get_backend

    network = random_weights(LocaliserNet(), 0).eval()
    record = {"schema": "cinert.localiser", "version": VERSION, "seen_patients": []}
    save_file(network.state_dict(), tmp_path / "localiser.safetensors", metadata={"cinert": json.dumps(record)})
    shutil.copy(bundle.folder / "weights.safetensors", tmp_path)
    localiser = get_backend("ort").runner(localiser_model(network), threads=1)
    spoilt = SimpleNamespace(run=lambda x: factor * localiser.run(x))
    pipeline = SimpleNamespace(runner=bundle.load_runner("cpu", 1), localiser=SimpleNamespace(runner=spoilt))
    inputs = parity_inputs(
        dataclasses.replace(
            bundle,
            manifest=dataclasses.replace(
                bundle.manifest, parity=dataclasses.replace(bundle.manifest.parity, status="not_run")
            ),
        ),
        None,
    )
    parity = check_parity(dataclasses.replace(bundle, folder=tmp_path), pipeline, inputs)
    assert parity.status == status
    assert (parity.localiser_logits > 1e-3) == (status == "failed")


def test_an_engine_that_does_not_show_its_layers_has_no_audit(bundle):
    pipeline = SimpleNamespace(runner=bundle.load_runner("cpu", 1), localiser=None)
    assert check_audit(bundle, pipeline) is None
    manifest = dataclasses.replace(bundle.manifest, build={"network": {"audit": "not_run", "kept_in_fp32": []}})
    audit = check_audit(dataclasses.replace(bundle, manifest=manifest), pipeline)
    assert (audit.status, audit.checked) == ("not_run", "here")
    assert "ort does not show its layers" in audit.reason
