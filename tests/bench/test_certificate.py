"""A claim is certified only if it is supported, and holds only for the bundle and the device that it names."""

import copy
import json
import shutil

import pytest
from click.testing import CliRunner

from bench.certificate import (
    certificate_path,
    largest_late_share,
    reason_for_none,
    settle_certificate,
    withdrawn_path,
)
from bench.engine_cli import bench_engine
from cinert.backends import get_backend
from cinert.bundle import open_bundle
from cinert.environment import fingerprint

PERCENTILES = {"p50_ms": 20.0, "p90_ms": 21.0, "p95_ms": 22.0, "p99_ms": 25.0, "p999_ms": 28.0, "worst_ms": 30.0}
PERCENTILES["jitter_ms"] = 1.0


@pytest.fixture
def here():
    return fingerprint(get_backend("ort"), device="cpu", threads=1, precision="fp32")


@pytest.fixture
def own(bundle_folder, tmp_path):
    """A bundle that no other test certifies."""
    return open_bundle(shutil.copytree(bundle_folder, tmp_path / "bundle"))


@pytest.fixture
def verify(own, here):
    """verify.json of 500 paced frames without a miss, with changes."""

    def make(*, worst=30.0, **changes):
        frames = {**PERCENTILES, "worst_ms": worst, "mode": "paced", "frames": 500, "misses": 0, "source": "noise"}
        document = {
            "bundle": {"digest": own.digest, "arch_digest": own.arch.digest},
            "fingerprint": here,
            "budget_ms": 50.0,
            "fps": 22.0,
            "frame_to_mask": frames,
            "served": None,
            "parity": {"status": "passed"},
            "audit": None,
        }
        for key, value in changes.items():
            document[key] = {**document[key], **value} if isinstance(document.get(key), dict) else value
        return document

    return make


def settle(bundle, document):
    return settle_certificate(bundle, document, evidence="0" * 64, created="2026-11-21T12:00:00+00:00")


def check(bundle, *words):
    return CliRunner().invoke(bench_engine, [str(bundle.folder), "--check-certificate", "--device", "cpu", *words])


def test_a_supported_claim_is_written_and_holds_here(own, verify):
    line = settle(own, verify())
    path = certificate_path(own.folder)
    assert line.startswith(f"wrote {path}")
    text = path.read_bytes()
    document = json.loads(text)
    assert document["claim"] == "p99 frame to mask <= 50 ms"
    assert (document["frames"], document["misses"], document["through"]) == (500, 0, "pipeline")
    # The same measurement gives the same bytes, so that they can be signed.
    settle(own, verify())
    assert path.read_bytes() == text
    result = check(own)
    assert result.exit_code == 0, result.output
    assert "500 frames at 22 frames/s" in result.stdout
    # The bundle is as it was: the certificate lies beside it.
    assert open_bundle(own.folder).digest == own.digest


def test_the_statistics_by_hand():
    assert largest_late_share(459) <= 0.01 < largest_late_share(458)
    assert (1 - largest_late_share(13200)) ** 13200 == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"frame_to_mask": {"frames": 458}}, "458 frames without a miss do not support a claim about p99"),
        ({"frame_to_mask": {"misses": 1}}, "1 of 500 frames missed the budget of 50 ms"),
        ({"frame_to_mask": {"mode": "burst"}}, "it takes --mode paced"),
        ({"parity": {"status": "failed"}}, "failed parity or audit"),
        ({"audit": {"status": "failed"}}, "failed parity or audit"),
    ],
)
def test_no_claim_without_support(own, verify, change, says):
    assert says in reason_for_none(verify(**change))
    assert says in settle(own, verify(**change))
    assert not certificate_path(own.folder).exists()


