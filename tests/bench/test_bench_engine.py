import json
import shlex
import shutil
import sys

import nibabel as nib
import numpy as np
import psutil
import pytest
from click.testing import CliRunner

from bench.engine_cli import bench_engine
from cinert.backends import get_backend
from cinert.bundle_manifest import ESTIMATE_KEYS
from cinert.environment import device_name, fingerprint
from cinert.files import sha256_of_file
from latency.estimate import estimate
from latency.lut import load_lut

WIDE = 0.999999
"""Relative error of an interval that no verdict is passed on: a tiny network's time depends on the machine."""


def run(*words):
    words = ["--threads", 1, "--frames", 12, "--warmup", 1, "--budget-ms", 60000, "--device", "cpu", *words]
    return CliRunner().invoke(bench_engine, [str(word) for word in words])


def told(result):
    """What stands on stdout, whose verdicts are wrapped."""
    return " ".join(result.stdout.split())


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out" / "verify.json"


@pytest.fixture
def started():
    """Gives the processes that run now and did not before the test: other tests may have left one of their own."""

    def running():
        return {each for each in psutil.Process().children(recursive=True) if each.status() != psutil.STATUS_ZOMBIE}

    before = running()
    return lambda: running() - before


def test_estimate_and_measurement_stand_side_by_side(bundle_folder, tiny_arch, make_lut, output):
    lut = make_lut(part_ms=1000.0, relative_error_90=WIDE)
    picture = output.with_name("verify.png")
    result = run(bundle_folder, "--lut", lut, "--plot", picture, "-o", output)
    assert result.exit_code == 0, result.output
    document = json.loads(output.read_text())
    assert document["estimate"] == estimate(tiny_arch, load_lut(lut)).to_dict()
    assert document["lut"]["id"] == load_lut(lut).id
    measured = document["measured"]
    assert measured["mode"] == "burst"
    assert measured["frames"] == 12
    assert 0 < measured["p50_ms"] <= measured["p99_ms"] <= measured["worst_ms"]
    assert measured["device_p50_ms"] > 0
    # Without a localiser the frame has nothing else on the device.
    assert document["frame_to_mask"]["device_p50_ms"] == measured["device_p50_ms"]
    assert "p50 ms, host to host" in result.stdout
    assert "p50 ms, CPU alone*" in result.stdout
    assert measured["burst_p50_ms"] == measured["p50_ms"]
    assert measured["throughput_fps"] > 0
    frames = document["frame_to_mask"]
    assert len(frames["latency_ms"]) == 12
    assert frames["p50_ms"] >= frames["stages_p50_ms"]["engine"] * 0.5
    assert document["within_interval"] is None
    assert "NOT JUDGED estimate: back to back" in told(result)
    assert "± 100%, wider than the ± 25% up to which it is judged" in told(result)
    assert document["budget_met"] is True
    assert frames["p99_supported"] is False
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    # A claim that twelve frames cannot carry is not made.
    assert "do not support a p99 claim" in told(result)


def test_verdicts_are_wrapped_between_words_and_name_the_load(bundle_folder, make_lut, output):
    result = run(bundle_folder, "--lut", make_lut(part_ms=1000.0, relative_error_90=WIDE), "-o", output)
    lines = result.stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("PASSED budget: "))
    assert max(map(len, lines[first:-2])) <= 80
    verdicts = " ".join(line.strip() for line in lines[first:])
    document = json.loads(output.read_text())
    for others in (document["frame_to_mask"], document["rate"], document["measured"]):
        # Twelve frames of a tiny network may be over before the system's accounts have ticked.
        words = "is not known" if others["others"] is None else f"used {others['others']['cpu_cores']:.1f} of "
        assert words in verdicts


def test_an_estimate_by_a_busy_lut_says_so_wherever_it_stands(make_bundle, make_lut, output):
    lut = make_lut(part_ms=1000.0, relative_error_90=WIDE, protocol={"tolerant": True})
    bundle = make_bundle()
    result = run(bundle, "--lut", lut, "-o", output)
    assert "by a LUT that was taken BUSY" in told(result)
    assert json.loads(output.read_text())["lut"]["busy"] is True
    assert "BUSY" not in told(run(bundle, "--lut", make_lut(part_ms=1000.0, relative_error_90=WIDE), "-o", output))
    assert json.loads(output.read_text())["lut"]["busy"] is False


def test_a_missed_budget_exits_1_and_is_written_all_the_same(bundle_folder, output):
    result = run(bundle_folder, "--budget-ms", 0.0001, "-o", output)
    assert result.exit_code == 1
    assert "FAILED budget" in result.stdout
    assert "the budget of 0.0001 ms is missed" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    document = json.loads(output.read_text())
    assert document["budget_met"] is False
    assert document["estimate"] is None
    assert document["within_interval"] is None
    assert document["frame_to_mask"]["misses"] == 12


