"""Where the heart lies in a mask, and how much of it the crop may have cut off."""

from pathlib import Path

import numpy as np
import pytest

from bedside.follow import HIDDEN_SHARE
from bedside.outline import Outline, outline_of
from bedside.quality_features import found_box
from cinert.data.dataset import heart_centre_mm
from cinert.data.grid import GridMap
from cinert.data.layouts import read_patients
from cinert.data.nifti import Geometry
from cinert.data.patients import load_frame
from tests.bedside.moving_heart import GEOMETRY, MIDDLE_MM, SPEC, heart


def seen(label: np.ndarray, grid: GridMap) -> tuple[np.ndarray, Outline | None]:
    """What a perfect network would find, and its outline."""
    mask = np.zeros_like(label)
    mask[grid.field_of_view] = label[grid.field_of_view]
    box = found_box(mask, grid.field_of_view)
    return mask, None if box is None else outline_of(mask, grid, box)


def check(label: np.ndarray, geometry: Geometry, centre_mm: np.ndarray, crops: int, seed: int) -> np.ndarray:
    """Lay crops about a heart; each that lost more than 2 % of it has to be told.

    Returns:
        How many did; how many lost nothing; and of how many of those something else was told.
    """
    rng, base, counts = np.random.default_rng(seed), GridMap(geometry, SPEC), np.zeros(3, int)
    for _ in range(crops):
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0, 80)
        grid = base.moved_to(centre_mm + radius * np.array([np.cos(angle), np.sin(angle), 0.0]))
        outline, kept = seen(label, grid)[1], grid.kept_share(label)
        told = outline is None or outline.hidden_share > HIDDEN_SHARE
        assert told or kept >= 0.98
        counts += [kept < 0.98, kept == 1, kept == 1 and told]
    return counts


@pytest.mark.parametrize("scale", [0.8, 1.1, 1.4])
def test_of_drawn_hearts_what_a_crop_lost_is_told(scale: float) -> None:
    lost, whole, alarms = check(heart((0, 0), scale=scale, beat=0.4), GEOMETRY, MIDDLE_MM, 60, seed=1)
    assert lost >= 3
    # Where a heart ends within a voxel of the border, nobody knows.
    assert alarms <= 0.1 * whole


def test_of_labelled_patients_what_a_crop_lost_is_told(shared: Path) -> None:
    counts = np.zeros(3, int)
    for seed, patient in enumerate(read_patients(shared / "acdc")[::8]):
        for frame in patient.frames:
            _, label, geometry = load_frame(frame)
            counts += check(label, geometry, heart_centre_mm(label, geometry), 10, seed)
    lost, whole, alarms = counts
    assert lost >= 20
    assert alarms <= 0.02 * whole


def test_a_disc_that_is_cut_is_completed() -> None:
    """A cylinder of radius 40 mm, of which the crop shows a part: share and middle are those of the whole."""
    x, y = (np.arange(118) * 3.0 - MIDDLE_MM[axis] for axis in (0, 1))
    label = np.zeros(GEOMETRY.shape, np.uint8)
    label[..., 2:6] = (np.hypot(x[:, None], y[None]) < 40)[..., None]
    for beyond_mm in (10, 25, 45):
        grid = GridMap(GEOMETRY, SPEC).moved_to(MIDDLE_MM - np.array([47.5 + beyond_mm, 0.0, 0.0]))
        outline = seen(label, grid)[1]
        assert outline.touches
        assert outline.hidden_share == pytest.approx(1 - grid.kept_share(label), abs=0.05)
        assert np.abs(outline.middle_mm - MIDDLE_MM)[:2].max() < 6


def test_a_stray_piece_moves_no_middle() -> None:
    label = heart((10, 0))
    whole = seen(label, GridMap(GEOMETRY, SPEC))[1]
    label[72:74, 22:24, 3] = 3
    stray = seen(label, GridMap(GEOMETRY, SPEC))[1]
    assert np.abs(stray.middle_mm - whole.middle_mm)[:2].max() < 4


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
@pytest.mark.parametrize("turned", [False, True])
def test_the_order_of_the_stored_axes_does_not_matter(order: tuple[int, ...], turned: bool) -> None:
    label, geometry = heart((12, -7), scale=1.3), GEOMETRY
    centre = MIDDLE_MM + np.array([60.0, 20.0, 0.0])
    expected = seen(label, GridMap(geometry, SPEC).moved_to(centre))[1]
    affine = geometry.affine[:, [*order, 3]]
    label = label.transpose(order)
    if turned:
        affine = affine @ np.diag([-1.0, 1.0, 1.0, 1.0])
        affine[:3, 3] -= affine[:3, 0] * (label.shape[0] - 1)
        label = label[::-1]
    other = Geometry(label.shape, affine)
    found = seen(np.asfortranarray(label), GridMap(other, SPEC).moved_to(centre))[1]
    np.testing.assert_allclose(found.middle_mm, expected.middle_mm, atol=1e-6)
    assert found.hidden_share == pytest.approx(expected.hidden_share)
    assert found.touches == expected.touches
