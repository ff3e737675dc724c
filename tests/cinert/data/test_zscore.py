"""What a network reads does not depend on the unit in which grey values are stored."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from cinert.data.dataset import load_sample
from cinert.data.grid import GridMap, PreprocessingSpec
from cinert.data.localiser import VIEW
from cinert.data.nifti import Geometry, read_cine, read_image
from cinert.data.patients import Frame

SPEC = PreprocessingSpec(spacing_mm=(9.0, 2.0, 2.0), shape_DHW=(6, 24, 20))
AFFINE = np.diag([-1.4, -1.5, 8.0, 1.0])
IMAGE = np.random.default_rng(0).integers(0, 1200, (40, 36, 5)).astype(np.int16)
GRID = GridMap(Geometry(IMAGE.shape, AFFINE), SPEC)
EXPECTED = GRID.to_network(IMAGE)


def close(found):
    np.testing.assert_allclose(found, EXPECTED, atol=2e-5)
    assert found.std() > 0.5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("unit", [1e-36, 1e-20, 1e-9, 1e-6, 1.0, 1e6, 1e15, 1e20, 1e30, 1e35])
def test_floats_in_any_unit(dtype, unit):
    close(GRID.to_network(IMAGE.astype(dtype) * dtype(unit)))


@pytest.mark.parametrize("unit", [1e-300, 1e-60, 1e60, 1e300])
def test_doubles_that_no_float_holds(unit):
    close(GRID.to_network(IMAGE * unit))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.int64, np.uint64, ">i2", ">f4", ">f8"])
def test_every_type_of_number(dtype):
    close(GRID.to_network(IMAGE.astype(dtype)))


@pytest.mark.parametrize("offset", [-1e4, -500.0, 1e3, 1e5])
@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e20])
def test_an_offset_changes_nothing(offset, unit):
    found = GRID.to_network(((IMAGE + offset) * unit).astype(np.float32))
    # As far as float32 resolves grey values that lie so far from 0.
    np.testing.assert_allclose(found, EXPECTED, atol=2e-5 + 1e-9 * abs(offset) * 10)


def test_an_image_is_standardised_over_what_it_fills():
    inside = EXPECTED[EXPECTED != 0]
    assert inside.mean() == pytest.approx(0, abs=1e-5)
    assert inside.std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-9, 0.37, 1.0, 1000.0, -5.0, 3e9, 1e30])
def test_a_constant_image_is_all_zero(dtype, value):
    assert not GRID.to_network(np.full(IMAGE.shape, value, dtype)).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_gives_zeros_and_no_warning(value):
    image = IMAGE.astype(np.float32)
    image[20, 18, 2] = value
    assert not GRID.to_network(image).any()


@pytest.fixture
def stored(write_raw_nifti, tmp_path):
    def write(values, *, slope=np.nan, inter=np.nan):
        return write_raw_nifti(
            tmp_path / "image.nii.gz", values, sform=AFFINE, pixdim=(1.4, 1.5, 8), scl_slope=slope, scl_inter=inter
        )

    return write


@pytest.mark.parametrize(
    ("values", "slope", "inter"),
    [
        (IMAGE.astype(np.float32) * np.float32(1e-9), np.nan, np.nan),
        (IMAGE.astype(np.float32) * np.float32(1e30), np.nan, np.nan),
        (IMAGE * 1e-200, np.nan, np.nan),
        (IMAGE * 1e200, np.nan, np.nan),
        (IMAGE + 1e9, np.nan, np.nan),
        (IMAGE - 1e12, np.nan, np.nan),
        (IMAGE, 1e-12, 0),
        (IMAGE, 1e-35, 0),
        (IMAGE, 1e30, 0),
        (IMAGE, 1e37, 0),
        (IMAGE, 3.0, -4e4),
        (IMAGE, 1.0, 1e9),
        (IMAGE, 1e-9, -1.0),
        ((-IMAGE).astype(np.int16), -1.0, 0),
        ((1000 - IMAGE).astype(np.int16), -1e-9, 1e-6),
        (IMAGE, 0.0, 7),
        (IMAGE, np.nan, 0),
        (IMAGE, np.inf, 0),
    ],
    ids=[
        "tiny", "huge", "tiny doubles", "huge doubles", "offset", "negative offset", "tiny slope", "tinier slope",
        "huge slope", "slope beyond float32", "slope and offset", "large offset", "offset in a tiny unit",
        "negative slope", "negative slope and offset", "slope 0", "slope NaN",
        "slope inf",
    ],
)  # fmt: skip
def test_files_in_any_unit(stored, values, slope, inter):
    path = stored(values, slope=slope, inter=inter)
    image, _ = read_image(path)
    assert image.dtype == np.float32
    np.testing.assert_allclose(GRID.to_network(image), EXPECTED, atol=1e-4)
    np.testing.assert_array_equal(read_cine(path).image[..., 0], image)


@pytest.mark.parametrize(("unit", "slope"), [(1e-9, np.nan), (1e200, np.nan), (1.0, 1e-30)])
def test_one_phase_of_a_file_in_any_unit(stored, unit, slope):
    two = np.stack([IMAGE[::-1] * unit, IMAGE * unit], axis=3)
    path = stored(two if np.isnan(slope) else two.astype(np.int16), slope=slope, inter=0)
    np.testing.assert_allclose(GRID.to_network(read_image(path, volume=1)[0]), EXPECTED, atol=1e-4)


def test_usual_values_are_given_as_they_are(stored):
    np.testing.assert_array_equal(read_image(stored(IMAGE, slope=2.0, inter=-100.0))[0], 2.0 * IMAGE - 100)
    np.testing.assert_array_equal(read_image(stored(np.full((4, 4, 4), 7.5)))[0], 7.5)


def test_training_and_localiser_see_the_same(tmp_path):
    label = np.zeros(IMAGE.shape, np.uint8)
    label[12:24, 10:22, 1:4] = 3
    nib.save(nib.Nifti1Image(label, AFFINE), tmp_path / "label.nii")
    found = []
    for number, unit in enumerate((1.0, 1e-9, 1e30)):
        path = tmp_path / f"image{number}.nii"
        nib.save(nib.Nifti1Image(IMAGE.astype(np.float32) * np.float32(unit), AFFINE), path)
        frame = Frame(patient_id="p", index=1, phase="ED", image_path=path, label_path=tmp_path / "label.nii")
        view = GridMap(Geometry(IMAGE.shape, AFFINE), VIEW).to_network(read_image(path)[0])
        found.append((load_sample(frame, SPEC)[0].x_DHW, view))
    for sample, view in found[1:]:
        np.testing.assert_allclose(sample, found[0][0], atol=2e-5)
        np.testing.assert_allclose(view, found[0][1], atol=2e-5)
    assert found[0][0].any()
    assert found[0][1].any()
