"""What holds for any volume, however it was stored and wherever the heart lies, oblique stacks included."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cinert.data.dataset import heart_centre_mm
from cinert.data.grid import GridMap, PreprocessingSpec
from cinert.data.nifti import Geometry
from cinert.data.orientation import orientation_of

deterministic = settings(derandomize=True, deadline=None, database=None, max_examples=80)
ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]
orientations = st.sampled_from(ORIENTATIONS)
specs = st.builds(
    PreprocessingSpec,
    spacing_mm=st.tuples(st.floats(3, 12), st.floats(0.8, 4), st.floats(0.8, 4)),
    shape_DHW=st.tuples(st.integers(1, 9), st.integers(1, 24), st.integers(1, 24)),
    depth_squeeze=st.floats(1.0, 1.5),
)
shapes = st.tuples(st.integers(2, 29), st.integers(2, 29), st.integers(2, 11))
spacings = st.tuples(st.floats(0.7, 2.0), st.floats(0.7, 2.0), st.floats(5, 10))
# Halves of voxels are where rounding has to take sides, and the middles of labelled boxes lie on them.
halves = st.tuples(st.integers(-4, 60), st.integers(-4, 60), st.integers(-4, 24)).map(lambda p: np.array(p) / 2)
# A rotation (rad) about each axis that leaves every axis nearest to the anatomical direction that it had.
tilts = st.tuples(*[st.floats(-0.25, 0.25)] * 3)


def rotation(tilt):
    result = np.eye(3)
    for axis, angle in enumerate(tilt):
        a, b = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[[a, b], [a, b]] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        result = result @ turn
    return result


def upright(shape, spacing, tilt):
    """Geometry of an (x, y, z) volume whose axes run towards Left, Posterior, Superior, but for the tilt."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(tilt) @ np.diag([-1.0, -1.0, 1.0]) * spacing
    affine[:3, 3] = (11.0, -7.0, 3.0)
    return Geometry(shape, affine)


def stored_as(array, geometry, order, signs):
    """The same volume with its axes in another order and direction."""
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for axis, source in enumerate(order):
        change[source, axis] = signs[axis]
        change[source, 3] = 0 if signs[axis] > 0 else array.shape[source] - 1
    other = array.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    return other, Geometry(other.shape, geometry.affine @ change)


def world(geometry, index):
    return geometry.affine[:3, :3] @ np.asarray(index) + geometry.affine[:3, 3]


def network_position(grid_map):
    """Index (d, h, w) on the network's grid of every stored voxel, by the two affines alone."""
    affine, geometry = grid_map.network_affine(), grid_map.geometry
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    to_network = np.linalg.inv(affine) @ geometry.affine
    return index @ to_network[:3, :3].T + to_network[:3, 3]


@deterministic
@given(shape=shapes, spacing=spacings, tilt=tilts, spec=specs, orientation=orientations, centre=halves)
def test_however_it_is_stored_the_network_sees_the_same(shape, spacing, tilt, spec, orientation, centre):
    rng = np.random.default_rng(0)
    image, label = rng.random(shape).astype(np.float32), rng.integers(0, 4, shape, dtype=np.uint8)
    geometry = upright(shape, spacing, tilt)
    centre_mm = world(geometry, centre)
    expected = GridMap(geometry, spec, centre_mm)
    other_image, other_geometry = stored_as(image, geometry, *orientation)
    other_label, _ = stored_as(label, geometry, *orientation)
    found = GridMap(other_geometry, spec, centre_mm)
    np.testing.assert_allclose(found.network_affine(), expected.network_affine(), atol=1e-6)
    np.testing.assert_allclose(found.to_network(other_image), expected.to_network(image), atol=2e-3)
    assert np.mean(found.label_to_network(other_label) != expected.label_to_network(label)) <= 0.02  # ties
    assert found.kept_share(other_label) == expected.kept_share(label)


