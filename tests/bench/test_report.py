import json
import shutil

import pytest
from click.testing import CliRunner
from PIL import Image

from bench.cli import bench_engine, evaluate_bundle
from bench.report_model import curves
from cinert.main import main


def run(*words):
    return CliRunner().invoke(main, ["report", *map(str, words)])


@pytest.fixture
def run_folder(tmp_path, bundle_folder, patients_folder, make_lut):
    """A run folder without search and training, whose budget is missed."""
    folder = tmp_path / "run"
    shutil.copytree(bundle_folder, folder / "bundle")
    shutil.copy(bundle_folder / "arch.yaml", folder / "arch.yaml")
    make_lut(part_ms=1000.0, relative_error_90=0.9999).rename(folder / "lut.json")
    words = [folder / "bundle", "--threads", 1, "--frames", 8, "--budget-ms", 0.001, "-o", folder / "verify.json"]
    assert CliRunner().invoke(bench_engine, list(map(str, words))).exit_code == 1
    words = [folder / "bundle", "--data", patients_folder, "--fold", 0, "-o", folder / "accuracy.json"]
    assert CliRunner().invoke(evaluate_bundle, list(map(str, words))).exit_code == 0
    return folder


def test_a_failed_verdict_is_shown_and_fails_nothing(run_folder):
    result = run(run_folder)
    assert result.exit_code == 0, result.output
    text = (run_folder / "report.md").read_text()
    assert "| frame to mask within 0.001 ms (burst, 8 frames) | **FAILED** |" in text
    assert "FAILED frame to mask within 0.001 ms" in result.output
    assert "| the engine gives PyTorch's logits | **PASSED** |" in text
    accuracy = json.loads((run_folder / "accuracy.json").read_text())
    assert f"Mean Dice **{accuracy['mean']['dice']['mean']:.3f}**" in text
    assert accuracy["patients"][0]["id"] in text
    verify = json.loads((run_folder / "verify.json").read_text())
    assert f"{verify['frame_to_mask']['p99_ms']:.2f}" in text


def test_every_picture_that_it_names_is_there(run_folder):
    run(run_folder)
    text = (run_folder / "report.md").read_text()
    names = [line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert "report_pictures/parts.png" in names
    assert "report_pictures/verify.png" in names
    for name in names:
        with Image.open(run_folder / name) as picture:
            assert min(picture.size) > 100


def test_what_is_missing_is_named(run_folder):
    text = run(run_folder).output + (run_folder / "report.md").read_text()
    for name in ("metrics.json", "overlay.gif", "segment.json", "arch.png"):
        assert f"`{name}`" in text


def test_an_empty_folder_still_gets_a_report(tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "report.md").read_text()
    assert "Nothing was judged." in text
    for name in ("lut.json", "arch.yaml", "bundle", "accuracy.json", "verify.json"):
        assert f"- `{name}`" in text


@pytest.mark.parametrize("content", ["{", "{}", '{"measured": 3}', "[1]"])
def test_a_broken_file_is_told_and_the_rest_is_reported(run_folder, content):
    (run_folder / "verify.json").write_text(content)
    result = run(run_folder)
    assert result.exit_code == 0, result.output
    text = (run_folder / "report.md").read_text()
    missing = text.split("## What is missing")[1]
    assert "verify.json" in missing or "Estimate against measurement" in missing
    assert "Mean Dice" in text


def test_a_bundle_that_was_changed_is_told(run_folder):
    (run_folder / "bundle" / "model.onnx").write_bytes(b"other")
    assert run(run_folder).exit_code == 0
    assert "is not the file that was exported" in (run_folder / "report.md").read_text()


def test_further_measurements_are_reported_too(run_folder):
    shutil.copy(run_folder / "verify.json", run_folder / "verify_paced.json")
    run(run_folder)
    assert (run_folder / "report_pictures" / "verify_paced.png").is_file()
    # Written again, the report holds nothing of the one before.
    (run_folder / "verify_paced.json").unlink()
    run(run_folder)
    assert not (run_folder / "report_pictures" / "verify_paced.png").exists()
    assert "verify_paced" not in (run_folder / "report.md").read_text()


def test_no_run_folder(tmp_path):
    result = run(tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "no run folder" in result.stderr


def test_curves_are_found_as_records_or_as_lists():
    records = [{"epoch": 1, "loss": 2.0, "phase": "a"}, {"epoch": 2, "loss": 1.0, "phase": "b"}]
    assert curves({"epochs": records, "lr": [0.1, 0.01], "dice": 0.9, "name": "x", "short": [1]}) == {
        "loss": [2.0, 1.0],
        "lr": [0.1, 0.01],
    }
