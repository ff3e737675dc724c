"""Where voxels lie and how far apart phases are, whatever a writer filled in of sform, qform, pixdim and units."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cinert.data import remarks
from cinert.data.cine import open_cine
from cinert.data.nifti import read_cine, read_image
from cinert.errors import BadInputError

SPACING = (1.4, 1.25, 9.0)
VOXELS = np.arange(32 * 30 * 5, dtype=np.int16).reshape(32, 30, 5)
UNIT = np.diag([-1.0, -1.0, 1.0, 1.0])


def oblique(*, handed: int = 1, scale: float = 1.0) -> np.ndarray:
    """Oblique in all three planes; `handed` -1 mirrors the slices."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix() * SPACING * scale
    affine[:3, 2] *= handed
    affine[:3, 3] = 12, -34, 56
    return affine


def directions(affine: np.ndarray) -> np.ndarray:
    unit = affine.copy()
    unit[:3, :3] /= np.linalg.norm(affine[:3, :3], axis=0)
    return unit


@pytest.fixture
def affine_of(write_raw_nifti, tmp_path):
    def read(**header):
        return read_image(write_raw_nifti(tmp_path / "image.nii", VOXELS, **{"pixdim": SPACING, **header}))[1].affine

    return read


@pytest.mark.parametrize("handed", [1, -1])
@pytest.mark.parametrize("given", ["sform", "qform", "both"])
def test_a_grid_that_is_stated_once_or_twice_alike(affine_of, capsys, given, handed):
    affine = oblique(handed=handed)
    forms = {"sform": affine, "qform": affine} if given == "both" else {given: affine}
    np.testing.assert_allclose(affine_of(**forms), affine, atol=1e-4)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("handed", [1, -1])
@pytest.mark.parametrize("wrong", [UNIT, oblique(scale=10), oblique(scale=0.1)], ids=["unit", "10x", "a tenth"])
def test_the_qform_is_taken_where_the_sform_is_of_another_scale_than_pixdim(affine_of, capsys, wrong, handed):
    affine = oblique(handed=handed)
    np.testing.assert_allclose(affine_of(sform=wrong, qform=affine), affine, atol=1e-4)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "image.nii" in said
    assert "1.4 x 1.25 x 9 mm in pixdim" in said
    assert "its qform is taken" in said


@pytest.mark.parametrize("scale", ["unit", "10x"])
@pytest.mark.parametrize("handed", [1, -1])
def test_without_a_qform_the_sform_keeps_its_directions_and_takes_pixdims_lengths(affine_of, capsys, scale, handed):
    affine = oblique(handed=handed)
    wrong = directions(affine) if scale == "unit" else oblique(handed=handed, scale=10)
    # A qform that is there and not coded says nothing.
    found = affine_of(sform=wrong, qform=np.diag([*SPACING, 1.0]), codes=(1, 0))
    np.testing.assert_allclose(found, affine, atol=1e-4)
    assert "the directions of its sform and the lengths of pixdim are taken" in capsys.readouterr().err


def test_acdc_as_it_is_downloaded_has_voxels_of_the_right_volume(affine_of):
    affine = affine_of(sform=UNIT, qform=np.diag([-1.4, -1.4, 9.0, 1.0]), pixdim=(1.4, 1.4, 9.0))
    assert abs(np.linalg.det(affine[:3, :3])) / 1000 == pytest.approx(0.01764, rel=1e-6)


