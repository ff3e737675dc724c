"""The localiser finds what its network marks, on any grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinert.backends.base import Runner
from cinert.data.grid import GridMap, PreprocessingSpec
from cinert.data.localiser import FIRST_VIEW, VIEW, Localiser, heart_middle
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
    point = Localiser(BrightIsHeart()).bind(geometry).locate(ball(geometry.shape, geometry.affine, centre))
    assert point is not None
    assert np.linalg.norm((point - centre)[:2]) < 4.0


@pytest.mark.parametrize(
    "spacing_mm", [(0.7, 0.7, 8.0), (1.2, 1.2, 2.5), (1.5, 1.5, 1.5), (3.0, 1.0, 1.0), (4.0, 4.0, 12.0)]
)
def test_of_fine_images_every_nth_pixel_says_where(spacing_mm):
    """Nor does thinning turn the stack: 1.2 mm by 4 is more than its slices of 2.5 mm."""
    size = [int(250 / mm) if mm < 2 else 40 for mm in spacing_mm]
    geometry = Geometry(tuple(size), np.diag([*spacing_mm, 1.0]))
    middle = geometry.affine[:3, :3] @ ((np.array(size) - 1) / 2)
    centre = middle + np.array([20.0, -15.0, 5.0])
    point = Localiser(BrightIsHeart()).bind(geometry).locate(ball(geometry.shape, geometry.affine, centre, 35.0))
    assert np.abs(point - centre).max() < 5.0


def test_a_localiser_of_an_older_bundle_reads_the_view_that_it_was_trained_on():
    geometry = stack()
    centre = np.array([30.0, -50.0, 0.0])
    image = ball(geometry.shape, geometry.affine, centre)
    runner = BrightIsHeart((1, 1, *FIRST_VIEW.shape_DHW))
    point = Localiser(runner).bind(geometry).locate(image)
    assert np.linalg.norm((point - centre)[:2]) < 4.0
    np.testing.assert_array_equal(runner.image[0, 0], GridMap(geometry, FIRST_VIEW).to_network(image))


def test_the_crop_about_it_holds_what_a_crop_about_the_image_loses():
    geometry = stack()
    image = ball(geometry.shape, geometry.affine, np.array([85.0, -80.0, 0.0]))
    label = (image > 0).astype(np.uint8)
    spec = PreprocessingSpec(spacing_mm=(10.0, 3.125, 3.125), shape_DHW=(10, 64, 56))
    point = Localiser(BrightIsHeart()).bind(geometry).locate(image)
    assert GridMap(geometry, spec).kept_share(label) < 0.8
    assert GridMap(geometry, spec, point).kept_share(label) == 1.0


def test_a_frame_is_located_on_its_own():
    geometry = stack()
    localiser = Localiser(BrightIsHeart()).bind(geometry)
    first, second = (ball(geometry.shape, geometry.affine, np.array([x, 20.0, 0.0])) for x in (10.0, 14.0))
    alone = Localiser(BrightIsHeart()).bind(geometry).locate(second)
    localiser.locate(first)
    np.testing.assert_array_equal(localiser.locate(second), alone)


def test_another_geometry_starts_afresh():
    geometry = stack()
    localiser = Localiser(BrightIsHeart()).bind(geometry)
    first, second = np.array([-60.0, 0.0, 0.0]), np.array([60.0, 0.0, 0.0])
    localiser.locate(ball(geometry.shape, geometry.affine, first))
    point = localiser.bind(geometry).locate(ball(geometry.shape, geometry.affine, second))
    assert abs(point[0] - 60.0) < 4.0


def test_nothing_found_is_said():
    geometry = stack()
    assert Localiser(BrightIsHeart()).bind(geometry).locate(np.zeros(geometry.shape, np.float32)) is None


def test_stray_regions_do_not_pull():
    heart = np.zeros(VIEW.shape_DHW, np.float32)
    heart[4:10, 20:31, 30:41] = 0.9
    heart[0, 46, 46] = 1.0
    np.testing.assert_allclose(heart_middle(heart), [6.5, 25, 35], atol=1e-6)


def test_misuse():
    with pytest.raises(BadInputError, match="localiser's engine maps"):
        Localiser(BrightIsHeart((1, 1, 4, 4, 4)))
    with pytest.raises(RuntimeError, match="bind"):
        Localiser(BrightIsHeart()).locate(np.zeros((4, 4, 4)))
