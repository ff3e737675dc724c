from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinert.data.grid import GridMap, PreprocessingSpec
from cinert.data.layouts import read_patients
from cinert.data.nifti import Geometry
from cinert.data.orientation import orientation_of
from cinert.data.patients import load_frame
from cinert.data.resample import interpolation_matrix
from cinert.errors import BadInputError

deterministic = settings(derandomize=True, deadline=None, database=None, max_examples=60)
ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]
LPS = np.diag([-1.0, -1.0, 1.0])


def _stored(canonical, spacing, order, signs):
    """Store an (x, y, z) LPS volume in another axis order and direction; give the array and its geometry."""
    affine = np.eye(4)
    affine[:3, :3] = LPS * spacing
    affine[:3, 3] = (11.0, -7.0, 3.0)
    to_canonical = np.zeros((4, 4))
    to_canonical[3, 3] = 1
    for axis, source in enumerate(order):
        to_canonical[source, axis] = signs[axis]
        to_canonical[source, 3] = 0 if signs[axis] > 0 else canonical.shape[source] - 1
    array = canonical.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    return array, Geometry(array.shape, affine @ to_canonical)


specs = st.builds(
    PreprocessingSpec,
    spacing_mm=st.tuples(st.floats(3, 12), st.floats(0.8, 4), st.floats(0.8, 4)),
    shape_DHW=st.tuples(st.integers(1, 9), st.integers(1, 24), st.integers(1, 24)),
)
grids = st.tuples(
    st.tuples(st.integers(1, 31), st.integers(1, 31), st.integers(1, 11)),
    st.tuples(st.floats(0.7, 2.0), st.floats(0.7, 2.0), st.floats(5, 10)),
)


@deterministic
@given(spec=specs, grid=grids, orientation=st.sampled_from(ORIENTATIONS))
def test_shapes_are_exact_and_values_finite(spec, grid, orientation):
    shape, spacing = grid
    image, geometry = _stored(np.random.default_rng(0).random(shape), spacing, *orientation)
    grid_map = GridMap(geometry, spec)
    label = (image * 4).astype(np.uint8)
    x_DHW, y_DHW = grid_map.to_network(image), grid_map.label_to_network(label)
    assert x_DHW.shape == y_DHW.shape == spec.shape_DHW
    assert np.isfinite(x_DHW).all()
    logits = np.stack([y_DHW == label for label in range(4)]).astype(np.float32)
    assert grid_map.logits_to_stored(logits).shape == geometry.shape
    assert grid_map.mask_to_stored(y_DHW).shape == geometry.shape
    assert 0 <= grid_map.kept_share(label) <= 1


@deterministic
@given(spec=specs, grid=grids, orientation=st.sampled_from(ORIENTATIONS))
def test_coordinates_are_exact_forwards(spec, grid, orientation):
    """A ramp of world coordinates keeps each voxel's true place, wherever the filter lies inside the image."""
    shape, spacing = grid
    array, geometry = _stored(np.zeros(shape), spacing, *orientation)
    grid_map = GridMap(geometry, spec)
    index = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"), axis=-1)
    world = index @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
    affine = grid_map.network_affine()
    network = np.stack(np.meshgrid(*map(np.arange, spec.shape_DHW), indexing="ij"), axis=-1)
    expected = network @ affine[:3, :3].T + affine[:3, 3]
    # Where the filter reaches beyond the border, the signal is held constant and a ramp bends.
    position = (expected - geometry.affine[:3, 3]) @ np.linalg.inv(geometry.affine[:3, :3]).T
    network_mm = np.linalg.norm(affine[:3, :3], axis=0)[np.argsort(orientation_of(geometry).stored_axis)]
    reach = np.maximum(1, network_mm / geometry.spacing_mm)
    inside = ((position >= reach - 1) & (position <= np.array(array.shape) - reach)).all(axis=-1)
    for axis in range(3):
        values = np.full(spec.shape_DHW, np.nan)
        values[grid_map._filled] = grid_map._resampled(world[..., axis])
        np.testing.assert_allclose(values[inside], expected[..., axis][inside], atol=2e-3)


