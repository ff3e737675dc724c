"""The crop follows a heart that drifts, jumps, leaves and returns; no mask of a heart that it cuts off is relied on."""

import numpy as np
import pytest

from bedside.follow import LOOK_FRAMES
from bedside.pipeline import FramePipeline
from bedside.plausibility import PlausibilityGate
from cinert.data.nifti import Geometry
from tests.bedside.moving_heart import GEOMETRY, MIDDLE_MM, SPEC, Bedside, Errs, heart

FRAMES = 52
EMPTY = np.zeros(GEOMETRY.shape, np.uint8)


def beat(number: int) -> float:
    return 0.5 - 0.5 * np.cos(2 * np.pi * number / 20)


def story(seed: int):
    """A cine: what is shown in each frame, and the frames at which the heart is suddenly elsewhere."""
    rng = np.random.default_rng(seed)
    scale, place = rng.uniform(0.9, 1.5), rng.uniform(-40, 40, 2)
    drift = rng.uniform(-0.9, 0.9, 2)  # mm a frame, 20 mm/s
    jump, lost, back = 18, 34, 40
    labels = []
    for number in range(FRAMES):
        if number in (jump, back):
            angle = rng.uniform(0, 2 * np.pi)
            step = rng.uniform(40, 70) * np.array([np.cos(angle), np.sin(angle)])
            # Towards the middle if it would leave the image.
            place = place + np.where(np.abs(place + step) > 75, -step, step)
        drift = np.where(np.abs(place + drift) > 75, -drift, drift)
        place = place + drift
        gone = lost <= number < back
        labels.append(EMPTY if gone else heart(tuple(place), scale=scale, beat=beat(number)))
    return labels, (0, jump, back)


@pytest.mark.parametrize("seed", range(50))
def test_a_heart_that_drifts_jumps_leaves_and_returns_is_kept(seed: int) -> None:
    labels, sudden = story(seed)
    shown = Bedside(Errs(error_mm=12, seed=seed))
    kept = []
    for label in labels:
        result, share = shown.show(label)
        kept.append(share)
        if share < 0.98 or not label.any():
            assert result.implausible
    after = {number + delay for number in sudden for delay in (0, 1)}
    settled = [share for number, share in enumerate(kept) if number not in after]
    assert min(settled) >= 0.995
    # What was cut off is seen by the second frame after it, and by then the crop is where the heart is.
    assert all(kept[number + 2] >= 0.995 for number in sudden)


def asked_for(labels, localiser, **named) -> list[int]:
    """How often the localiser had been asked after each frame."""
    shown, asked = Bedside(localiser, **named), []
    for label in labels:
        shown.show(label)
        asked.append(localiser.asked)
    return asked


def test_the_localiser_is_asked_where_no_mask_says_where_the_heart_is() -> None:
    still, nonsense = heart((0, 0)), np.zeros_like(EMPTY)
    nonsense[60:100, 60:100] = 1
    assert asked_for([still] * 4, Errs(), spare=False) == [1, 1, 1, 1]
    assert asked_for([still, EMPTY, EMPTY, still, still], Errs(), spare=False) == [1, 1, 2, 3, 3]
    assert asked_for([still, nonsense, still, still], Errs(), spare=False) == [1, 1, 2, 2]
    assert asked_for([still, heart((50, 0)), heart((50, 0)), heart((50, 0))], Errs(), spare=False) == [1, 1, 2, 2]


def test_in_spare_time_it_looks_about_once_a_second() -> None:
    asked = asked_for([heart((0, 0))] * (3 * LOOK_FRAMES), Errs())
    assert asked[-1] == 4
    assert asked_for([heart((0, 0))] * 30, Errs(), look_frames=10)[-1] == 4
    assert asked_for([heart((0, 0))] * 30, Errs(), look_frames=0)[-1] == 1


def test_a_heart_beside_the_one_that_is_followed_is_found_by_looking() -> None:
    """The mask says nothing of what lies outside of the crop: a second heart stays in it, and the first has gone."""
    localiser = Errs()
    shown = Bedside(localiser, look_frames=5)
    for _ in range(4):
        shown.show(heart((-60, 0), scale=0.7))
    localiser.says = MIDDLE_MM + np.array([75.0, 0.0, 0.0])
    both = np.maximum(heart((-60, 0), scale=0.7), heart((75, 0), scale=0.7))
    shown.show(both)
    localiser.says = None
    shown.show(heart((75, 0), scale=0.7))
    assert shown.show(heart((75, 0), scale=0.7))[1] == 1.0


