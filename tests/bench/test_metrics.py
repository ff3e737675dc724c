import math

import numpy as np
import pytest
import torch
from scipy import ndimage, spatial

from bench.metrics import CLASS_LABELS, diagonal_mm, mean_scores, score_mask, std_scores

SHAPE = (30, 28, 8)
SPACING = (1.5, 2.0, 10.0)
DIAGONAL = math.sqrt(45.0**2 + 56.0**2 + 80.0**2)


def cube(label, *, shift=(0, 0, 0), shape=SHAPE):
    mask = np.zeros(shape, np.uint8)
    x, y, z = shift
    mask[8 + x : 18 + x, 8 + y : 18 + y, 2 + z : 6 + z] = label
    return mask


def test_diagonal():
    assert diagonal_mm(SHAPE, SPACING) == pytest.approx(DIAGONAL)
    assert diagonal_mm((3, 4, 12), (1, 1, 1)) == 13


@pytest.mark.parametrize("label", [1, 2, 3])
def test_a_perfect_mask_and_absent_classes(label):
    score = score_mask(cube(label), cube(label), SPACING)
    # The two other classes are rightly absent: they have no score, and leave the mean.
    assert score.dice == {name: 1.0 if number == label else None for name, number in CLASS_LABELS.items()}
    assert score.hd95_mm == {name: 0.0 if number == label else None for name, number in CLASS_LABELS.items()}
    assert score.mean_dice == 1.0


def test_absent_everywhere():
    empty = np.zeros(SHAPE, np.uint8)
    score = score_mask(empty, empty, SPACING)
    assert score.mean_dice is None
    assert set(score.hd95_mm.values()) == {None}


@pytest.mark.parametrize("missed", [True, False], ids=["missed", "invented"])
def test_one_side_empty_scores_worst(missed):
    empty, there = np.zeros(SHAPE, np.uint8), cube(3)
    score = score_mask(empty, there, SPACING) if missed else score_mask(there, empty, SPACING)
    assert score.dice["lv"] == 0.0
    assert score.hd95_mm["lv"] == pytest.approx(DIAGONAL)
    assert (score.dice["rv"], score.hd95_mm["rv"]) == (None, None)
    # What is rightly absent does not dress up what is missed.
    assert score.mean_dice == 0.0


@pytest.mark.parametrize(
    ("shift", "overlap", "distance_mm"),
    [((3, 0, 0), 0.7, 4.5), ((0, 2, 0), 0.8, 4.0), ((0, 0, 1), 0.75, 10.0)],
    ids=["x", "y", "z"],
)
def test_a_shifted_cube_by_hand(shift, overlap, distance_mm):
    # Both cubes have the same volume, so Dice is the share that overlaps; the far face lies |shift| x spacing away,
    # and holds more than a twentieth of the surface.
    score = score_mask(cube(2, shift=shift), cube(2), SPACING)
    assert score.dice["myo"] == pytest.approx(overlap)
    assert score.hd95_mm["myo"] == pytest.approx(distance_mm)


def test_hd95_leaves_out_the_worst_twentieth():
    # One stray voxel among hundreds of surface voxels: the Hausdorff distance is 60 mm, its 95th percentile is not.
    predicted = cube(1)
    predicted[0, 0, 0] = 1
    assert score_mask(predicted, cube(1), SPACING).hd95_mm["rv"] == 0.0


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI warns of its own argument
def test_cropping_changes_nothing():
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    rng = np.random.default_rng(1)
    predicted, truth = (rng.random((2, 9, 8, 7)) > 0.6).astype(np.uint8)
    whole = compute_hausdorff_distance(
        torch.from_numpy(predicted)[None, None],
        torch.from_numpy(truth)[None, None],
        include_background=True,
        percentile=95,
        spacing=list(SPACING),
    )
    assert score_mask(predicted, truth, SPACING).hd95_mm["rv"] == pytest.approx(float(whole))


@pytest.mark.parametrize("seed", range(4))
def test_hd95_and_dice_are_those_of_a_second_implementation(seed):
    # Every surface voxel against every other, with scipy: no distance transform, no MONAI.
    rng = np.random.default_rng(seed)
    predicted, truth = (ndimage.gaussian_filter(rng.normal(size=(2, 16, 14, 8)), (0, 2, 2, 1)) > 0.02).astype(np.uint8)
    surfaces = [
        np.argwhere(mask & ~ndimage.binary_erosion(mask)) * SPACING
        for mask in (predicted.astype(bool), truth.astype(bool))
    ]
    distances = spatial.distance.cdist(*surfaces)
    hd95 = max(np.percentile(distances.min(axis=axis), 95) for axis in (0, 1))
    dice = 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())

    score = score_mask(predicted, truth, SPACING)

    assert score.hd95_mm["rv"] == pytest.approx(hd95)
    assert score.dice["rv"] == pytest.approx(dice)


def test_masks_on_different_grids_are_a_mistake():
    with pytest.raises(ValueError, match="cannot be compared"):
        score_mask(np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3, 4), np.uint8), SPACING)


def test_mean_and_spread():
    rows = [{"rv": 0.5, "myo": 0.2, "lv": 1.0}, {"rv": 0.7, "myo": 0.2, "lv": 0.0}]
    assert mean_scores(rows) == pytest.approx({"rv": 0.6, "myo": 0.2, "lv": 0.5})
    assert std_scores(rows) == pytest.approx({"rv": math.sqrt(0.02), "myo": 0.0, "lv": math.sqrt(0.5)})
    assert std_scores(rows[:1]) == dict.fromkeys(CLASS_LABELS, 0.0)


def test_what_has_no_score_leaves_mean_and_spread():
    rows = [{"rv": None, "myo": 0.2, "lv": 1.0}, {"rv": None, "myo": None, "lv": 0.0}]
    assert mean_scores(rows) == {"rv": None, "myo": 0.2, "lv": 0.5}
    assert std_scores(rows) == pytest.approx({"rv": None, "myo": 0.0, "lv": math.sqrt(0.5)})