def test_an_estimate_outside_its_interval_exits_1(bundle_folder, make_lut, output):
    result = run(bundle_folder, "--lut", make_lut(part_ms=1e6, relative_error_90=0.01), "-o", output)
    assert result.exit_code == 1
    assert "FAILED estimate" in result.stdout
    assert "outside the estimate's interval" in result.stderr
    document = json.loads(output.read_text())
    assert document["within_interval"] is False
    assert document["budget_met"] is True


@pytest.mark.parametrize(
    ("lut_ms", "changed", "says"), [(1e5, True, "CHANGED machine"), (None, None, "NOT JUDGED machine")]
)
def test_the_luts_anchor_is_timed_again(bundle_folder, make_lut, output, lut_ms, changed, says):
    lut = make_lut(part_ms=1000.0, relative_error_90=WIDE, anchor_ms=lut_ms)
    result = run(bundle_folder, "--lut", lut, "-o", output)
    assert result.exit_code == 0, result.output
    assert says in result.stdout
    machine = json.loads(output.read_text())["machine"]
    assert (machine and machine["changed"]) is changed
    if changed:
        assert machine["drift"] == pytest.approx(machine["anchor_ms"] / lut_ms - 1)
        assert -1 < machine["drift"] < -0.5
        assert machine["anchor_ms"] > 0


def test_a_machine_that_kept_its_speed_passes(bundle_folder, make_lut, output, monkeypatch):
    monkeypatch.setattr("bench.machine.DRIFT_LIMIT", 1e9)
    result = run(bundle_folder, "--lut", make_lut(part_ms=1000.0, relative_error_90=WIDE, anchor_ms=1.0), "-o", output)
    assert "PASSED machine: the reference network takes" in result.stdout
    assert json.loads(output.read_text())["machine"]["changed"] is False


def test_a_foreign_lut_is_refused_naming_each_difference(bundle_folder, make_lut, output):
    lut = make_lut(
        threads=7, device={"kind": "cpu", "name": "Other CPU", "cores": 64}, libraries={"onnxruntime": "0.1"}
    )
    result = run(bundle_folder, "--lut", lut, "-o", output)
    assert result.exit_code == 2
    for named in (
        "threads: 7 there, 1 here",
        "device.name: 'Other CPU' there",
        "device.cores: 64",
        "onnxruntime: '0.1'",
    ):
        assert named in result.stderr
    assert "--foreign-lut" in result.stderr
    assert not output.exists()


def test_a_foreign_lut_is_taken_when_told_so(bundle_folder, make_lut, output):
    lut = make_lut(part_ms=1000.0, relative_error_90=WIDE, threads=7)
    result = run(bundle_folder, "--lut", lut, "--foreign-lut", "-o", output)
    assert result.exit_code == 0, result.output
    assert json.loads(output.read_text())["lut"]["differences"] == ["threads: 7 there, 1 here"]
    assert "of another device" in result.stderr


@pytest.mark.parametrize(("differs", "value", "here"), [("backend", "openvino", "ort"), ("precision", "int8", "fp32")])
def test_a_lut_of_another_engine_is_refused(bundle_folder, make_lut, output, differs, value, here):
    result = run(bundle_folder, "--lut", make_lut(**{differs: value}), "-o", output)
    assert result.exit_code == 2
    assert f"is of another engine: {differs}: {value!r} there, {here!r} here" in result.stderr
    assert not output.exists()


ESTIMATE = dict(zip(ESTIMATE_KEYS, (50000.0, 0.0, 100000.0, 50000.0, 60000.0, 1.0), strict=True))


def test_the_manifests_estimate_is_taken_without_a_lut(make_bundle, output):
    here = fingerprint(get_backend("ort"), device="cpu", threads=1, precision="fp32")
    bundle = make_bundle(estimate=ESTIMATE, device=device_name(here))
    assert run(bundle, "-o", output).exit_code == 0
    document = json.loads(output.read_text())
    assert document["estimate"] == ESTIMATE
    assert document["lut"]["origin"] == "manifest"


def test_the_manifests_estimate_for_another_device_is_refused_too(make_bundle, output):
    bundle = make_bundle(estimate=ESTIMATE, device="Other GPU (trt, fp16, 1 threads)")
    result = run(bundle, "-o", output)
    assert result.exit_code == 2
    assert "'Other GPU (trt, fp16, 1 threads)' there" in result.stderr
    assert run(bundle, "--foreign-lut", "-o", output).exit_code == 0


@pytest.mark.parametrize(("mode", "extra"), [("paced", ["--fps", 500]), ("cold", ["--idle-s", 0.01])])
def test_other_modes(bundle_folder, make_lut, output, mode, extra):
    lut = make_lut(part_ms=1e6, relative_error_90=0.01)
    result = run(bundle_folder, "--lut", lut, "--mode", mode, *extra, "-o", output)
    document = json.loads(output.read_text())
    assert document["measured"]["mode"] == document["frame_to_mask"]["mode"] == mode
    assert document["within_interval"] is False
    assert result.exit_code == 1
    estimate_ms = document["estimate"]["low_ms"], document["estimate"]["high_ms"]
    assert document["measured"]["burst_p50_ms"] < min(estimate_ms)


