"""The score at the bedside: with a calibrated bundle every mask carries it, and below its threshold is unsure."""

import json
import time

import numpy as np
import pytest
from click.testing import CliRunner

from bedside.cli import segment_cine
from bedside.frames import Frame
from bedside.pipeline import FramePipeline
from bedside.pipeline_runner import PipelineRunners
from bedside.quality import NO_HEART, Quality, QualityScorer, state_of
from cinert.bundle import open_bundle
from cinert.bundle_write import add_quality
from cinert.data.nifti import Geometry, read_cine
from cinert.quality import CALIBRATION, FEATURES, QualityModel, Term, VolumeRange

GEOMETRY = Geometry((12, 12, 6), np.diag([5.0, 5.0, 10.0, 1.0]))


def model(threshold=0.5, **weights):
    """Score 0.9 of a mask without fault, less what the given features take off."""
    return QualityModel(
        intercept=float(np.log(9)),
        terms={name: Term(0.0, 0.0, 1.0, float(weights.get(name, 0.0))) for name in FEATURES},
        volumes=dict.fromkeys(("rv", "myo", "lv"), VolumeRange(3.0, 1.0)),
        threshold=threshold,
        good_dice=0.7,
        calibration={**dict.fromkeys(CALIBRATION, 0), "patients": [], "catch": 0.9},
        judged={},
    )


def logits_of(mask_DHW):
    return np.float32(40) * (mask_DHW == np.arange(4)[:, None, None, None]).astype(np.float32)


@pytest.fixture
def mask_DHW():
    mask = np.zeros((6, 12, 12), np.uint8)
    mask[1:5, 3:9, 2:4] = 1
    mask[1:5, 3:9, 4:10] = 2
    mask[1:5, 4:8, 5:9] = 3
    return mask


@pytest.fixture
def scorer():
    scorer = QualityScorer(model(missing=10.0, jump=8.0), (10.0, 5.0, 5.0))
    scorer.bind(GEOMETRY)
    return scorer


def test_a_mask_without_fault_is_sure(scorer, mask_DHW):
    assert scorer.score(logits_of(mask_DHW), mask_DHW.T) == Quality(pytest.approx(0.9), "")


def test_a_mask_is_unsure_for_the_feature_that_weighs_most(scorer, mask_DHW):
    mask_DHW[mask_DHW == 1] = 0
    quality = scorer.score(logits_of(mask_DHW), mask_DHW.T)

    assert quality.score == pytest.approx(1 / (1 + np.exp(10 / 3) / 9))
    assert quality.unsure
    assert quality.reason == f"{FEATURES['missing']} (quality {quality.score:.2f}, the threshold is 0.50)"


def test_a_mask_that_jumps_is_unsure_and_bind_forgets(scorer, mask_DHW):
    moved = np.roll(mask_DHW, 3, axis=1)
    scorer.score(logits_of(mask_DHW), mask_DHW.T)
    assert FEATURES["jump"] in scorer.score(logits_of(moved), moved.T).reason
    scorer.bind(GEOMETRY)
    assert not scorer.score(logits_of(moved), moved.T).unsure


def test_a_fork_has_a_past_of_its_own(scorer, mask_DHW):
    scorer.score(logits_of(mask_DHW), mask_DHW.T)
    fork = scorer.fork()
    with pytest.raises(RuntimeError, match="bind"):
        fork.score(logits_of(mask_DHW), mask_DHW.T)
    fork.bind(GEOMETRY)
    moved = np.roll(mask_DHW, 3, axis=1)
    assert not fork.score(logits_of(moved), moved.T).unsure


def test_no_heart_scores_0(scorer, mask_DHW):
    empty = np.zeros_like(mask_DHW)
    assert scorer.score(logits_of(empty), empty.T) == Quality(0.0, NO_HEART)


@pytest.mark.parametrize(
    ("quality", "total_ms", "expected"),
    [
        (None, 40, ("live", "")),
        (Quality(0.9, ""), 40, ("live", "")),
        (Quality(0.9, ""), 60, ("late", "60.0 ms after arrival, the budget is 50 ms")),
        (Quality(0.2, "in pieces"), 40, ("unsure", "in pieces")),
        (Quality(0.2, "in pieces"), 60, ("unsure", "in pieces; 60.0 ms after arrival, the budget is 50 ms")),
    ],
)
def test_states(quality, total_ms, expected):
    assert state_of(quality, total_ms=total_ms, budget_ms=50) == expected


@pytest.mark.parametrize(
    ("quality", "total_ms", "reason"),
    [
        (None, 40, "no heart"),
        (Quality(0.9, ""), 40, "no heart"),
        (Quality(0.2, "in pieces"), 40, "no heart; in pieces"),
        (None, 60, "no heart; 60.0 ms after arrival, the budget is 50 ms"),
    ],
)
def test_a_mask_that_cannot_be_a_heart_is_unsure_whatever_its_score(quality, total_ms, reason):
    assert state_of(quality, implausible="no heart", total_ms=total_ms, budget_ms=50) == ("unsure", reason)


def test_without_a_calibration_nobody_scores(make_bundle, cine):
    series = read_cine(cine[0])
    with FramePipeline.from_bundle(open_bundle(make_bundle("ort")), threads=1).bind(series.geometry) as pipeline:
        assert pipeline.segment(series.image[..., 0]).quality is None


def test_every_frame_of_a_calibrated_bundle_is_scored(make_bundle, cine):
    # The network of the fixture finds an LV and nothing else: two of three structures are missing.
    bundle = add_quality(open_bundle(make_bundle("ort")), model(missing=6.0))
    series = read_cine(cine[0])
    now = time.perf_counter_ns()
    with PipelineRunners(bundle, device="cpu", threads=1, budget_ms=1e6) as runners:
        runner = runners.open()
        answers = [runner.submit(Frame(series.image[..., phase], series.geometry, now)) for phase in range(3)]

    assert {answer.state for answer in answers} == {"unsure"}
    assert all(answer.mask is not None for answer in answers)
    assert [answer.quality for answer in answers] == pytest.approx([1 / (1 + np.exp(4) / 9)] * 3)
    assert all(answer.reason.startswith(FEATURES["missing"]) for answer in answers)


@pytest.mark.parametrize("calibrated", [True, False])
def test_segment_cine_reports_the_score(make_bundle, cine, tmp_path, calibrated):
    bundle = open_bundle(make_bundle("ort"))
    if calibrated:
        add_quality(bundle, model(missing=6.0))
    words = [bundle.folder, cine[0], "--threads", 1, "-o", tmp_path / "mask.nii.gz", "--report", tmp_path / "cine.json"]
    result = CliRunner().invoke(segment_cine, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    frames = json.loads((tmp_path / "cine.json").read_text())["frames"]

    if calibrated:
        assert [frame["quality"] for frame in frames] == pytest.approx([1 / (1 + np.exp(4) / 9)] * 6)
        assert all(frame["unsure"].startswith(FEATURES["missing"]) for frame in frames)
        assert "unsure in 6 phases" in result.output
    else:
        assert {(frame["quality"], frame["unsure"]) for frame in frames} == {(None, "")}
        assert "No quality score: calibrate-quality" in result.output
