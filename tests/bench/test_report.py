import json
import shutil

import pytest
from click.testing import CliRunner
from PIL import Image

from bench.cli import bench_engine, evaluate_bundle
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


def test_training_is_told(run_folder):
    metrics = {
        "device": "cpu",
        "parameters": 12345,
        "seconds": 61.2,
        "kept_share": {"mean": 0.991, "worst": 0.8},
        "patients": {"train": 9, "validation": 3},
        "epochs": [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 0.25, "dice": {}}],
        "validation": {"mean": {"rv": 0.9, "myo": 0.8, "lv": 0.7, "mean": 0.8}, "frames": []},
    }
    (run_folder / "metrics.json").write_text(json.dumps(metrics))
    run(run_folder)
    text = (run_folder / "report.md").read_text()
    for part in ("2 in 61 s on cpu", "9 to learn from, 3 held out", "12,345", "0.2500", "LV 0.700", "80.00% at worst"):
        assert part in text
    metrics["validation"]["mean"] = None
    (run_folder / "metrics.json").write_text(json.dumps(metrics))
    run(run_folder)
    assert "nobody was held out" in (run_folder / "report.md").read_text()