def test_served_frames_count_where_they_were_measured(own, verify):
    served = {"through": "mrd", "frames": 600, "misses": 0, "masks": 600, "frame_to_mask": PERCENTILES}
    served["round_trip"] = {**PERCENTILES, "worst_ms": 33.0}
    assert reason_for_none(verify(served=served)) is None
    settle(own, verify(served=served))
    document = json.loads(certificate_path(own.folder).read_text())
    assert (document["frames"], document["through"]) == (600, "mrd")
    assert document["round_trip"]["worst_ms"] == 33.0
    assert "2 of 600 frames" in reason_for_none(verify(served={**served, "misses": 2}))


@pytest.mark.parametrize(
    ("change", "withdrawn"),
    [
        ({"worst": 60.0, "frame_to_mask": {"misses": 1}}, True),
        # Slower than a tighter budget, and within what was certified.
        ({"budget_ms": 25.0, "frame_to_mask": {"misses": 9}}, False),
        ({"worst": 60.0, "fps": 44.0, "frame_to_mask": {"misses": 1}}, False),
        ({"frame_to_mask": {"mode": "cold", "misses": 1, "worst_ms": 60.0}}, False),
        ({"frame_to_mask": {"frames": 20}}, False),
        ({"worst": 60.0, "frame_to_mask": {"misses": 1}, "bundle": {"digest": "f" * 64}}, False),
        ({"worst": 60.0, "frame_to_mask": {"misses": 1}, "fingerprint": {"threads": 9}}, False),
        (
            {"served": {"through": "mrd", "frames": 500, "misses": 1, "masks": 499, "frame_to_mask": PERCENTILES}},
            True,
        ),
    ],
)
def test_a_certificate_that_is_refuted_is_withdrawn_and_no_other(own, verify, change, withdrawn):
    settle(own, verify())
    text = certificate_path(own.folder).read_bytes()
    line = settle(own, verify(**change))
    assert line.startswith("no certificate: ")
    assert ("no longer holds" in line) is withdrawn
    assert certificate_path(own.folder).exists() is not withdrawn
    # The record of what was claimed is kept.
    assert (withdrawn_path(own.folder) if withdrawn else certificate_path(own.folder)).read_bytes() == text


@pytest.mark.parametrize(
    ("path", "value", "code", "says"),
    [
        (["bundle", "digest"], "f" * 64, 1, "is of bundle ffffffffffff"),
        (["fingerprint", "device", "name"], "Other CPU", 1, "device.name: 'Other CPU' there"),
        (["frames"], 20, 1, "it rests on 20 frames"),
        (["misses"], 1, 1, "1 frames missed the budget"),
        (["frame_to_mask", "worst_ms"], 60.0, 1, "the worst 60.0 ms, of 50 ms"),
        (["frame_to_mask", "p99_ms"], float("nan"), 1, "p99 is nan ms"),
        (["budget_ms"], 5000.0, 1, "is not about its budget of 5000 ms"),
        (["version"], 2, 2, "version is 2"),
        (["surprise"], 2, 2, "unknown key surprise"),
        (["bundle"], "mine", 2, "bundle is 'mine', expected a mapping"),
        (["frames"], "many", 2, "frames: 'many' is not a number"),
        (["frame_to_mask", "p99_ms"], None, 2, "p99_ms: None is not a number"),
        (["fingerprint", "threads"], "two", 2, "fingerprint.threads: 'two' is not a number"),
    ],
)
def test_a_certificate_that_does_not_hold_is_refused_in_one_line(own, verify, path, value, code, says):
    settle(own, verify())
    document = json.loads(certificate_path(own.folder).read_text())
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    certificate_path(own.folder).write_text(json.dumps(document))
    result = check(own)
    assert result.exit_code == code, result.output
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_there_is_none(own):
    result = check(own)
    assert result.exit_code == 2
    assert "has no certificate" in result.stderr


def test_other_threads_are_another_device(own, verify):
    settle(own, verify())
    result = check(own, "--threads", "2")
    assert result.exit_code == 1
    assert "threads: 1 there, 2 here" in result.stderr


def test_the_document_is_left_alone(own, verify):
    document = verify()
    before = copy.deepcopy(document)
    settle(own, document)
    assert document == before
