"""The score, fitted to masks whose Dice is known, and judged on patients that it was not fitted to."""

import dataclasses
import math

import numpy as np
import pytest

import bench.quality_worth
from bench.quality_fit import Aim, fit_quality, predict
from bench.quality_worth import (
    ScoredMask,
    auroc,
    by_strength,
    cross_validated,
    reliability,
    score_with,
    unseen_corruption_auroc,
    worth,
)
from bench.robustness import CLEAN, MaskSample
from cinert.errors import BadInputError
from cinert.quality import FEATURES

AIM = Aim(good_dice=0.7, catch=0.9)
VOLUMES = {"rv": 100.0, "myo": 120.0, "lv": 90.0}


def sample(patient="patient001", *, dice=0.8, corruption=CLEAN, strength=0.0, volumes=VOLUMES, **features):
    return MaskSample(
        patient_id=patient,
        frame=1,
        phase="ED",
        corruption=corruption,
        strength=strength,
        dice=dict.fromkeys(("rv", "myo", "lv"), dice),
        features={**dict.fromkeys(FEATURES, 0.0), **features},
        volumes_ml=volumes,
        reference_ml=VOLUMES,
        previous="other phase",
    )


def empty(**words):
    full = sample(**words)
    return MaskSample(
        **{name: getattr(full, name) for name in full.__dataclass_fields__ if name != "features"}, features=None
    )


@pytest.fixture
def samples():
    """Dice falls with the entropy, by the logit 2 - 6 entropy; `cut` has nothing to do with it."""
    rng = np.random.default_rng(0)
    result = []
    for patient in range(8):
        for kind, level in ((CLEAN, 0.0), ("noise", 0.2), ("noise", 0.5), ("void", 0.3)):
            for _ in range(5):
                entropy = level + 0.1 * rng.random()
                dice = 1 / (1 + math.exp(6 * entropy - 2))
                result.append(
                    sample(
                        f"patient{patient:03}",
                        dice=dice,
                        corruption=kind,
                        strength=level,
                        entropy=entropy,
                        cut=float(rng.random()),
                    )
                )
    return result


def test_the_fit_finds_what_dice_follows_from(samples):
    model = fit_quality(samples, AIM)
    for each in samples:
        assert predict(model, each) == pytest.approx(each.mean_dice, abs=0.03)
    assert model.terms["cut"].weight < 0.02
    assert min(term.weight for term in model.terms.values()) >= 0


def test_a_feature_that_falls_with_what_is_wrong_gets_no_weight(samples):
    turned = [sample(each.patient_id, dice=each.mean_dice, entropy=1 - each.features["entropy"]) for each in samples]
    assert fit_quality(turned, AIM).terms["entropy"].weight == 0


def test_the_threshold_catches_the_share_that_was_asked_for(samples):
    for catch in (0.5, 0.9, 1.0):
        scored = score_with(fit_quality(samples, Aim(0.7, catch)), samples)
        caught = [mask.unsure for mask in scored if mask.sample.mean_dice < 0.7]
        assert catch <= np.mean(caught) <= catch + 1 / len(caught) + 1e-9


def test_without_bad_masks_the_score_is_taken_at_its_word():
    assert fit_quality([sample(dice=0.9), sample(dice=0.8, entropy=0.1)], AIM).threshold == 0.7


def test_an_empty_mask_scores_0_and_is_unsure(samples):
    assert predict(fit_quality(samples, AIM), empty()) == 0
    (scored,) = score_with(fit_quality(samples, AIM), [empty()])
    assert scored.unsure


def test_too_little_to_fit_to():
    with pytest.raises(BadInputError, match=r"1 of 2 masks have a foreground, too few"):
        fit_quality([sample(), empty()], AIM)


def test_volumes_are_those_of_the_labels_each_frame_once(samples):
    other = {"rv": 100.0 * math.e, "myo": 120.0, "lv": 90.0}
    clean = [sample(), sample()]
    object.__setattr__(clean[1], "reference_ml", other)
    model = fit_quality([*clean, sample(corruption="noise", dice=0.2)], AIM)

    assert model.volumes["rv"].mean_ln_ml == pytest.approx(math.log(100) + 0.5)
    assert model.volumes["rv"].sd_ln_ml == pytest.approx(0.5)
    assert model.volumes["myo"].sd_ln_ml == 0.1


