"""The cut-out around the heart: it holds the heart, keeps still, and is bounded in size."""

import numpy as np
import pytest

from bedside.frames import Frame
from bedside.web.mosaic import MAX_SIDE, MAX_SLICES, Mosaic
from cinert.data.nifti import Geometry


def volume(shape=(120, 120, 9), *, heart=np.s_[40:60, 50:70, 2:7], spacing=(2.0, 2.0, 8.0)):
    """Image and mask with a block of LV; x to the Left and y to Posterior, as the network sees it."""
    mask = np.zeros(shape, np.uint8)
    mask[heart] = 3
    image = np.random.default_rng(1).normal(100, 10, shape).astype(np.float32) + 200 * mask
    return Frame(image, Geometry(shape, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])), 0), mask


def test_the_heart_is_whole_and_the_rest_is_cut_off() -> None:
    frame, mask = volume()

    tiles = Mosaic().cut(frame, mask)

    assert tiles.slices == tuple(range(9))
    assert (tiles.label_SYX == 3).sum() == (mask == 3).sum()
    # 40 mm of heart and 14 mm on each side are less than the 90 mm that are always shown.
    assert tiles.label_SYX.shape[1:] == (45, 45)
    assert tiles.pixel_mm == (2.0, 2.0)


def test_stored_axes_are_turned_and_slices_keep_their_stored_number() -> None:
    frame, mask = volume()
    turned = np.transpose(mask, (2, 0, 1))[::-1]
    image = np.transpose(frame.image, (2, 0, 1))[::-1]
    affine = np.zeros((4, 4))
    affine[:3, 0] = 0, 0, -8
    affine[:3, 1] = -2, 0, 0
    affine[:3, 2] = 0, -2, 0
    affine[3, 3] = 1

    ours = Mosaic().cut(frame, mask)
    theirs = Mosaic().cut(Frame(image, Geometry(turned.shape, affine), 0), turned)

    # Shown in stored order, so their first slice is our last.
    assert theirs.slices == tuple(range(9))
    np.testing.assert_array_equal(theirs.label_SYX, ours.label_SYX[::-1])
    # Black and white are taken from a sample, which is another one in another order.
    np.testing.assert_allclose(theirs.grey_SYX.astype(int), ours.grey_SYX[::-1].astype(int), atol=8)


def test_the_cut_out_holds_still_while_the_heart_beats_and_grows_when_it_leaves() -> None:
    mosaic = Mosaic()
    frame, mask = volume()
    first = mosaic.cut(frame, mask).label_SYX
    for radius in (8, 6, 9, 10):
        beat = volume(heart=np.s_[50 - radius : 50 + radius, 60 - radius : 60 + radius, 2:7])
        assert mosaic.cut(*beat).label_SYX.shape == first.shape
    moved_frame, moved = volume(heart=np.s_[80:100, 50:70, 2:7])

    grown = mosaic.cut(moved_frame, moved).label_SYX

    assert (grown == 3).sum() == (moved == 3).sum()
    assert grown.shape[1] > first.shape[1]


def test_a_cut_out_that_is_far_too_large_shrinks_after_some_beats() -> None:
    mosaic = Mosaic()
    large = mosaic.cut(*volume(heart=np.s_[10:110, 10:110, 2:7])).label_SYX.shape
    shapes = [mosaic.cut(*volume()).label_SYX.shape for _ in range(210)]

    assert shapes[50] == large
    assert shapes[-1][1] < 0.8 * large[1]


def test_an_empty_mask_shows_the_whole_image_until_the_heart_is_found() -> None:
    mosaic = Mosaic()
    frame, mask = volume()

    assert mosaic.cut(frame, np.zeros_like(mask)).label_SYX.shape == (9, 120, 120)
    assert mosaic.cut(frame, mask).label_SYX.shape == (9, 45, 45)
    assert mosaic.cut(frame, np.zeros_like(mask)).label_SYX.shape == (9, 45, 45)


def test_a_stray_voxel_moves_nothing() -> None:
    frame, mask = volume()
    mask[110, 5, 4] = 3

    assert Mosaic().cut(frame, mask).label_SYX.shape == (9, 45, 45)


def test_many_slices_are_chosen_over_the_heart() -> None:
    frame, mask = volume((60, 60, 40), heart=np.s_[20:40, 20:40, 20:30])

    tiles = Mosaic().cut(frame, mask)

    assert tiles.slices == tuple(range(20, 30))
    more = Mosaic().cut(*volume((60, 60, 40), heart=np.s_[20:40, 20:40, 5:35])).slices
    assert len(more) == MAX_SLICES
    assert min(more) >= 5
    assert max(more) < 35


def test_fine_images_are_sent_coarser() -> None:
    frame, mask = volume((512, 512, 2), heart=np.s_[100:400, 100:400, :], spacing=(0.5, 0.5, 8.0))

    tiles = Mosaic().cut(frame, mask)

    assert max(tiles.label_SYX.shape[1:]) <= MAX_SIDE
    assert tiles.pixel_mm == (1.0, 1.0)


def test_another_grid_begins_anew() -> None:
    mosaic = Mosaic()
    mosaic.cut(*volume())

    assert mosaic.cut(*volume((64, 48, 3), heart=np.s_[0:0, 0:0, 0:0])).label_SYX.shape == (3, 48, 64)


@pytest.mark.parametrize("value", [0, 7])
def test_an_image_of_one_grey_value_is_drawn(value: int) -> None:
    frame, mask = volume()

    tiles = Mosaic().cut(Frame(np.full_like(frame.image, value), frame.geometry, 0), mask)

    assert tiles.grey_SYX.dtype == np.uint8
    assert len(np.unique(tiles.grey_SYX)) == 1