@deterministic
@given(shape=shapes, spacing=spacings, tilt=tilts, spec=specs, orientation=orientations, centre=halves)
def test_the_way_back_follows_the_affines(shape, spacing, tilt, spec, orientation, centre):
    """Every stored voxel takes the class of the network's voxel that is nearest in the world; outside is background."""
    upright_geometry = upright(shape, spacing, tilt)
    _, geometry = stored_as(np.zeros(shape), upright_geometry, *orientation)
    grid_map = GridMap(geometry, spec, world(upright_geometry, centre))
    mask_DHW = np.random.default_rng(1).integers(1, 4, spec.shape_DHW)
    position = network_position(grid_map)
    last = np.array(spec.shape_DHW) - 1
    nearest = np.clip(np.floor(position + 0.5).astype(int), 0, last)
    inside = ((position > -0.5) & (position < last + 0.5)).all(axis=-1)
    # Positions halfway between two voxels may fall to either.
    certain = (np.abs(position - np.floor(position) - 0.5) > 1e-5).all(axis=-1)
    expected = np.where(inside, mask_DHW[tuple(np.moveaxis(nearest, -1, 0))], 0)
    np.testing.assert_array_equal(grid_map.mask_to_stored(mask_DHW)[certain], expected[certain])
    ones = np.ones(geometry.shape, dtype=np.uint8)
    assert abs(grid_map.kept_share(ones) - inside.mean()) <= np.mean(~certain) + 1e-9


@deterministic
@given(shape=shapes, spacing=spacings, tilt=tilts, spec=specs, orientation=orientations, label=st.integers(1, 3))
def test_one_class_everywhere_comes_back_as_it_was(shape, spacing, tilt, spec, orientation, label):
    array, geometry = stored_as(np.full(shape, label, np.uint8), upright(shape, spacing, tilt), *orientation)
    grid_map = GridMap(geometry, spec)
    y_DHW = grid_map.label_to_network(array)
    assert set(np.unique(y_DHW)) <= {0, label}
    logits = np.stack([y_DHW == value for value in range(4)]).astype(np.float32)
    seen = grid_map.mask_to_stored(np.ones(spec.shape_DHW, int)) > 0
    back = grid_map.logits_to_stored(logits)
    assert not back[~seen].any()
    position = network_position(grid_map)
    covered = (grid_map.label_to_network(np.ones_like(array)) > 0).nonzero()
    first, last = (np.array([edge(axis) for axis in covered]) for edge in (np.min, np.max))
    # Between the outermost filled voxel and the padding beside it, background may win.
    certain = ((position >= first) & (position <= last)).all(axis=-1)
    assert (back[certain] == label).all()


@deterministic
@given(
    shape=st.tuples(st.integers(30, 60), st.integers(30, 60), st.integers(2, 11)),
    spacing=st.tuples(st.floats(1.0, 2.0), st.floats(1.0, 2.0), st.floats(5, 10)),
    tilt=tilts,
    orientation=orientations,
    corner=st.tuples(*[st.floats(0, 1)] * 3),
    size=st.tuples(*[st.floats(0, 1)] * 3),
)
def test_a_heart_that_fits_is_never_clipped(shape, spacing, tilt, orientation, corner, size):
    """Wherever it lies: in plane by the crop's centre, along the slices because stacks of this height fit."""
    spec = PreprocessingSpec(spacing_mm=(5.0, 1.5, 1.5), shape_DHW=(20, 24, 28), depth_squeeze=1.2)
    room_mm = (np.array(spec.shape_DHW) - 2) * spec.spacing_mm
    room = np.minimum(np.floor(room_mm[::-1] / spacing), np.array(shape) - 1).astype(int)
    room[2] = shape[2]
    extent = np.maximum(1, np.round(np.array(size) * room)).astype(int)
    start = np.round(np.array(corner) * (np.array(shape) - extent)).astype(int)
    label = np.zeros(shape, np.uint8)
    label[tuple(slice(a, a + n) for a, n in zip(start, extent, strict=True))] = 3
    stored, geometry = stored_as(label, upright(shape, spacing, tilt), *orientation)
    grid_map = GridMap(geometry, spec, heart_centre_mm(stored, geometry))
    assert grid_map.kept_share(stored) == 1