def test_what_changes_over_time_counts_from_the_median_of_clean_frames_up():
    clean = [sample(jump=value) for value in (0.2, 0.3, 0.4)]
    model = fit_quality([*clean, sample(corruption="noise", dice=0.2, jump=0.9)], AIM)

    assert model.terms["jump"].floor == 0.3
    assert model.terms["jump"].weight > 0
    assert predict(model, sample(jump=0.0)) == predict(model, sample(jump=0.3)) > predict(model, sample(jump=0.6))


def test_each_patient_is_scored_by_a_fit_to_the_others(samples, monkeypatch):
    asked = []

    def fit(kept, aim):
        asked.append({each.patient_id for each in kept})
        return fit_quality(kept, aim)

    monkeypatch.setattr(bench.quality_worth, "fit_quality", fit)
    scored = cross_validated(samples, AIM)
    everyone = {each.patient_id for each in samples}

    assert [mask.sample for mask in scored] == samples
    assert asked == [everyone - {patient} for patient in sorted(everyone)]


def test_a_corruption_left_out_is_not_fitted_to(samples, monkeypatch):
    asked = []

    def fit(kept, aim):
        asked.append({each.corruption for each in kept})
        return fit_quality(kept, aim)

    monkeypatch.setattr(bench.quality_worth, "fit_quality", fit)
    found = unseen_corruption_auroc(samples, AIM)

    assert asked == [{CLEAN, "void"}] * 8 + [{CLEAN, "noise"}] * 8
    assert found["noise"] > 0.9


def scored_masks():
    return [
        ScoredMask(sample(dice=0.9), 0.8, unsure=False),
        ScoredMask(sample(dice=0.75), 0.5, unsure=True),
        ScoredMask(sample(dice=0.9, corruption="noise", strength=5), 0.7, unsure=False),
        ScoredMask(sample(dice=0.6, corruption="noise", strength=5), 0.5, unsure=True),
        ScoredMask(sample(dice=0.3, corruption="noise", strength=10), 0.6, unsure=False),
    ]


def test_a_structure_that_is_nowhere_leaves_the_means():
    without = dataclasses.replace(sample(dice=0.4), dice={"rv": None, "myo": 0.4, "lv": 0.8})
    assert without.mean_dice == pytest.approx(0.6)
    rows = by_strength([ScoredMask(each, 0.5, unsure=False) for each in (without, sample(dice=0.6))])
    assert rows[0]["dice"] == pytest.approx({"rv": 0.6, "myo": 0.5, "lv": 0.7})
    rows = by_strength([ScoredMask(without, 0.5, unsure=False)])
    assert rows[0]["dice"]["rv"] is None


def test_figures_by_hand():
    figures = worth(scored_masks(), 0.7)
    # Of the six pairs of a bad and a good mask four are in order, and one is a tie.
    assert auroc(scored_masks(), 0.7) == figures["auroc"] == pytest.approx(4.5 / 6)
    assert (figures["masks"], figures["bad_masks"], figures["bad_clean"]) == (5, 2, 0)
    assert figures["caught"] == 1 / 2
    assert figures["false_alarms"] == pytest.approx(1 / 3)
    assert figures["false_alarms_clean"] == 1 / 2
    assert figures["mean_absolute_error"] == pytest.approx((0.1 + 0.25 + 0.2 + 0.1 + 0.3) / 5)


def test_no_bad_mask_no_area():
    figures = worth(scored_masks()[:3], 0.7)
    assert (figures["auroc"], figures["caught"]) == (None, None)


def test_rows_by_strength():
    rows = by_strength(scored_masks())
    assert [(row["corruption"], row["strength"], row["masks"]) for row in rows] == [
        (CLEAN, 0.0, 2),
        ("noise", 5, 2),
        ("noise", 10, 1),
    ]
    assert rows[1]["mean_dice"] == pytest.approx(0.75)
    assert rows[1]["score"] == pytest.approx(0.6)
    assert rows[1]["unsure"] == 0.5


def test_reliability_bins():
    rows = reliability([*scored_masks(), ScoredMask(sample(dice=1.0), 1.0, unsure=False)])
    assert [(row["low"], row["masks"]) for row in rows] == [(0.5, 2), (0.6, 1), (0.7, 1), (0.8, 1), (0.9, 1)]
    assert rows[0]["mean_dice"] == pytest.approx((0.75 + 0.6) / 2)