@deterministic
@given(spec=specs, grid=grids, orientation=st.sampled_from(ORIENTATIONS), height=st.floats(-0.9, 0.9))
def test_coordinates_are_exact_backwards(spec, grid, orientation, height):
    """Logits that cross at a plane in the world put the stored mask's edge at that plane."""
    shape, spacing = grid
    array, geometry = _stored(np.zeros(shape), spacing, *orientation)
    grid_map = GridMap(geometry, spec)
    affine = grid_map.network_affine()
    network = np.stack(np.meshgrid(*map(np.arange, spec.shape_DHW), indexing="ij"), axis=-1)
    network_world = network @ affine[:3, :3].T + affine[:3, 3]
    index = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"), axis=-1)
    world = index @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
    position = (world - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    within = ((position >= 0) & (position <= np.array(spec.shape_DHW) - 1)).all(axis=-1)
    normal = np.array([0.3, -0.8, 0.5])
    level = network_world.reshape(-1, 3).mean(axis=0) @ normal + 5 * height
    logits = np.zeros((4, *spec.shape_DHW), dtype=np.float32)
    logits[3] = network_world @ normal - level
    mask = grid_map.logits_to_stored(logits)
    distance = world @ normal - level
    certain = within & (np.abs(distance) > 1e-3)
    np.testing.assert_array_equal(mask[certain], np.where(distance > 0, 3, 0)[certain])


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_another_storage_gives_the_same_network_input_and_world_mask(order, signs):
    rng = np.random.default_rng(1)
    spacing = (1.3, 1.45, 7.0)
    canonical = rng.random((27, 22, 7)).astype(np.float32)
    spec = PreprocessingSpec(spacing_mm=(5.0, 1.6, 1.5), shape_DHW=(8, 18, 20))
    reference, reference_geometry = _stored(canonical, spacing, (0, 1, 2), (1, 1, 1))
    image, geometry = _stored(canonical, spacing, order, signs)
    expected, found = GridMap(reference_geometry, spec), GridMap(geometry, spec)
    np.testing.assert_allclose(found.to_network(image), expected.to_network(reference), atol=2e-5)
    np.testing.assert_allclose(found.network_affine(), expected.network_affine(), atol=1e-9)
    logits = rng.random((4, *spec.shape_DHW)).astype(np.float32)
    for mask, reference_mask in (
        (found.logits_to_stored(logits), expected.logits_to_stored(logits)),
        (found.mask_to_stored(logits.argmax(0)), expected.mask_to_stored(logits.argmax(0))),
    ):
        same, _ = _stored(reference_mask, spacing, order, signs)
        assert np.mean(mask != same) < 1e-3  # a tie may fall either way


@deterministic
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 8)),
    spare=st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)),
    orientation=st.sampled_from(ORIENTATIONS),
)
def test_own_spacing_round_trips_exactly(shape, spare, orientation):
    spacing = (1.5, 1.5, 8.0)
    canonical = np.random.default_rng(2).integers(0, 4, shape, dtype=np.uint8)
    label, geometry = _stored(canonical, spacing, *orientation)
    spec = PreprocessingSpec(
        spacing_mm=spacing[::-1], shape_DHW=tuple(n + more for n, more in zip(shape[::-1], spare, strict=True))
    )
    grid_map = GridMap(geometry, spec)
    y_DHW = grid_map.label_to_network(label)
    assert np.count_nonzero(y_DHW) == np.count_nonzero(label)
    logits = np.stack([y_DHW == value for value in range(4)]).astype(np.float32)
    np.testing.assert_array_equal(grid_map.logits_to_stored(logits), label)
    np.testing.assert_array_equal(grid_map.mask_to_stored(y_DHW), label)
    assert grid_map.kept_share(label) == 1


@deterministic
@given(seed=st.integers(0, 1000), foreground=st.floats(0, 0.05))
def test_working_only_around_the_foreground_changes_nothing(seed, foreground):
    rng = np.random.default_rng(seed)
    geometry = Geometry((31, 26, 9), np.diag([-1.2, -1.3, 9.0, 1.0]))
    spec = PreprocessingSpec(spacing_mm=(5.0, 1.6, 1.5), shape_DHW=(14, 18, 20))
    logits = rng.random((4, *spec.shape_DHW)).astype(np.float32)
    logits[0] += 1
    logits[2] += 2 * (rng.random(spec.shape_DHW) < foreground)
    grid_map = GridMap(geometry, spec)
    z, y, x = (axis.backward for axis in grid_map._axes)
    whole = np.einsum("zd,yh,xw,cdhw->czyx", z, y, x, logits, optimize=True).argmax(0)
    expected = np.zeros(geometry.shape[::-1])
    expected[grid_map._seen] = whole
    np.testing.assert_array_equal(grid_map.logits_to_stored(logits), expected.transpose(2, 1, 0))