@deterministic
@given(shape=shapes, spacing=spacings, spec=specs, centre=halves, shift=st.tuples(*[st.floats(-300, 300)] * 3))
def test_where_the_patient_lies_in_the_room_makes_no_difference(shape, spacing, spec, centre, shift):
    image = np.random.default_rng(3).random(shape)
    geometry = upright(shape, spacing, (0, 0, 0))
    moved = geometry.affine.copy()
    moved[:3, 3] += shift
    here = GridMap(geometry, spec, world(geometry, centre))
    there = GridMap(Geometry(shape, moved), spec, world(geometry, centre) + shift)
    np.testing.assert_array_equal(there.to_network(image), here.to_network(image))


@deterministic
@given(shape=shapes, spacing=spacings, spec=specs, gain=st.floats(0.01, 1000), offset=st.floats(-1000, 1000))
def test_the_scanners_gain_and_offset_make_no_difference(shape, spacing, spec, gain, offset):
    image = np.random.default_rng(4).random(shape) * 100
    grid_map = GridMap(upright(shape, spacing, (0, 0, 0)), spec)
    expected, found = grid_map.to_network(image), grid_map.to_network(gain * (image + offset))
    # float32 keeps 7 digits, of which a large offset takes some.
    np.testing.assert_allclose(found, expected, atol=0.02)


@deterministic
@given(shape=shapes, spacing=spacings, tilt=tilts, spec=specs, orientation=orientations)
def test_the_networks_grid_has_its_spacing_but_for_a_squeezed_depth(shape, spacing, tilt, spec, orientation):
    _, geometry = stored_as(np.zeros(shape), upright(shape, spacing, tilt), *orientation)
    affine = GridMap(geometry, spec).network_affine()
    steps_mm = np.linalg.norm(affine[:3, :3], axis=0)
    np.testing.assert_allclose(steps_mm[1:], spec.spacing_mm[1:], rtol=1e-6)
    depth_mm = np.array(geometry.shape)[orientation_of(geometry).stored_axis[0]] * spacing[2]
    factor = depth_mm / (spec.shape_DHW[0] * spec.spacing_mm[0])
    wanted = factor if 1 < factor <= spec.depth_squeeze else 1.0
    np.testing.assert_allclose(steps_mm[0], wanted * spec.spacing_mm[0], rtol=1e-5)
    # (x, y, z) of the network run towards Left, Posterior, Superior.
    assert (np.diag(affine[:3, 2::-1]) * (-1, -1, 1) > 0).all()


@deterministic
@given(
    shape=st.tuples(*[st.integers(24, 60)] * 3),
    spacing=spacings,
    tilt=tilts,
    # A field of view of one voxel has to stay inside the image instead.
    spec=specs.filter(lambda spec: min(spec.shape_DHW) > 1),
    orientation=orientations,
    place=st.tuples(*[st.floats(0, 1)] * 3),
)
def test_the_crop_is_centred_to_within_half_a_voxel(shape, spacing, tilt, spec, orientation, place):
    geometry = upright(shape, spacing, tilt)
    point_mm = world(geometry, np.array(place) * np.subtract(shape, 1))
    _, stored = stored_as(np.zeros(shape), geometry, *orientation)
    grid_map = GridMap(stored, spec, point_mm)
    middle = (np.array(spec.shape_DHW) - 1) / 2
    found = np.linalg.solve(grid_map.network_affine(), [*point_mm, 1])[:3]
    depth_mm = spec.shape_DHW[0] * np.linalg.norm(grid_map.network_affine()[:3, 0])
    off = np.abs(found - middle)
    assert (off[1:] <= 0.5 + 1e-4).all()
    # A stack that fits into the network's depth is held as a whole, wherever the point is.
    assert off[0] <= 0.5 + 1e-4 or shape[2] * spacing[2] <= depth_mm * (1 + 1e-6)
