"""The localiser finds what its network marks, on any grid, and holds still over a cine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinert.backends.base import Runner
from cinert.data.grid import GridMap, PreprocessingSpec
from cinert.data.localiser import VIEW, Localiser, heart_middle
from cinert.data.nifti import Geometry
from cinert.errors import BadInputError

SHAPE = (1, 1, *VIEW.shape_DHW)


class BrightIsHeart(Runner):
    """Marks what is bright: the view is z-scored, and a bright ball is far above 1."""

    def __init__(self, shape=SHAPE):
        self.input_shapes, self.output_shape = (shape,), shape

    def run(self, *inputs):
        self.image = inputs[0]
        return 10 * (inputs[0] - 1)

    def execute(self):
        raise NotImplementedError

    def fork(self):
        return BrightIsHeart()


def ball(shape, affine, centre_mm, radius_mm=45.0):
    """Image with a bright ball about a world point."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    return (np.linalg.norm(world - centre_mm, axis=-1) < radius_mm).astype(np.float32) * 500


def stack(order=(0, 1, 2), signs=(1, 1, 1)):
    """Geometry of 180 x 160 x 11 voxels of 2 x 2.2 x 9 mm, axes permuted and turned."""
    size, spacing = np.array([180, 160, 11])[list(order)], np.array([2.0, 2.2, 9.0])[list(order)]
    affine = np.eye(4)
    for column, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:3, column] = 0
        affine[axis, column] = sign * spacing[column]
    affine[:3, 3] = -affine[:3, :3] @ ((size - 1) / 2)
    return Geometry(tuple(int(n) for n in size), affine)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    x=st.floats(-90, 90),
    y=st.floats(-90, 90),
    order=st.permutations([0, 1, 2]),
    signs=st.tuples(*[st.sampled_from([1, -1])] * 3),
)
def test_a_heart_anywhere_on_any_grid_is_found(x, y, order, signs):
    geometry = stack(tuple(order), signs)
    centre = np.array([x, y, 0.0])
    location = Localiser(BrightIsHeart()).bind(geometry).locate(ball(geometry.shape, geometry.affine, centre))
    assert location.moved
    assert np.linalg.norm((location.centre_mm - centre)[:2]) < 4.0


def test_the_crop_about_it_holds_what_a_crop_about_the_image_loses():
    geometry = stack()
    image = ball(geometry.shape, geometry.affine, np.array([85.0, -80.0, 0.0]))
    label = (image > 0).astype(np.uint8)
    spec = PreprocessingSpec(spacing_mm=(10.0, 3.125, 3.125), shape_DHW=(10, 64, 56))
    location = Localiser(BrightIsHeart()).bind(geometry).locate(image)
    assert GridMap(geometry, spec).kept_share(label) < 0.8
    assert GridMap(geometry, spec, location.centre_mm).kept_share(label) == 1.0


def test_a_small_motion_leaves_the_crop_alone_and_a_large_one_moves_it():
    geometry = stack()
    localiser = Localiser(BrightIsHeart()).bind(geometry)
    centres = [np.array([10.0 + dx, 20.0, 0.0]) for dx in (0.0, 2.0, -2.0, 1.0)]
    found = [localiser.locate(ball(geometry.shape, geometry.affine, centre)) for centre in centres]
    assert [location.moved for location in found] == [True, False, False, False]
    away = ball(geometry.shape, geometry.affine, np.array([50.0, 20.0, 0.0]))
    moved = [localiser.locate(away) for _ in range(20)]
    assert any(location.moved for location in moved)
    assert abs(moved[-1].centre_mm[0] - 50.0) < 6.0


def test_another_geometry_starts_afresh():
    geometry = stack()
    localiser = Localiser(BrightIsHeart()).bind(geometry)
    first, second = np.array([-60.0, 0.0, 0.0]), np.array([60.0, 0.0, 0.0])
    localiser.locate(ball(geometry.shape, geometry.affine, first))
    location = localiser.bind(geometry).locate(ball(geometry.shape, geometry.affine, second))
    assert abs(location.centre_mm[0] - 60.0) < 4.0


def test_nothing_found_is_said_and_keeps_the_last_place():
    geometry = stack()
    localiser = Localiser(BrightIsHeart()).bind(geometry)
    empty = np.zeros(geometry.shape, np.float32)
    location = localiser.locate(empty)
    assert location.centre_mm is None
    assert not location.moved
    for _ in range(8):
        seen = localiser.locate(ball(geometry.shape, geometry.affine, np.array([30.0, 0.0, 0.0])))
    assert seen.centre_mm is not None
    for _ in range(30):
        lost = localiser.locate(empty)
    np.testing.assert_array_equal(lost.centre_mm, seen.centre_mm)


def test_stray_regions_do_not_pull():
    heart = np.zeros(VIEW.shape_DHW, np.float32)
    heart[4:10, 20:31, 30:41] = 0.9
    heart[0, 60, 60] = 1.0
    np.testing.assert_allclose(heart_middle(heart), [6.5, 25, 35], atol=1e-6)


def test_misuse():
    with pytest.raises(BadInputError, match="localiser's engine maps"):
        Localiser(BrightIsHeart((1, 1, 4, 4, 4)))
    with pytest.raises(RuntimeError, match="bind"):
        Localiser(BrightIsHeart()).locate(np.zeros((4, 4, 4)))
