from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from cinert.data.nifti import Geometry, read_cine, read_image, read_label, write_mask
from cinert.errors import BadInputError

RAMP = np.arange(60, dtype=np.int16).reshape(3, 4, 5)


def test_image_keeps_stored_axes_and_geometry(save_nifti):
    image, geometry = read_image(save_nifti(RAMP))
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, RAMP)
    assert geometry.shape == (3, 4, 5)
    assert geometry.spacing_mm == (1.5, 1.5, 8.0)


def test_trailing_axes_of_length_one_are_dropped(save_nifti):
    image, _ = read_image(save_nifti(RAMP[..., None]))
    np.testing.assert_array_equal(image, RAMP)


def test_label_is_uint8(save_nifti):
    label, _ = read_label(save_nifti((RAMP % 4).astype(np.float32)))
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, RAMP % 4)


def test_cine_states_its_time_step_in_ms(tmp_path):
    file = nib.Nifti1Image(np.zeros((3, 4, 5, 6), dtype=np.int16), np.eye(4))
    file.header.set_xyzt_units("mm", "sec")
    file.header["pixdim"][4] = 0.04
    nib.save(file, tmp_path / "cine.nii")
    cine = read_cine(tmp_path / "cine.nii")
    assert cine.image.shape == (3, 4, 5, 6)
    assert cine.time_step_ms == pytest.approx(40)


def test_cine_of_unknown_time_unit_states_no_time_step(save_nifti):
    assert read_cine(save_nifti(np.zeros((3, 4, 5, 6), dtype=np.int16))).time_step_ms is None


def _refused(read, path, *words):
    with pytest.raises(BadInputError) as caught:
        read(path)
    text = str(caught.value)
    assert "\n" not in text
    for word in (str(path), *words):
        assert word in text


def test_missing_file(tmp_path):
    _refused(read_image, tmp_path / "none.nii.gz", "no such file")


def test_folder(tmp_path):
    _refused(read_image, tmp_path, "folder")


@pytest.mark.parametrize("name", ["image.nii.gz", "image.nii"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_truncated_file(save_nifti, name, share):
    noise = np.random.default_rng(0).integers(0, 1000, (30, 30, 5), dtype=np.int16)
    path = save_nifti(noise, name)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    _refused(read_image, path)


def test_corrupt_compressed_data(save_nifti):
    path = save_nifti(np.random.default_rng(0).integers(0, 1000, (30, 30, 5), dtype=np.int16))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    path.write_bytes(bytes(data))
    _refused(read_image, path)


@pytest.mark.parametrize("name", ["text.nii", "text.nii.gz", "text.txt"])
def test_not_nifti(tmp_path, name):
    path = tmp_path / name
    path.write_text("this is no image")
    _refused(read_image, path)


def test_another_image_format(tmp_path):
    path = tmp_path / "image.mgz"
    nib.save(nib.MGHImage(np.zeros((3, 4, 5), dtype=np.float32), np.eye(4)), path)
    _refused(read_image, path, "MGHImage")


def test_cine_given_as_image(save_nifti):
    _refused(read_image, save_nifti(np.zeros((3, 4, 5, 6), dtype=np.int16)), "4D", "(3, 4, 5, 6)")


def test_a_single_frame_is_a_cine_of_one_phase(save_nifti):
    for frame in (RAMP, RAMP[..., None]):
        cine = read_cine(save_nifti(frame))
        np.testing.assert_array_equal(cine.image, RAMP[..., None])
        assert cine.time_step_ms is None


def test_a_slice_given_as_cine(save_nifti):
    _refused(read_cine, save_nifti(RAMP[..., 0]), "2D", "(3, 4)")


def test_slice_given_as_image(save_nifti):
    _refused(read_image, save_nifti(RAMP[..., 0]), "2D")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers(save_nifti, value):
    image = RAMP.astype(np.float32)
    image[0, 0, :2] = value
    _refused(read_image, save_nifti(image), "2 voxels")


def test_complex_voxels(save_nifti):
    _refused(read_image, save_nifti(RAMP.astype(np.complex64)), "complex64")


@pytest.mark.parametrize("value", [4, -1, 1.5])
def test_label_outside_the_classes(save_nifti, value):
    label = np.zeros((3, 4, 5), dtype=np.float32)
    label[1, 1, 1] = value
    _refused(read_label, save_nifti(label), f"{value:g}", "1 voxels")


@pytest.mark.parametrize("axes", [3, 4])
def test_mask_round_trip_on_the_header_of_a_cine(save_nifti, tmp_path, axes):
    source = nib.Nifti1Image(np.zeros((3, 4, 5, 2), dtype=np.int16), np.diag([-2.0, -2.0, 8.0, 1.0]))
    source.header.set_xyzt_units("mm", "sec")
    source.header["pixdim"][4] = 0.03
    source.header.set_slope_inter(2, 1)
    mask = np.random.default_rng(0).integers(0, 4, (3, 4, 5, 2)[:axes], dtype=np.uint8)
    write_mask(tmp_path / "mask.nii.gz", mask, like=source.header)
    written = nib.load(tmp_path / "mask.nii.gz")
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(written.dataobj), mask)
    np.testing.assert_allclose(written.affine, source.affine)
    if axes == 4:
        assert read_cine(tmp_path / "mask.nii.gz").time_step_ms == pytest.approx(30)


def test_mask_round_trip_on_a_geometry(tmp_path):
    geometry = Geometry((3, 4, 5), np.diag([-2.0, -2.0, 8.0, 1.0]))
    mask = (RAMP % 4).astype(np.uint8)
    write_mask(tmp_path / "mask.nii", mask, like=geometry)
    label, read = read_label(tmp_path / "mask.nii")
    np.testing.assert_array_equal(label, mask)
    assert read.same_grid(geometry)


def test_mask_with_another_suffix(tmp_path):
    with pytest.raises(BadInputError, match=r"mask\.png"):
        write_mask(tmp_path / "mask.png", RAMP.astype(np.uint8), like=Geometry((3, 4, 5), np.eye(4)))
    assert not list(tmp_path.iterdir())


def test_mask_on_another_grid(tmp_path):
    with pytest.raises(ValueError, match="grid"):
        write_mask(tmp_path / "mask.nii", RAMP.astype(np.uint8), like=Geometry((3, 4, 6), np.eye(4)))


def test_same_grid_notices_a_shift_and_a_rotation():
    here = Geometry((10, 10, 4), np.eye(4))
    moved = np.eye(4)
    moved[0, 3] = 0.5
    turned = np.eye(4)
    turned[0, 1] = 0.05
    assert here.same_grid(Geometry((10, 10, 4), np.eye(4)))
    assert not here.same_grid(Geometry((10, 10, 4), moved))
    assert not here.same_grid(Geometry((10, 10, 4), turned))
    assert not here.same_grid(Geometry((10, 10, 5), np.eye(4)))


def test_real_cine(shared):
    path = shared / "cine4d" / "sax_4d.nii.gz"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    cine = read_cine(path)
    assert cine.image.shape == (256, 256, 20, 20)
    assert cine.geometry.spacing_mm == pytest.approx((0.82, 0.82, 5.0), abs=0.01)