def test_the_users_cine(bundle_folder, output, tmp_path):
    cine = tmp_path / "cine.nii.gz"
    volume = np.random.default_rng(0).normal(100, 10, (24, 26, 5, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.diag([-6.0, -6.0, 10.0, 1.0])), cine)
    assert run(bundle_folder, "--cine", cine, "-o", output).exit_code == 0
    assert json.loads(output.read_text())["frame_to_mask"]["source"] == "cine.nii.gz"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "no bundle nowhere"),
        (["BUNDLE", "--lut", "nowhere.json"], "nowhere.json"),
        (["BUNDLE", "--cine", "nowhere.nii.gz"], "nowhere.nii.gz"),
        (["BUNDLE", "-o", "."], "it is a folder"),
        (["BUNDLE", "--through", "mrd"], "not in --mode burst"),
        (["BUNDLE", "--co-load", "no-such-program"], "no program 'no-such-program'"),
        (["BUNDLE", "--check-certificate"], "has no certificate"),
        (["BUNDLE", "--plot", "."], "it is a folder"),
    ],
)
def test_bad_input_gives_one_line_and_writes_nothing(bundle_folder, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    result = run(*(bundle_folder if word == "BUNDLE" else word for word in words))
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_ten_minutes_in_small_and_a_certificate_that_holds(bundle_folder, tmp_path, output):
    bundle = shutil.copytree(bundle_folder, tmp_path / "bundle")
    certificate = tmp_path / "bundle.certificate.json"
    paced = [bundle, "--mode", "paced", "--fps", 1000, "-o", output]
    few = run(*paced)
    assert "no certificate: 12 frames without a miss do not support a claim about p99; it takes 459" in told(few)
    assert not certificate.exists()
    result = run(*paced, "--frames", 459)
    assert result.exit_code == 0, result.output
    assert f"wrote {certificate}: at 99 % confidence fewer than 1.00% of frames are late" in told(result)
    frames = json.loads(output.read_text())["frame_to_mask"]
    assert frames["memory"]["start_mib"] > 0
    assert frames["queue_depth"]["worst"] < 459
    assert frames["stages_p99_ms"]["engine"] >= frames["stages_p50_ms"]["engine"] > 0
    assert json.loads(certificate.read_text())["evidence"]["verify_sha256"] == sha256_of_file(output)
    held = CliRunner().invoke(bench_engine, [str(bundle), "--check-certificate", "--device", "cpu"])
    assert held.exit_code == 0, held.output
    # A frame slower than what is certified: no budget is missed here, and the claim is refuted all the same.
    document = json.loads(certificate.read_text())
    certificate.write_text(json.dumps({**document, "budget_ms": 1e-6}))
    assert "no longer holds" in told(run(*paced))
    assert not certificate.exists()


def test_frames_through_the_server_in_another_process(bundle_folder, output, started):
    words = ["--mode", "paced", "--fps", 20, "--frames", 10, "--through", "mrd", "--no-certificate", "-o", output]
    result = run(bundle_folder, *words)
    document = json.loads(output.read_text())
    served = document["served"]
    assert served["frames"] == 10
    assert sum(served["states"].values()) == 10
    assert "unanswered" not in served["states"]
    assert served["masks"] > 0
    # Frame to mask has the engine in it, the round trip the transport too.
    assert 0 < served["frame_to_mask"]["p50_ms"] < served["round_trip"]["p50_ms"]
    assert served["memory"]["worst_mib"] > 10
    assert "served by MRD: p99" in result.stdout
    # A frame may be dropped where other programs take the core; then the verdict is told, and no other.
    assert result.exit_code == (0 if served["misses"] == 0 else 1), result.output
    assert started() == set()


def test_both_streams_beside_another_program(bundle_folder, output, started):
    command = shlex.join([sys.executable, "-c", "while True: pass"])
    result = run(bundle_folder, "--co-load", command, "-o", output)
    assert result.exit_code == 0, result.output
    document = json.loads(output.read_text())
    assert document["co_load"]["command"] == command
    assert document["co_load"]["cpu_cores"] > 0
    assert document["co_load"]["frame_to_mask"]["frames"] == document["frame_to_mask"]["frames"] == 12
    assert "beside the other program" in result.stdout
    assert started() == set()


def test_a_load_that_ends_early_is_told_and_nothing_is_written(bundle_folder, output):
    result = run(bundle_folder, "--co-load", "sh -c 'echo out of memory >&2; exit 3'", "-o", output)
    assert result.exit_code == 2
    assert "ended with exit code 3 before the measurement did: out of memory" in result.stderr
    assert not output.parent.exists()


def test_a_run_that_fails_midway_leaves_nothing(bundle_folder, output, monkeypatch):
    def broken(self, *inputs):
        raise RuntimeError("the engine broke")

    monkeypatch.setattr("cinert.backends.onnxruntime.OnnxRuntimeRunner.run", broken)
    result = run(bundle_folder, "-o", output)
    assert isinstance(result.exception, RuntimeError)
    assert not output.parent.exists()