def test_z_score_over_the_image_and_zero_in_the_padding():
    image = np.random.default_rng(0).random((10, 12, 4)) * 50 + 200
    spec = PreprocessingSpec(spacing_mm=(8.0, 1.5, 1.5), shape_DHW=(6, 20, 14))
    x_DHW = GridMap(Geometry(image.shape, np.diag([-1.5, -1.5, 8, 1])), spec).to_network(image)
    inner = x_DHW[1:5, 4:16, 2:12]
    assert inner.mean() == pytest.approx(0, abs=1e-5)
    assert inner.std() == pytest.approx(1, abs=1e-5)
    assert np.count_nonzero(x_DHW) == inner.size


@pytest.mark.parametrize("value", [0.0, 0.1, 1234.567, 3e7])
def test_a_constant_image_gives_zeros(value):
    grid_map = GridMap(Geometry((40, 50, 5), np.diag([-1.3, -1.3, 9, 1])), PreprocessingSpec())
    assert not grid_map.to_network(np.full((40, 50, 5), value, dtype=np.float32)).any()


def test_kept_share_counts_what_the_crop_leaves_out():
    label = np.zeros((20, 20, 3), dtype=np.uint8)
    label[9:11, 9:11, 1] = 3
    label[0, 0, 1] = 1
    spec = PreprocessingSpec(spacing_mm=(8.0, 1.5, 1.5), shape_DHW=(3, 8, 8))
    grid_map = GridMap(Geometry(label.shape, np.diag([-1.5, -1.5, 8, 1])), spec)
    assert grid_map.kept_share(label) == 0.8
    assert grid_map.kept_share(np.zeros_like(label)) == 1


@pytest.mark.parametrize("cut", [(0, 0, 1), (1, 0, 0)])
def test_arrays_of_another_shape_are_refused(cut):
    grid_map = GridMap(Geometry((20, 20, 3), np.eye(4)), PreprocessingSpec())
    image = np.zeros(np.array((20, 20, 3)) + cut, dtype=np.uint8)
    for method in (grid_map.to_network, grid_map.label_to_network, grid_map.kept_share):
        with pytest.raises(ValueError, match="grid"):
            method(image)
    with pytest.raises(ValueError, match="grid"):
        grid_map.logits_to_stored(np.zeros((4, 20, 128, 111)))
    with pytest.raises(ValueError, match="grid"):
        grid_map.mask_to_stored(np.zeros((20, 128, 111), dtype=np.uint8))


@pytest.mark.parametrize("ratio", [1.0, 1.3, 2.0, 3.7])
def test_filter_matches_the_triangle_of_pillow(ratio):
    """Pillow's weights away from the border, up to the correction that keeps ramps straight."""
    index = np.arange(10, 20) * 1.07
    matrix = interpolation_matrix(index, 40, support=ratio)
    triangle = np.clip(1 - np.abs(np.arange(40) - index[:, None]) / ratio, 0, None)
    triangle /= triangle.sum(axis=1, keepdims=True)
    assert np.abs(matrix - triangle).max() < 0.1
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(matrix @ np.arange(40), index, atol=1e-4)


def _axes(*columns, spacing=(1.0, 1.0, 5.0)):
    affine = np.eye(4)
    affine[:3, :3] = np.array(columns, dtype=float).T * spacing
    return orientation_of(Geometry((8, 8, 8), affine))


R, A, S = np.eye(3)


@pytest.mark.parametrize(
    ("columns", "flipped"),
    [
        pytest.param((-R, -A, S), (False, False, False), id="transverse"),
        pytest.param((-R, -S, -A), (False, False, False), id="coronal"),
        pytest.param((-A, -S, R), (False, False, False), id="sagittal"),
        pytest.param((R, A, -S), (True, True, True), id="transverse, stored the other way round"),
    ],
)
def test_radiological_directions(columns, flipped):
    orientation = _axes(*columns)
    assert orientation.stored_axis == (2, 1, 0)
    assert orientation.flipped == flipped


def test_slices_are_the_last_axis_where_spacing_does_not_tell():
    assert _axes(-R, -A, S, spacing=(1.5, 1.6, 1.7)).stored_axis[0] == 2
    assert _axes(-R, -A, S, spacing=(1.7, 1.6, 1.5)).stored_axis[0] == 2
    assert _axes(S, -A, -R, spacing=(5.0, 1.5, 1.5)).stored_axis == (0, 1, 2)


