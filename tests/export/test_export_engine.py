"""export-engine: from arch.yaml and weights to a bundle, or one clear line and nothing written."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

import export.engine
from cinert.arch import load_arch, save_arch
from cinert.bundle import open_bundle
from cinert.data.localiser import VIEW
from cinert.errors import BadInputError
from cinert.localiser_net import LocaliserNet
from cinert.network import Network, load_weights, random_weights
from cinert.onnx import network_model
from cinert.sampling import random_arch
from export.cli import export_engine
from latency.lut import save_lut
from search.data import PatientRecord
from search.localise import LocaliserSettings, save_localiser

# ONNX Runtime needs no conversion, so it is the quickest engine to build where the back end does not matter.
QUICK = ("--backend", "ort", "--threads", "1")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(export_engine, [str(argument) for argument in arguments])


def assert_refused(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    assert result.output.startswith("export-engine: "), result.output
    assert result.output.count("\n") == 1, result.output
    for word in words:
        assert word in result.output


@pytest.mark.parametrize("name", ["torch", "ort", "openvino"])
def test_the_bundle_of_every_back_end_gives_the_trained_networks_logits(arch_file: Path, name: str) -> None:
    result = run(arch_file, "--backend", name, "--threads", 1)

    assert result.exit_code == 0, result.output
    bundle = open_bundle(arch_file.parent / "bundle")
    network = Network(load_arch(arch_file))
    load_weights(network, arch_file.parent / "weights.safetensors")
    image = np.random.default_rng(7).standard_normal(bundle.manifest.inputs[0].shape, dtype=np.float32)
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(image)).numpy()
    with bundle.load_runner(threads=1) as runner:
        np.testing.assert_allclose(runner.run(image), expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    assert bundle.backend == name
    assert bundle.manifest.parity.inputs == {"random": 4}
    assert bundle.seen_patients == ({"id": "patient901", "digest": "ab"},)
    assert bundle.estimate is None


def test_the_owners_words_work(arch_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(arch_file.parent)

    result = run("arch.yaml")

    assert result.exit_code == 0, result.output
    assert "wrote bundle" in result.output
    assert open_bundle(Path("bundle")).manifest.parity.status == "passed"


def test_patients_of_the_search_count_as_seen(tmp_path: Path, arch, save_trained) -> None:
    searched = {"seen_patients": [{"id": "patient902", "digest": "cd"}, {"id": "patient901", "digest": "ab"}]}
    path = save_trained(tmp_path, dataclasses.replace(arch, provenance=searched))

    assert run(path, *QUICK).exit_code == 0

    seen = open_bundle(tmp_path / "bundle").seen_patients
    assert seen is not None
    assert [patient["id"] for patient in seen] == ["patient901", "patient902"]


def test_parity_failure_exits_1_and_leaves_no_bundle(arch_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_weights(arch, network):
        return network_model(arch, random_weights(Network(arch), seed=99))

    monkeypatch.setattr(export.engine, "network_model", other_weights)
    before = sorted(path.name for path in arch_file.parent.iterdir())

    assert_refused(run(arch_file, *QUICK), 1, "differ from PyTorch's", "no bundle was written")

    assert sorted(path.name for path in arch_file.parent.iterdir()) == before


def test_parity_failure_leaves_the_older_bundle(arch_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(arch_file, *QUICK).exit_code == 0
    before = open_bundle(arch_file.parent / "bundle").digest
    monkeypatch.setattr("export.parity.TOLERANCE", 0.0)

    assert run(arch_file, *QUICK).exit_code == 1

    assert open_bundle(arch_file.parent / "bundle").digest == before


class TestBadInput:
    def test_weights_of_another_shape(self, arch_file: Path, tmp_path: Path, tiny_space, save_trained) -> None:
        other = save_trained(tmp_path / "other", random_arch(tiny_space, seed=8, paths=1))

        result = run(arch_file, "--weights", other.parent / "weights.safetensors", *QUICK)

        assert_refused(result, 2, "do not fit", str(arch_file), "weights.safetensors")

    def test_weights_of_another_architecture_with_the_same_shapes(self, arch_file: Path, arch, save_trained) -> None:
        save_trained(arch_file.parent, arch, metadata={"arch_digest": "0123456789abcdef"})

        assert_refused(run(arch_file, *QUICK), 2, "trained for architecture 0123456789abcdef", arch.digest)

    def test_missing_weights(self, arch_file: Path) -> None:
        (arch_file.parent / "weights.safetensors").unlink()

        assert_refused(run(arch_file, *QUICK), 2, "weights.safetensors do not exist", "--weights")

    def test_weights_that_are_cut_short(self, arch_file: Path) -> None:
        path = arch_file.parent / "weights.safetensors"
        path.write_bytes(path.read_bytes()[:-100])

        assert_refused(run(arch_file, *QUICK), 2, str(path), "cannot be read")

    @pytest.mark.parametrize("metadata", [{"version": 9}, {"classes": ["a"]}, {"seen_patients": [1]}])
    def test_metadata_that_cannot_be_used(self, arch_file: Path, arch, save_trained, metadata) -> None:
        save_trained(arch_file.parent, arch, metadata=metadata)

        assert_refused(run(arch_file, *QUICK), 2, "weights.safetensors", next(iter(metadata)))

    @pytest.mark.parametrize("name", ["trt", "trt-rtx"])
    def test_tensorrt_answers_why_not(self, arch_file: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cinert.backends.tensorrt.flavour.find_spec", lambda name: None)
        assert_refused(run(arch_file, "--backend", name), 3, f"{name} is not available because")

    def test_a_precision_that_the_back_end_lacks(self, arch_file: Path) -> None:
        assert_refused(run(arch_file, "--backend", "ort", "--precision", "fp16"), 2, "'fp16' is not supported")

    def test_a_precision_that_cannot_be_judged(self, arch_file: Path) -> None:
        result = run(arch_file, "--backend", "torch", "--device", "cpu", "--precision", "bf16")
        assert_refused(result, 2, "bf16 is judged by its Dice", "give --data")

    def test_an_output_that_holds_other_files(self, arch_file: Path) -> None:
        assert_refused(run(arch_file, "-o", arch_file.parent, *QUICK), 2, "arch.yaml, which would be lost")
        assert arch_file.is_file()

    def test_an_output_that_cannot_be_written(self, arch_file: Path) -> None:
        assert_refused(run(arch_file, "-o", arch_file / "bundle", *QUICK), 2, "cannot write", str(arch_file))

    def test_an_architecture_that_is_not_there(self, tmp_path: Path) -> None:
        assert_refused(run(tmp_path / "arch.yaml", *QUICK), 2, "cannot read the architecture", "arch.yaml")

    def test_data_in_another_layout(self, arch_file: Path, tmp_path: Path) -> None:
        assert_refused(run(arch_file, "--data", arch_file.parent, *QUICK), 2, "in no known layout")
        assert not (arch_file.parent / "bundle").exists()


@pytest.fixture
def foreign_lut(made_up_lut):
    """Of another machine."""

    def make(space):
        lut = made_up_lut(space, lambda key: 0.25)
        return dataclasses.replace(
            lut, fingerprint={**lut.fingerprint, "device": {"kind": "cpu", "name": "Bedside CPU", "cores": 8}}
        )

    return make


class TestEstimate:
    def test_of_another_machine_is_stored_and_the_machine_named(
        self, arch_file: Path, tmp_path: Path, arch, foreign_lut
    ) -> None:
        save_lut(tmp_path / "lut.json", foreign_lut(arch.space))

        result = run(arch_file, "--lut", tmp_path / "lut.json", *QUICK)

        assert result.exit_code == 0, result.output
        assert "Bedside CPU" in result.output
        manifest = open_bundle(arch_file.parent / "bundle").manifest
        assert manifest.estimate is not None
        assert manifest.lut is not None
        assert manifest.estimate["low_ms"] < manifest.estimate["ms"] < manifest.estimate["high_ms"]
        assert "Bedside CPU" in manifest.lut["device"]

    def test_of_another_back_end_is_refused(self, arch_file: Path, tmp_path: Path, arch, foreign_lut) -> None:
        save_lut(tmp_path / "lut.json", foreign_lut(arch.space))

        result = run(arch_file, "--lut", tmp_path / "lut.json", "--backend", "torch")

        assert_refused(result, 2, "prices of ort", "the engine is torch", "--backend ort")

    def test_of_another_precision_is_refused(self, arch_file: Path, tmp_path: Path, arch, foreign_lut) -> None:
        save_lut(tmp_path / "lut.json", foreign_lut(arch.space))
        words = ("--backend", "ort", "--precision", "int8", "--calibration", tmp_path)

        result = run(arch_file, "--lut", tmp_path / "lut.json", *words)

        assert_refused(result, 2, "prices of ort in fp32, the engine is ort in int8", "a LUT of ort in int8")
        assert not (arch_file.parent / "bundle").exists()

    def test_of_another_space_is_refused(self, arch_file: Path, tmp_path: Path, arch, foreign_lut) -> None:
        other = dataclasses.replace(arch.space, widths=(4, 8, 12))
        save_lut(tmp_path / "lut.json", foreign_lut(other))

        assert_refused(run(arch_file, "--lut", tmp_path / "lut.json", *QUICK), 2)


def test_real_frames_take_part_in_parity(arch_file: Path, shared: Path, tmp_path: Path) -> None:
    for patient in ("patient002", "patient003"):
        shutil.copytree(shared / "acdc" / patient, tmp_path / "data" / patient)

    result = run(arch_file, "--data", tmp_path / "data", *QUICK)

    assert result.exit_code == 0, result.output
    assert open_bundle(arch_file.parent / "bundle").manifest.parity.inputs == {"random": 4, "frames": 2}


def test_an_arch_file_that_moved_keeps_its_weights(arch_file: Path, tmp_path: Path) -> None:
    save_arch(tmp_path / "elsewhere.yaml", load_arch(arch_file))

    result = run(tmp_path / "elsewhere.yaml", "--weights", arch_file.parent / "weights.safetensors", *QUICK)

    assert result.exit_code == 0, result.output
    assert (tmp_path / "bundle").is_dir()


@pytest.fixture
def localiser_file(arch_file: Path) -> Path:
    """A localiser beside the weights, as train-arch leaves it."""
    network = random_weights(LocaliserNet(), seed=1)
    path = arch_file.parent / "localiser.safetensors"
    save_localiser(path, network, LocaliserSettings(), [PatientRecord(id="patient902", digest="cd")])
    return path


@pytest.mark.parametrize("name", ["torch", "ort", "openvino"])
def test_the_localiser_beside_the_weights_comes_along(arch_file: Path, localiser_file: Path, name: str) -> None:
    result = run(arch_file, "--backend", name, "--threads", 1)

    assert result.exit_code == 0, result.output
    assert "by its localiser" in result.output
    bundle = open_bundle(arch_file.parent / "bundle")
    network = LocaliserNet()
    network.load_state_dict(load_file(localiser_file))
    image = np.random.default_rng(7).standard_normal((1, 1, *VIEW.shape_DHW), dtype=np.float32)
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(image)).numpy()
    runner = bundle.load_localiser(threads=1)
    assert runner is not None
    with runner:
        np.testing.assert_allclose(runner.run(image), expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    assert bundle.seen_patients is not None
    assert [record["id"] for record in bundle.seen_patients] == ["patient901", "patient902"]


def test_without_a_localiser_it_says_where_the_crop_is(arch_file: Path, localiser_file: Path) -> None:
    result = run(arch_file, *QUICK, "--localiser", "none")
    assert result.exit_code == 0, result.output
    assert "image's centre" in result.output
    bundle = open_bundle(arch_file.parent / "bundle")
    assert bundle.load_localiser() is None
    assert bundle.seen_patients == ({"id": "patient901", "digest": "ab"},)


def test_one_changed_byte_of_the_localiser_is_refused(arch_file: Path, localiser_file: Path) -> None:
    assert run(arch_file, *QUICK).exit_code == 0
    path = arch_file.parent / "bundle" / "localiser-ort-fp32.onnx"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="localiser-ort-fp32"):
        open_bundle(arch_file.parent / "bundle")


@pytest.mark.parametrize("content", ["missing", "garbage", "weights"])
def test_a_file_that_is_no_localiser_is_refused(arch_file: Path, content: str) -> None:
    path = arch_file.parent / "other.safetensors"
    if content == "garbage":
        path.write_bytes(b"garbage")
    elif content == "weights":
        shutil.copy(arch_file.parent / "weights.safetensors", path)
    assert_refused(run(arch_file, *QUICK, "--localiser", path), 2, "other.safetensors")
    assert not (arch_file.parent / "bundle").exists()
