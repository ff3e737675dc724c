"""bench-model and latency calibrate as a user runs them, on a space that takes seconds."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from bench.model_cli import bench_model
from bench.model_figures import feasibility, figures, flops_fitted, residuals
from bench.model_networks import calibration_networks, held_out_networks
from cinert.sampling import random_arch
from cinert.spaces import load_space
from latency.calibration import GROUP_NAMES
from latency.cli import bench_ops
from latency.estimate import estimate, estimate_groups
from latency.lut import load_lut, save_lut
from latency.main import main as latency

NETS = 6


def run(command, *words):
    return CliRunner().invoke(command, [str(word) for word in words])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A LUT and model.json of a tiny space, measured with whatever else runs here."""
    folder = tmp_path_factory.mktemp("model")
    document = load_space("demo").to_dict()
    document.update(name="tiny", input_shape_DHW=[4, 8, 8], strides=[[2, 2, 2]], widths=[4, 8], layers=3)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(document))
    words = ["--space", folder / "tiny.yaml", "--backend", "ort", "--networks", 12, "--threads", 1, "--allow-busy"]
    result = run(bench_ops, *words, "--no-plot", "-o", folder / "lut.json")
    assert result.exit_code == 0, result.output
    shutil.copy(folder / "lut.json", folder / "before.json")
    words = ["--lut", folder / "lut.json", "--nets", NETS, "--calibrate", 9, "--seed", 5, "--allow-busy"]
    result = run(bench_model, *words, "-o", folder / "model.json")
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_every_model_is_held_against_the_same_measurements(measured):
    folder, output = measured
    document = json.loads((folder / "model.json").read_text())
    assert set(document["held_out"]) == {"calibrated", "uncalibrated", "raw_sum", "flops", "throughput"}
    assert len(document["networks"]) == document["nets"] == NETS
    assert (folder / "model.png").stat().st_size > 10_000
    assert "measured again" in output
    ms, measured_ms = (np.array([network[name] for network in document["networks"]]) for name in ("ms", "measured_ms"))
    assert document["held_out"]["calibrated"]["mape"] == pytest.approx(np.mean(np.abs(ms / measured_ms - 1)))
    assert sorted(path.name for path in folder.iterdir()) == [
        "before.json",
        "lut.json",
        "model.json",
        "model.png",
        "tiny.yaml",
    ]


def test_the_calibration_is_stored_with_the_lut_and_used(measured):
    folder, _ = measured
    before, after = load_lut(folder / "before.json"), load_lut(folder / "lut.json")
    assert before.calibration is None
    assert after.calibration is not None
    assert len(after.calibration.networks) == 9
    assert sum(network.chosen for network in after.calibration.networks) == 3
    document = json.loads((folder / "model.json").read_text())
    for network in document["networks"]:
        arch = random_arch(after.space, network["seed"])
        assert estimate(arch, after).ms == pytest.approx(network["ms"])
        assert estimate(arch, before).ms == pytest.approx(network["uncalibrated_ms"])
        assert sum(estimate_groups(arch, after).values()) == pytest.approx(network["uncalibrated_ms"])


def test_nothing_is_judged_on_what_it_was_fitted_to(measured):
    folder, _ = measured
    lut = load_lut(folder / "before.json")
    learned = {network["digest"] for network in lut.prices.report["networks"]}
    held_out = {arch.digest for arch in held_out_networks(lut.space, 20, seed=5, known=learned)}
    known = learned | held_out
    calibration = {arch.digest for arch, _ in calibration_networks(lut, 9, seed=6, known=known)}
    assert len(held_out) == 20
    assert len(calibration) == 9
    assert not held_out & learned
    assert not calibration & known


def test_a_kept_calibration_is_not_judged_on_its_own_networks(measured, tmp_path):
    folder, _ = measured
    lut_path, output = tmp_path / "lut.json", tmp_path / "model.json"
    shutil.copy(folder / "lut.json", lut_path)
    before = lut_path.read_bytes()
    calibration = {network.name for network in load_lut(lut_path).calibration.networks}
    # The calibration networks were drawn with the next seed: without care, that seed would draw some of them again.
    assert calibration & {arch.digest for arch in held_out_networks(load_lut(lut_path).space, 9, seed=6, known=set())}
    words = ["--lut", lut_path, "--nets", 9, "--seed", 6, "--allow-busy", "--no-plot", "-o", output]
    result = run(bench_model, *words)
    assert result.exit_code == 0, result.output
    judged = {network["digest"] for network in json.loads(output.read_text())["networks"]}
    assert not judged & calibration
    assert lut_path.read_bytes() == before