def test_spec_round_trip():
    spec = PreprocessingSpec(spacing_mm=(10.0, 3.125, 3.125), shape_DHW=(10, 64, 56))
    assert PreprocessingSpec.from_dict(spec.to_dict(), "preprocessing.json") == spec


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"crop": 3}, "crop"),
        ({"spacing_mm": None}, "spacing_mm"),
        ({"spacing_mm": [5, 0, 1]}, "[5, 0, 1]"),
        ({"spacing_mm": [5, float("nan"), 1]}, "nan"),
        ({"shape_DHW": [20, 128]}, "[20, 128]"),
        ({"shape_DHW": [20, 128, 11.5]}, "11.5"),
        ({"shape_DHW": [20, 128, True]}, "True"),
        ({"shape_DHW": "big"}, "big"),
        ({"depth_squeeze": 0.9}, "0.9"),
        ({"depth_squeeze": "more"}, "more"),
    ],
)
def test_spec_with_a_wrong_key_or_value(change, word):
    mapping = PreprocessingSpec().to_dict() | change
    with pytest.raises(BadInputError) as caught:
        PreprocessingSpec.from_dict(mapping, "preprocessing.json")
    assert word in str(caught.value)
    assert "preprocessing.json" in str(caught.value)


def test_spec_that_lacks_a_key():
    with pytest.raises(BadInputError, match="shape_DHW"):
        PreprocessingSpec.from_dict({"spacing_mm": [5, 1, 1]}, "preprocessing.json")


@deterministic
@given(
    spec=specs,
    grid=grids,
    orientation=st.sampled_from(ORIENTATIONS),
    place=st.tuples(*[st.floats(-0.2, 1.2)] * 3),
)
def test_the_crop_is_centred_on_the_point_or_on_the_nearest_inside(spec, grid, orientation, place):
    shape, spacing = grid
    array, geometry = _stored(np.zeros(shape), spacing, *orientation)
    wanted = np.array(place) * (np.array(array.shape) - 1)
    grid_map = GridMap(geometry, spec, geometry.affine[:3, :3] @ wanted + geometry.affine[:3, 3])
    affine = grid_map.network_affine()
    middle = affine[:3, :3] @ ((np.array(spec.shape_DHW) - 1) / 2) + affine[:3, 3]
    found = np.linalg.solve(geometry.affine[:3, :3], middle - geometry.affine[:3, 3])
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    nearest = np.clip(wanted, 0, np.array(array.shape) - 1)
    off_mm = np.abs(found - nearest) * geometry.spacing_mm
    for number, axis in enumerate(orientation_of(geometry).stored_axis):
        if number == 0 and array.shape[axis] * geometry.spacing_mm[axis] <= spec.shape_DHW[0] * steps[0] * (1 + 1e-6):
            continue  # the stack fits: its crop is that of the image
        # Half a voxel for whole-voxel shifts, half for the parity of image and grid.
        assert off_mm[axis] <= steps[number] * 1.01


@pytest.mark.parametrize(("slices", "kept", "step_mm"), [(10, 1.0, 10.0), (11, 1.0, 11.0), (12, 1.0, 12.0)])
def test_a_stack_a_little_taller_than_the_grid_is_squeezed_into_it(slices, kept, step_mm):
    spec = PreprocessingSpec(spacing_mm=(10.0, 3.0, 3.0), shape_DHW=(10, 16, 16))
    geometry = Geometry((20, 20, slices), np.diag([-1.5, -1.5, 10.0, 1.0]))
    grid_map = GridMap(geometry, spec, np.array([-14.25, -14.25, 1000.0]))
    assert grid_map.kept_share(np.ones(geometry.shape, np.uint8)) == kept
    assert np.linalg.norm(grid_map.network_affine()[:3, 0]) == pytest.approx(step_mm)


def test_a_much_taller_stack_is_cropped_about_the_point():
    spec = PreprocessingSpec(spacing_mm=(10.0, 3.0, 3.0), shape_DHW=(10, 16, 16))
    geometry = Geometry((16, 16, 16), np.diag([-3.0, -3.0, 10.0, 1.0]))
    label = np.zeros(geometry.shape, np.uint8)
    label[:, :, 6:15] = 1
    assert GridMap(geometry, spec).kept_share(label) < 1
    assert GridMap(geometry, spec, np.array([-22.5, -22.5, 100.0])).kept_share(label) == 1


def test_real_labels_survive_the_round_trip(shared):
    dice = []
    for patient in read_patients(shared / "acdc")[:5]:
        _, label, geometry = load_frame(patient.frames[0])
        grid_map = GridMap(geometry, PreprocessingSpec())
        y_DHW = grid_map.label_to_network(label)
        back = grid_map.logits_to_stored(np.stack([y_DHW == value for value in range(4)]).astype(np.float32))
        dice.append(
            [2 * ((back == c) & (label == c)).sum() / ((back == c).sum() + (label == c).sum()) for c in (1, 2, 3)]
        )
    assert np.mean(dice, axis=0).min() > 0.95