def test_neither_form_is_coded(affine_of):
    found = affine_of(qform=oblique(), codes=(0, 0))
    np.testing.assert_allclose(np.abs(found[:3, :3]), np.diag(SPACING), atol=1e-6)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"sform": np.zeros((4, 4)), "qform": oblique()}, oblique()),
        ({"sform": np.full((4, 4), np.nan), "qform": oblique()}, oblique()),
        ({"sform": oblique(), "quatern_b": 1, "quatern_c": 1, "quatern_d": 1, "qform_code": 1}, oblique()),
        ({"sform": oblique(), "pixdim": (0, 0, 0)}, oblique()),
        ({"sform": oblique(), "pixdim": (1.4, np.nan, 9)}, oblique()),
        ({"qform": oblique(), "pixdim": (-1.4, 1.25, 9)}, oblique()),
    ],
    ids=["empty sform", "sform of NaN", "impossible quaternion", "no pixdim", "pixdim of NaN", "negative pixdim"],
)
def test_what_is_no_grid_gives_way_to_what_is_one(affine_of, header, expected):
    np.testing.assert_allclose(affine_of(**header), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"sform": oblique(), "pixdim": (1, 1, 1)}, "1 x 1 x 1 mm in pixdim, but 1.4 x 1.25 x 9 mm in its sform"),
        ({"sform": np.zeros((4, 4))}, "an affine that no voxel grid can have"),
        ({"qform": oblique(), "pixdim": (1.4, 1.25, 0)}, "an affine that no voxel grid can have"),
        ({"pixdim": (1.4, 0, 9)}, "an affine that no voxel grid can have"),
        ({"quatern_b": 1, "quatern_c": 1, "quatern_d": 1, "qform_code": 1}, "cannot read the image"),
        ({"sform": oblique(), "units": "meter"}, "voxels of 1400 x 1250 x 9000 mm"),
        ({"sform": oblique(scale=1e-3), "pixdim": (0.0014, 0.00125, 0.009)}, "voxels of 0.0014 x 0.00125 x 0.009 mm"),
        ({"sform": oblique(), "vox_offset": 0}, "its voxels begin at byte 0, within its header"),
        ({"sform": np.diag([1.4, 1.25, 200, 1]), "pixdim": (1.4, 1.25, 200)}, "voxels of 1.4 x 1.25 x 200 mm"),
    ],
    ids=[
        "unset pixdim",
        "empty sform",
        "no thickness",
        "no height",
        "no rotation",
        "mm called m",
        "m called mm",
        "no offset",
        "2 m",
    ],
)
def test_what_nobody_can_be_sure_of_is_refused_in_one_line(affine_of, capsys, header, words):
    with pytest.raises(BadInputError) as caught:
        affine_of(**header)
    assert words in str(caught.value)
    assert "image.nii" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("form", ["sform", "qform"])
@pytest.mark.parametrize(("units", "per_mm"), [("meter", 1e-3), ("micron", 1e3), ("mm", 1.0), ("unknown", 1.0)])
def test_units_of_space(affine_of, form, units, per_mm):
    affine = oblique()
    affine[:3] *= per_mm
    found = affine_of(**{form: affine}, units=units, pixdim=np.multiply(SPACING, per_mm))
    np.testing.assert_allclose(found, oblique(), rtol=1e-5, atol=1e-4)


def test_units_that_the_standard_does_not_have(affine_of):
    np.testing.assert_allclose(affine_of(sform=oblique(), xyzt_units=5 + 56), oblique(), atol=1e-4)


def test_said_once_for_each_folder(write_raw_nifti, tmp_path, capsys):
    paths = [
        write_raw_nifti(tmp_path / name, VOXELS, sform=UNIT, qform=oblique(), pixdim=SPACING)
        for name in ("a/1.nii", "a/2.nii", "b/3.nii")
    ]
    for path in paths:
        read_image(path)
    assert capsys.readouterr().err.count("\n") == 2
    remarks.begin()
    remarks.data_folder(tmp_path)
    for path in paths:
        read_image(path)
    assert capsys.readouterr().err.count("\n") == 1
    remarks.begin(silent=True)
    read_image(paths[0])
    assert capsys.readouterr().err == ""
    remarks.begin()


CINE = np.random.default_rng(0).integers(0, 900, (32, 30, 5, 6)).astype(np.int16)


@pytest.fixture
def cine_of(write_raw_nifti, tmp_path):
    def read(data=CINE, **header):
        path = write_raw_nifti(tmp_path / "cine.nii", data, **{"sform": oblique(), "pixdim": SPACING, **header})
        return open_cine(path)

    return read


