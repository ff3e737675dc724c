"""What measures keeps off a device in use; what only shows its latency says who else is there."""

import pytest
from click.testing import CliRunner

from bench.accuracy_cli import evaluate_bundle
from bench.engine_cli import bench_engine
from cinert.device_lock import hold_device


def run(command, *words):
    return CliRunner().invoke(command, [str(word) for word in words])


@pytest.mark.parametrize("use", ["measure", "compute"])
def test_a_bundle_is_not_measured_on_a_device_in_use(bundle_folder, tmp_path, use):
    with hold_device("cpu", use, "train-arch"):
        result = run(bench_engine, bundle_folder, "--threads", 1, "-o", tmp_path / "verify.json")
    assert result.exit_code == 2
    assert result.output.startswith("bench-engine: cpu is being used by ")
    assert len(result.output.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("use", "note"), [("measure", "Note: cpu is being measured by "), ("compute", "")])
def test_patients_are_scored_all_the_same(bundle_folder, patients_folder, tmp_path, use, note):
    output = tmp_path / "accuracy.json"
    with hold_device("cpu", use, "another"):
        result = run(
            evaluate_bundle, bundle_folder, "--data", patients_folder, "--fold", 0, "--threads", 1, "-o", output
        )
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(note)
    assert output.is_file()
