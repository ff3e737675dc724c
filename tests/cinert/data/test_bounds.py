"""The bounds of geometry: every cine that exists passes, headers in another unit do not."""

import math

import pytest

from cinert.data.bounds import check_axes, check_geometry, geometry_fault, is_cine_step, slice_axis
from cinert.errors import BadInputError


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [
        ((256, 216, 10), (1.5625, 1.5625, 10.0)),
        ((428, 512, 18), (0.703125, 0.703125, 5.0)),  # the finest of ACDC
        ((192, 192, 1), (2.0, 2.0, 8.0)),
        ((128, 128, 3), (2.5, 2.5, 40.0)),  # base, middle and apex alone
        ((320, 320, 6), (1.5, 1.5, 12.0)),  # 480 mm, the widest of ACDC
        ((4, 4, 2), (10.0, 10.0, 10.0)),
    ],
)
def test_what_scanners_acquire_passes(shape, spacing_mm) -> None:
    assert geometry_fault(shape, spacing_mm) == ""
    check_geometry(shape, spacing_mm, what="cine a.nii.gz")


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "words"),
    [
        ((128, 128, 10), (0.0014, 0.0014, 0.009), "voxels of 0.0014 x 0.0014 x 0.009 mm"),  # metres
        ((128, 128, 10), (1400.0, 1400.0, 9000.0), "voxels of 1400 x 1400 x 9000 mm"),  # micrometres
        ((128, 128, 10), (1.4, 1.4, 200.0), "voxels of 1.4 x 1.4 x 200 mm"),  # 2 m of ten slices
        ((128, 128, 200), (1.4, 1.4, 10.0), "a grid of 179.2 x 179.2 x 2000 mm"),
        ((30, 128, 128), (40.0, 1.4, 1.4), "a grid of 1200 x 179.2 x 179.2 mm"),  # time first, in ms
        ((30, 128, 128), (0.04, 1.4, 1.4), "voxels of 0.04 x 1.4 x 1.4 mm"),  # and in s
        ((128, 128, 10), (0.0, 1.4, 9.0), "voxels of 0 x 1.4 x 9 mm"),
        ((128, 128, 10), (math.nan, 1.4, 9.0), "voxels of nan x 1.4 x 9 mm"),
        ((128, 128, 10), (math.inf, 1.4, 9.0), "voxels of inf x 1.4 x 9 mm"),
    ],
)
def test_what_no_stack_of_a_heart_measures_is_refused(shape, spacing_mm, words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        check_geometry(shape, spacing_mm, what="cine a.nii.gz")

    assert caught.value.message.startswith(f"cine a.nii.gz has {words}; ")
    assert "another unit than mm" in str(caught.value.hint)


def test_time_among_the_axes_of_space() -> None:
    check_axes((256, 96, 10), (1.4, 1.4, 10.0), what="cine a.nii.gz")  # a reduced field of view
    check_axes((10, 256, 216), (10.0, 1.4, 1.4), what="cine a.nii.gz")  # slices first
    with pytest.raises(BadInputError, match=r"cine a\.nii\.gz has a field of view of 28 x 179\.2 mm in plane"):
        check_axes((20, 128, 128), (1.4, 1.4, 1.4), what="cine a.nii.gz")


@pytest.mark.parametrize(
    ("spacing_mm", "axis"),
    [((1.4, 1.4, 9.0), 2), ((9.0, 1.4, 1.4), 0), ((1.4, 9.0, 1.4), 1), ((2.0, 2.0, 2.0), 2), ((2.2, 2.0, 2.0), 2)],
)
def test_slices_lie_along_the_distinctly_longest_step(spacing_mm, axis: int) -> None:
    assert slice_axis(spacing_mm) == axis


@pytest.mark.parametrize(
    ("step_ms", "can_be"), [(5.0, True), (33.0, True), (500.0, True), (0.06, False), (1000.0, False), (math.nan, False)]
)
def test_steps_of_a_cine(step_ms: float, can_be: bool) -> None:
    assert is_cine_step(step_ms) is can_be
