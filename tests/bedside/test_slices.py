"""Stacks with fresh slices: where a slice goes, what a viewer is told."""

import time

import numpy as np
import pytest

from bedside.frames import Answer, Frame
from bedside.slices import MovedError, SliceUpdater, of_whole_stack, with_ages
from cinert.data.nifti import Geometry

AFFINE = np.array([[2, 0, 0, 5.0], [0, 0, 8, -3], [0, -2, 0, 40], [0, 0, 0, 1]])


@pytest.fixture
def stack() -> Frame:
    return Frame(np.arange(60, dtype=np.uint16).reshape(3, 4, 5).T, Geometry((5, 4, 3), AFFINE), 30)


def slice_geometry(number: int, shift_mm: float = 0.0, columns: int = 5) -> Geometry:
    affine = AFFINE.copy()
    affine[1, 3] += 8 * number
    affine[0, 3] += shift_mm
    return Geometry((columns, 4, 1), affine)


def test_a_fresh_slice_takes_its_place(stack) -> None:
    updater = SliceUpdater(stack, [10, 20, 30])
    pixels_YX = np.full((4, 5), 99, np.uint16)

    updater.replace(1, pixels_YX, slice_geometry(1), 40)
    frame = updater.frame()

    expected = stack.image.copy()
    expected[:, :, 1] = 99
    np.testing.assert_array_equal(frame.image, expected)
    assert (frame.arrived_ns, frame.slice_arrived_ns) == (40, (10, 40, 30))
    assert stack.image[0, 0, 1] == 20


@pytest.mark.parametrize("geometry", [slice_geometry(2), slice_geometry(1, 0.6), slice_geometry(1, columns=6)])
def test_a_slice_that_lies_elsewhere(stack, geometry: Geometry) -> None:
    with pytest.raises(MovedError):
        SliceUpdater(stack, [10, 20, 30]).replace(1, np.zeros((4, 5), np.uint16), geometry, 40)


def test_ages_are_those_of_the_moment(stack) -> None:
    now = time.perf_counter_ns()
    frame = Frame(stack.image, stack.geometry, now, (now - 10**9, now - 2 * 10**9, now))

    ages = with_ages(Answer("live", None, 1.0), frame).slice_age_ms

    assert 2000 <= ages[1] < 60_000
    assert ages[0] - ages[2] == pytest.approx(1000, abs=0.01)
    assert with_ages(Answer("live", None, 1.0), stack).slice_age_ms is None


@pytest.mark.parametrize(
    ("state", "ages", "expected"),
    [
        ("live", (10.0, 20.0, 499.0), "live"),
        ("live", (10.0, 20.0, 501.0), "stale"),
        ("late", (900.0, 20.0, 501.0), "stale"),
        ("unsure", (10.0, 20.0, 501.0), "stale"),
        ("failed", (10.0, 20.0, 501.0), "failed"),
    ],
)
def test_a_stack_with_an_old_slice_is_stale_as_a_whole(state, ages, expected) -> None:
    answer = of_whole_stack(Answer(state, None, 1.0, "because", slice_age_ms=ages), stale_ms=500)

    assert answer.state == expected
    assert answer.reason.endswith("because")


def test_a_stale_stack_says_how_many_and_how_old() -> None:
    answer = of_whole_stack(Answer("live", None, 1.0, slice_age_ms=(31_240.0, 2.0, 700.0)), stale_ms=500)

    assert answer.reason == "2 of 3 slices are older than 500 ms, the oldest is 31.2 s old"