def test_a_localiser_that_is_wrong_costs_one_frame_and_is_asked_more_rarely() -> None:
    localiser = Errs()
    shown = Bedside(localiser, look_frames=5)
    label = heart((-60, 0), scale=0.8)
    shown.show(label)
    localiser.says = MIDDLE_MM + np.array([110.0, 0.0, 0.0])
    kept = [shown.show(label)[1] for _ in range(80)]
    wrong = [number for number, share in enumerate(kept) if share < 0.995]
    assert len(wrong) == 4
    assert np.all(np.diff(np.diff(wrong)) > 0)


def test_what_was_seen_in_a_frame_that_was_written_over_counts_for_nothing() -> None:
    localiser = Errs()
    shown = Bedside(localiser, spare=False, look_frames=1)
    label = heart((-60, 0), scale=0.8)
    shown.show(label)
    localiser.says = MIDDLE_MM + np.array([110.0, 0.0, 0.0])
    shown.pipeline.look(label, unchanged=lambda: False)
    assert localiser.asked == 2
    assert shown.show(label)[1] == 1.0


def test_a_frame_alone_has_the_mask_of_a_pipeline_that_was_bound_anew() -> None:
    label = heart((25, -30))
    alone = Bedside(Errs(error_mm=10, seed=3)).show(label)[0].mask
    shown = Bedside(Errs(error_mm=10, seed=3))
    shown.show(heart((-40, 10)))
    shown.pipeline.localiser.rng = np.random.default_rng(3)
    shown.pipeline.bind(GEOMETRY)
    np.testing.assert_array_equal(shown.show(label)[0].mask, alone)


def test_a_heart_that_beats_leaves_the_crop_alone() -> None:
    shown = Bedside(Errs(error_mm=8))
    crops = []
    for number in range(60):
        shown.show(heart((5, 5), beat=beat(number)))
        crops.append(shown.pipeline._follower.grid.field_of_view)
    assert len({str(crop) for crop in crops[10:]}) == 1


def test_a_heart_larger_than_the_crop_is_never_relied_on() -> None:
    shown = Bedside(Errs())
    for _ in range(5):
        result, kept = shown.show(heart((0, 0), scale=2.4))
        assert kept < 0.98
        assert "beyond the crop" in result.implausible


def test_the_border_of_the_image_is_no_border_of_the_crop() -> None:
    """What lies outside of the image was never acquired, and no crop can show it."""
    geometry = Geometry(GEOMETRY.shape, GEOMETRY.affine)
    shown = Bedside(Errs(), geometry=geometry)
    results = [shown.show(heart((150, 0))) for _ in range(3)]
    assert all("beyond the crop" not in result.implausible for result, _ in results)
    assert [kept for _, kept in results] == [1.0] * 3


def test_an_empty_first_frame_and_a_heart_after_it() -> None:
    shown = Bedside(Errs())
    assert "no heart was found" in shown.show(EMPTY)[0].implausible
    result, kept = shown.show(heart((70, 60)))
    assert kept == 1.0
    assert not result.implausible


def test_another_geometry_in_mid_stream_begins_anew() -> None:
    shown = Bedside(Errs())
    shown.show(heart((-60, 0)))
    shown.pipeline.bind(GEOMETRY)
    assert shown.show(heart((60, 0)))[1] == 1.0


def test_without_a_localiser_the_crop_stays_on_the_image() -> None:
    shown = Bedside(None)
    result, kept = shown.show(heart((90, 0)))
    assert kept < 0.98
    assert "beyond the crop" in result.implausible
    assert shown.show(heart((0, 0)))[1] == 1.0
    assert not shown.pipeline.look_is_due


def test_misuse() -> None:
    with pytest.raises(RuntimeError, match="bind"):
        FramePipeline(Bedside(None).engine, SPEC, gate=PlausibilityGate()).segment(EMPTY)
