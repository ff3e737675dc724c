"""Features of a mask on tiny examples whose values are known by hand."""

import math

import numpy as np
import pytest

from bedside.quality_features import anatomy, coarse, confidence, heart_box, network_mask

RV, MYO, LV = 1, 2, 3
GOOD = {"missing": 0.0, "fragments": 0.0, "open_lv": 0.0, "apart_rv": 0.0, "ragged": 0.0, "cut": 0.0}


def heart(depth=4):
    """LV of 4 x 4 in a wall of 1 voxel, an RV of 6 x 2 beside it, the same in every slice."""
    mask = np.zeros((depth + 2, 12, 14), np.uint8)
    mask[1:-1, 3:9, 2:4] = RV
    mask[1:-1, 3:9, 4:10] = MYO
    mask[1:-1, 4:8, 5:9] = LV
    return mask


def sure(mask, lead=30.0):
    """Logits that leave no doubt about a mask."""
    return np.float32(lead) * (mask == np.arange(4)[:, None, None, None]).astype(np.float32)


def test_a_heart_as_it_should_be():
    assert anatomy(heart()) == GOOD
    assert confidence(sure(heart()), heart()) == pytest.approx({"entropy": 0, "margin": 0}, abs=1e-6)


def test_the_mask_is_that_of_the_largest_logit():
    logits = np.random.default_rng(0).standard_normal((4, 3, 5, 6), dtype=np.float32)
    np.testing.assert_array_equal(network_mask(logits), logits.argmax(axis=0))


def test_entropy_and_margin_by_hand():
    # One voxel with the odds 1 : 0 : 3 : 0 of background, RV, MYO, LV among sure background.
    logits = np.full((4, 1, 3, 3), -60, np.float32)
    logits[0] = 60
    logits[:, 0, 1, 1] = [0, -60, math.log(3), -60]
    found = confidence(logits, network_mask(logits))

    assert found["entropy"] == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(4), rel=1e-5)
    assert found["margin"] == pytest.approx(1 - (0.75 - 0.25), rel=1e-5)


def test_the_margin_is_that_of_the_worst_structure():
    mask = heart()
    logits = sure(mask)
    logits[RV][mask == LV] = 30
    logits[LV][mask == LV] = 30.5
    odds = math.exp(0.5)

    assert confidence(logits, network_mask(logits))["margin"] == pytest.approx(1 - (odds - 1) / (odds + 1), rel=1e-4)


def test_doubtful_background_counts():
    mask = heart()
    logits = sure(mask)
    logits[MYO][mask == 0] = 29
    assert confidence(logits, mask)["entropy"] > 0.1
    assert confidence(logits, mask)["margin"] == pytest.approx(0, abs=1e-6)


def test_no_heart_at_all():
    empty = np.zeros((3, 8, 8), np.uint8)
    assert anatomy(empty) == {**GOOD, "missing": 1.0}
    assert confidence(sure(empty), empty) == {"entropy": 1.0, "margin": 1.0}


def test_a_missing_structure():
    mask = heart()
    mask[mask == RV] = 0
    assert anatomy(mask) == {**GOOD, "missing": pytest.approx(1 / 3)}


def test_pieces():
    mask = heart()
    mask[1, 0:2, 12:14] = LV  # 4 voxels apart from 64
    assert anatomy(mask)["fragments"] == pytest.approx(4 / 68)


def test_pieces_that_touch_by_a_corner_are_one():
    mask = heart()
    mask[0, 3, 4] = LV
    assert anatomy(mask)["fragments"] == 0


def test_an_open_wall():
    mask = heart(depth=1)
    mask[1, 4:8, 9] = 0  # one of the four sides of 4 voxels
    assert anatomy(mask)["open_lv"] == pytest.approx(4 / 16)


def test_a_heart_at_the_edge_of_the_grid_has_an_open_wall_there():
    mask = heart(depth=1)[:, :, :9]
    assert anatomy(mask)["open_lv"] == pytest.approx(4 / 16)
    assert anatomy(mask)["cut"] == 1


def test_an_rv_that_lies_elsewhere():
    mask = heart()
    mask[1, :, 2:4] = 0
    mask[1, 3:9, 0:2] = RV  # two voxels away from the wall in one slice of four
    assert anatomy(mask)["apart_rv"] == pytest.approx(1 / 4)


def test_a_slice_that_is_out_of_line():
    mask = heart(depth=5)
    mask[3][mask[3] == LV] = MYO
    # Areas of the LV: 16, 16, 0, 16, 16; second differences 16, 32, 16 over 4 times 64.
    assert anatomy(mask)["ragged"] == pytest.approx((16 + 32 + 16) / (4 * 64))


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_box_holds_the_foreground_in_any_order_of_memory(axes):
    mask = np.zeros((5, 6, 7), np.uint8)
    mask[1:3, 2:6, 4] = 3
    mask[2, 2, 6] = 1
    assert heart_box(mask.transpose(axes)) == tuple((slice(1, 3), slice(2, 6), slice(4, 7))[axis] for axis in axes)


def test_a_fine_grid_is_thinned_to_3_mm_within_the_slices():
    logits = np.zeros((4, 20, 128, 112), np.float32)
    assert coarse(logits, (5.0, 1.5625, 1.5625)).shape == (4, 20, 64, 56)
    assert coarse(logits, (10.0, 3.125, 3.125)).shape == logits.shape
