"""A mask against the one before and the volumes so far."""

import math

import numpy as np
import pytest

from bedside.quality_history import MaskHistory
from cinert.data.nifti import Geometry
from cinert.quality import VolumeRange

GEOMETRY = Geometry((10, 10, 4), np.diag([10.0, 10.0, 10.0, 1.0]))  # a voxel is 1 ml
RANGES = {
    "rv": VolumeRange(math.log(8), 0.5),
    "myo": VolumeRange(math.log(16), 0.5),
    "lv": VolumeRange(math.log(8), 0.5),
}

SAME = {"volume": pytest.approx(0, abs=1e-9), "jump": 0.0, "drift": 0.0}


def mask(rv=8, myo=16, lv=8):
    """So many voxels of each structure, in rows of their own."""
    result = np.zeros(GEOMETRY.shape, np.uint8)
    for label, count in ((1, rv), (2, myo), (3, lv)):
        plane = np.zeros(80, np.uint8)
        plane[:count] = label
        result[:, 2 * label : 2 * label + 2, :] = plane.reshape(10, 2, 4)
    return result


@pytest.fixture
def history():
    return MaskHistory(GEOMETRY)


def test_the_first_mask_has_no_past(history):
    assert history.add(mask(), RANGES) == {"volume": pytest.approx(0, abs=1e-9), "jump": None, "drift": None}


def test_the_same_mask_again_is_no_jump(history):
    history.add(mask(), RANGES)
    assert history.add(mask(), RANGES) == SAME


def test_a_jump_by_hand(history):
    history.add(mask(lv=8), RANGES)
    # Dice 2 * 4 / (8 + 4) in the LV, 1 in the others.
    assert history.add(mask(lv=4), RANGES)["jump"] == pytest.approx(1 - (1 + 1 + 8 / 12) / 3)


def test_a_structure_that_comes_and_goes_jumps(history):
    history.add(mask(rv=0), RANGES)
    assert history.add(mask(), RANGES)["jump"] == pytest.approx(1 / 3)


def test_a_structure_that_is_in_neither_does_not_count(history):
    history.add(mask(rv=0), RANGES)
    assert history.add(mask(rv=0, lv=4), RANGES)["jump"] == pytest.approx(1 - (1 + 8 / 12) / 2)


def test_the_myocardium_is_held_against_its_median_so_far(history):
    for myo in (10, 16, 40):
        history.add(mask(myo=myo), RANGES)
    assert history.add(mask(myo=20), RANGES)["drift"] == pytest.approx(math.log(20 / 16))


def test_old_volumes_are_forgotten(history):
    history.add(mask(myo=40), RANGES)
    for _ in range(40):
        last = history.add(mask(myo=10), RANGES)
    assert last["drift"] == 0


def test_the_volume_furthest_from_other_hearts_counts(history):
    found = history.add(mask(rv=16, myo=16, lv=2), RANGES)
    assert found["volume"] == pytest.approx(math.log(4) / 0.5)


def test_a_past_may_go_two_ways(history):
    history.add(mask(), RANGES)
    other = history.copy()
    other.add(mask(lv=2, myo=40), RANGES)
    assert history.add(mask(), RANGES) == SAME


def test_a_buffer_that_is_used_again_does_not_change_the_past(history):
    buffer = mask(lv=8)
    history.add(buffer, RANGES)
    buffer[:] = mask(lv=4)
    assert history.add(buffer, RANGES)["jump"] > 0