def test_a_calibration_can_be_taken_over_and_added_to(measured, tmp_path):
    folder, _ = measured
    lut_path = tmp_path / "lut.json"
    shutil.copy(folder / "before.json", lut_path)
    taken = run(latency, "calibrate", lut_path, "--from", folder / "model.json")
    assert taken.exit_code == 0, taken.output
    lut = load_lut(lut_path)
    assert lut.calibration == load_lut(folder / "lut.json").calibration
    arch = random_arch(lut.space, 77)
    verify = {
        "schema": "cinert.verify",
        "version": 1,
        "fingerprint": dict(lut.fingerprint),
        "bundle": {"arch": arch.to_dict()},
        "machine": None,
        "measured": {"quiet_ms": 2 * estimate(arch, lut).ms, "throughput_fps": 100.0},
    }
    path = tmp_path / "verify.json"
    path.write_text(json.dumps(verify))
    for _ in range(2):
        # The same network again replaces the first.
        added = run(latency, "calibrate", lut_path, "--add", path)
        assert added.exit_code == 0, added.output
        assert "with 10 networks" in added.output
    assert load_lut(lut_path).calibration.relative_error_90 > lut.calibration.relative_error_90
    assert load_lut(lut_path).id != lut.id


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fingerprint": {"threads": 7}}, "was measured elsewhere"),
        ({"measured": {"quiet_ms": float("nan")}}, "measured.quiet_ms is nan"),
        ({"measured": {"quiet_ms": -1.0}}, "measured.quiet_ms is -1.0"),
        ({"bundle": {"arch": {"schema": "cinert.baseline"}}}, "is of a baseline"),
        ({"machine": {"changed": True, "drift": 0.9}}, "its reference network differs by +90%"),
    ],
)
def test_measurements_that_do_not_belong_are_refused(measured, tmp_path, change, says):
    folder, _ = measured
    lut_path = tmp_path / "lut.json"
    shutil.copy(folder / "lut.json", lut_path)
    lut = load_lut(lut_path)
    document = {
        "schema": "cinert.verify",
        "version": 1,
        "fingerprint": dict(lut.fingerprint),
        "bundle": {"arch": random_arch(lut.space, 1).to_dict()},
        "machine": {"changed": False, "drift": 0.0},
        "measured": {"quiet_ms": 1.0, "throughput_fps": 100.0},
    }
    for key, values in change.items():
        document[key] |= values
    path = tmp_path / "verify.json"
    path.write_text(json.dumps(document))
    before = lut_path.read_bytes()
    result = run(latency, "calibrate", lut_path, "--add", path)
    assert result.exit_code == 2
    assert says in result.output
    assert lut_path.read_bytes() == before


def test_a_calibration_of_another_lut_is_refused(measured, tmp_path):
    folder, _ = measured
    lut = load_lut(folder / "before.json")
    other = tmp_path / "other.json"
    save_lut(other, replace(lut, prices=replace(lut.prices, constant_ms=lut.prices.constant_ms + 1)))
    result = run(latency, "calibrate", other, "--from", folder / "model.json")
    assert result.exit_code == 2
    assert "the calibration belongs to LUT" in result.output
    document = json.loads((folder / "lut.json").read_text())
    document["prices"]["constant_ms"] += 1
    (tmp_path / "edited.json").write_text(json.dumps(document))
    result = run(bench_model, "--lut", tmp_path / "edited.json", "-o", tmp_path / "model.json")
    assert result.exit_code == 2
    assert "the calibration belongs to LUT" in result.output
    assert not (tmp_path / "model.json").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--calibrate", 5], "too few: the correction has 5 factors"),
        (["-o", "model.png"], "the picture goes there"),
        (["--lut", "none.json"], "none.json"),
        (["-o", "."], "it is a folder"),
    ],
)
def test_bad_input_is_one_line(measured, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    result = run(bench_model, "--lut", measured[0] / "lut.json", *words)
    assert result.exit_code == 2
    assert says in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_lut_is_refused_and_every_difference_named(measured, tmp_path):
    document = json.loads((measured[0] / "before.json").read_text())
    document["fingerprint"]["threads"] += 1
    document["fingerprint"]["device"]["name"] = "Another CPU"
    path = tmp_path / "foreign.json"
    path.write_text(json.dumps(document))
    # The threads are taken from the LUT, so that they cannot differ.
    result = run(bench_model, "--lut", path, "-o", tmp_path / "model.json")
    assert result.exit_code == 2
    assert "device.name: 'Another CPU' there" in result.output
    assert "--foreign-lut" in result.output


def test_figures_by_hand():
    found = figures(np.array([1.0, 2.2, 2.7]), np.array([1.0, 2.0, 3.0]))
    assert found["mape"] == pytest.approx((0 + 0.1 + 0.1) / 3)
    assert found["worst"] == pytest.approx(0.1)
    assert found["bias"] == pytest.approx(0)
    assert found["within_5"] == pytest.approx(1 / 3)
    assert found["kendall_tau"] == pytest.approx(1)
    line = flops_fitted(np.array([10.0]), np.array([1.0, 2.0, 3.0]), np.array([3.0, 5.0, 7.0]))
    assert line == pytest.approx([21.0])


def test_feasibility_by_hand(measured):
    lut = load_lut(measured[0] / "lut.json")
    archs = [random_arch(lut.space, seed) for seed in range(4)]
    estimates = [
        replace(estimate(arch, lut), ms=ms, high_ms=1.2 * ms) for arch, ms in zip(archs, (8, 9, 11, 12), strict=True)
    ]
    found = feasibility(estimates, np.array([8.0, 11.0, 9.0, 12.0]), 10.0)
    assert found["measured"] == 2
    assert found["estimate"] == {"predicted": 2, "rate": 0.5}
    assert found["upper"] == {"predicted": 1, "rate": 1.0}
    assert feasibility(estimates, np.ones(4), 0.5)["estimate"] == {"predicted": 0, "rate": None}


def test_residuals_name_what_the_error_goes_with(measured):
    lut = load_lut(measured[0] / "lut.json")
    archs = [random_arch(lut.space, seed) for seed in range(12)]
    groups = [estimate_groups(arch, lut) for arch in archs]
    share = np.array([group["glue"] / sum(group.values()) for group in groups])
    found = residuals(archs, groups, 1 + share, np.ones(12), np.linspace(0, 1, 12))
    assert found["share_of"]["glue"] == pytest.approx(1)
    assert set(found["share_of"]) == set(GROUP_NAMES)
    assert sum(each["networks"] for each in found["paths"].values()) == 12
