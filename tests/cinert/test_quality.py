"""quality.json: what is read is what was written, nothing that gets worse raises a score, bad files are refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinert.errors import BadInputError
from cinert.quality import CALIBRATION, FEATURES, QualityModel, Term, VolumeRange

MODEL = QualityModel(
    intercept=1.5,
    terms={name: Term(0.1, 0.2, 0.5, 0.1 * place) for place, name in enumerate(FEATURES)},
    volumes={name: VolumeRange(4.0, 0.5) for name in ("rv", "myo", "lv")},
    threshold=0.6,
    good_dice=0.7,
    calibration={**dict.fromkeys(CALIBRATION, 0), "patients": [{"id": "patient001", "digest": "ab"}]},
    judged={"auroc": 0.9},
)
values = st.dictionaries(st.sampled_from(sorted(FEATURES)), st.none() | st.floats(0, 5)).map(
    lambda given: {**dict.fromkeys(FEATURES, 0.0), **given}
)


def test_what_was_written_is_read_back() -> None:
    document = json.loads(json.dumps(MODEL.to_dict()))
    assert QualityModel.from_dict(document, source="quality.json") == MODEL


@given(values, st.sampled_from(sorted(FEATURES)), st.floats(0, 5))
def test_a_feature_that_grows_never_raises_the_score(features: dict[str, float | None], name: str, more: float) -> None:
    before = MODEL.score(features)
    assert 0 < before < 1
    known = features[name]
    if known is not None:
        assert MODEL.score({**features, name: known + more}) <= before


def test_the_score_by_hand() -> None:
    features: dict[str, float | None] = {**dict.fromkeys(FEATURES, 0.2), "entropy": 0.7, "margin": 1.2, "jump": None}
    place = {name: number for number, name in enumerate(FEATURES)}
    others = [name for name in FEATURES if name not in ("entropy", "margin", "jump")]
    assert MODEL.losses(features)["margin"] == pytest.approx(0.1 * place["margin"] * (1.2 - 0.2) / 0.5)
    assert MODEL.losses(features)["jump"] == 0
    assert sum(MODEL.losses(features)[name] for name in others) == pytest.approx(0)
    assert MODEL.score(features) == pytest.approx(1 / (1 + 2.718281828459045 ** -(1.5 - 0.1 * 2)))
    assert MODEL.reason(features) == FEATURES["margin"]


def test_below_its_floor_a_feature_says_no_more() -> None:
    low = {**dict.fromkeys(FEATURES, 0.3), "jump": 0.1}
    assert MODEL.score(low) == MODEL.score({**low, "jump": 0.0}) > MODEL.score({**low, "jump": 0.2})


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["version"], 2, "version is 2"),
        (["surprise"], 1, "unknown key surprise"),
        (["threshold"], "high", "threshold: 'high' is not a number"),
        (["threshold"], float("nan"), "finite"),
        (["terms"], {}, "missing key"),
        (["terms", "jump", "weight"], -1.0, "jump has weight -1.0"),
        (["terms", "jump", "scale"], 0, "scale 0"),
        (["terms", "jump"], 3, "jump is 3"),
        (["volumes", "lv", "sd_ln_ml"], 0, "lv has a spread of 0"),
        (["calibration"], {"patients": []}, "calibration: missing key"),
    ],
)
def test_bad_files_are_refused_in_one_line(path: list[str], value: object, words: str) -> None:
    document = json.loads(json.dumps(MODEL.to_dict()))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(BadInputError, match=words) as caught:
        QualityModel.from_dict(document, source=str(Path("bundle/quality.json")))
    assert "bundle/quality.json" in caught.value.message