@pytest.mark.parametrize("shape", [(32, 30, 5, 6, 1), (32, 30, 5, 1, 6), (32, 30, 5, 1, 1, 6), (32, 30, 5, 1, 6, 1)])
def test_axes_of_length_one_are_dropped_wherever_they_are(cine_of, shape):
    step = [1.0] * (len(shape) - 3)
    step[shape.index(6) - 3] = 0.04
    # ITK writes time as components of a vector.
    for intent in (0, 1007):
        cine = cine_of(CINE.reshape(shape, order="F"), pixdim=(*SPACING, *step), intent_code=intent)
        np.testing.assert_array_equal(cine.image, CINE)
        assert cine.time_step_ms == pytest.approx(40)


@pytest.mark.parametrize(
    ("shape", "intent"),
    [((32, 30, 5, 2, 3), 0), ((32, 30, 5, 1, 6), 2003), ((32, 30, 5, 1, 6), 1006)],
    ids=["two more axes", "colour", "displacements"],
)
def test_a_fifth_axis_that_is_no_time(cine_of, shape, intent):
    with pytest.raises(BadInputError, match=r"cine\.nii is 5D, of shape .*not all of it is space and time"):
        cine_of(CINE.reshape(shape, order="F"), intent_code=intent)


@pytest.mark.parametrize(
    ("first", "affine"),
    [
        (0, np.diag([1.4, 1.4, 9.0, 1.0])),
        (0, np.diag([0.04, 1.4, 1.4, 1.0])),
        (0, np.diag([1.0, 1.4, 1.4, 1.0])),
        (1, np.diag([1.4, 1.4, 9.0, 1.0])),
    ],
    ids=["spacing of the stack", "in seconds", "pixdim 1", "second"],
)
def test_time_among_the_axes_of_space(cine_of, first, affine):
    image = np.moveaxis(np.zeros((128, 120, 8, 20), np.int16), 3, first)
    with pytest.raises(BadInputError, match=r"cine\.nii has .*axes in another order"):
        cine_of(image, sform=affine, pixdim=affine.diagonal()[:3])


def test_slices_first_is_no_time(cine_of):
    image = np.zeros((8, 128, 120, 20), np.int16)
    assert cine_of(image, sform=np.diag([9.0, 1.4, 1.4, 1.0]), pixdim=(9, 1.4, 1.4)).geometry.shape == (8, 128, 120)


@pytest.mark.parametrize(("unit", "stored"), [("sec", 0.06), ("msec", 60.0), ("usec", 60_000.0)])
def test_a_time_step_in_any_unit(write_raw_nifti, tmp_path, capsys, unit, stored):
    path = _with_step(write_raw_nifti, tmp_path, unit, stored)
    assert read_cine(path).time_step_ms == pytest.approx(60)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("unit", "stored", "words"),
    [("msec", 0.06, "0.06 ms"), ("usec", 0.06, "6e-05 ms"), ("sec", 900.0, "900000 ms"), ("sec", 1.0, "1000 ms")],
)
def test_a_time_step_that_no_cine_has_is_unknown_and_said(write_raw_nifti, tmp_path, capsys, unit, stored, words):
    path = _with_step(write_raw_nifti, tmp_path, unit, stored)
    assert open_cine(path).time_step_ms is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{words} apart" in said
    assert "taken as unknown" in said


@pytest.mark.parametrize(("unit", "stored"), [("hz", 40.0), ("unknown", 40.0), ("sec", 0.0), ("sec", np.nan)])
def test_a_time_step_that_is_none(write_raw_nifti, tmp_path, capsys, unit, stored):
    assert read_cine(_with_step(write_raw_nifti, tmp_path, unit, stored)).time_step_ms is None
    assert capsys.readouterr().err == ""


def _with_step(write, folder, unit, stored):
    units = int(nib.nifti1.unit_codes["mm"]) + int(nib.nifti1.unit_codes[unit])
    pixdim = (*SPACING, stored)
    return write(folder / "cine.nii", CINE, sform=oblique(), pixdim=pixdim, xyzt_units=units)


def test_a_dicom_series_with_a_time_step_that_no_cine_has(write_dicom, tmp_path, capsys):
    write_dicom(tmp_path / "dicom", CINE[:, :, :2, :3], np.diag([1.4, 1.4, 9.0, 1.0]), step_ms=324_000)
    assert open_cine(tmp_path / "dicom").time_step_ms is None
    assert "324000 ms apart" in capsys.readouterr().err
