"""`cinert layers` on the doubles, and its refusals."""

import csv
import json

import pytest
from click.testing import CliRunner

from cinert.backends.tensorrt.cli import layers
from cinert.backends.tensorrt.inspection import layers_csv
from cinert.backends.tensorrt.runner import TensorRtRunner
from cinert.errors import BackendUnavailableError


def run(*words):
    return CliRunner().invoke(layers, [str(word) for word in words])


class Bundle:
    """What the command asks of a bundle."""

    def __init__(self, backend, runner=None):
        self.backend, self._runner = backend, runner

    def load_runner(self, device):
        if self._runner is None:
            raise BackendUnavailableError("back end trt is not available because there is no NVIDIA driver here.")
        return self._runner


@pytest.fixture
def opens(monkeypatch):
    return lambda bundle: monkeypatch.setattr("cinert.backends.tensorrt.cli.open_trusted", lambda folder, trust: bundle)


def test_shares_add_up_to_one():
    rows = list(csv.DictReader(layers_csv([("a, b", 1.0), ("c", 3.0)]).splitlines()))
    assert [(row["layer"], float(row["time_ms"]), float(row["share"])) for row in rows] == [
        ("a, b", 1.0, 0.25),
        ("c", 3.0, 0.75),
    ]


def test_both_files_are_written(opens, fake_trt, onnx_engine, conv_model, device, tmp_path):
    opens(Bundle("trt", TensorRtRunner(fake_trt, onnx_engine(conv_model.onnx), device, cuda_graph=True)))
    result = run(tmp_path / "bundle", "-o", tmp_path / "layers", "--runs", 3)
    assert result.exit_code == 0, result.output
    assert "conv + relu" in result.output
    assert (tmp_path / "layers" / "layers.csv").read_text().splitlines()[1] == "conv + relu,0.2500,1.0000"
    assert json.loads((tmp_path / "layers" / "layers.json").read_text())["Layers"][0]["Name"] == "conv + relu"
    assert all(buffer.released for buffer in device.buffers)


def test_without_a_gpu_it_is_exit_3(opens, tmp_path):
    opens(Bundle("trt"))
    result = run(tmp_path / "bundle", "-o", tmp_path / "layers")
    assert result.exit_code == 3
    assert "no NVIDIA driver" in result.output
    assert not (tmp_path / "layers").exists()


def test_an_engine_of_another_back_end_is_bad_input(opens, tmp_path):
    opens(Bundle("openvino"))
    result = run(tmp_path / "bundle", "-o", tmp_path / "layers")
    assert result.exit_code == 2
    assert "layers are known of TensorRT engines alone" in result.output
