"""A DICOM cine is read with its geometry, whatever the order of its files; a series that is no stack is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEGLosslessSV1
from scipy.spatial.transform import Rotation

from cinert.data.cine import open_cine
from cinert.data.dicom import read_dicom_cine
from cinert.data.nifti import read_cine, write_mask
from cinert.errors import BadInputError

SHAPE = (5, 4, 3, 6)
IMAGE = np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.int16)
AFFINE = np.diag([-1.5, -1.25, 8.0, 1.0])
AFFINE[:3, 3] = 20, 30, -40
_folders = itertools.count()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "dicom"


@settings(
    max_examples=15, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    turn=st.tuples(*[st.floats(-180, 180)] * 3),
    origin=st.tuples(*[st.floats(-200, 200)] * 3),
    order=st.permutations(range(SHAPE[2] * SHAPE[3])),
)
def test_voxels_lie_where_they_lay(write_dicom, tmp_path, turn, origin, order):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * [1.5, 1.25, 8.0]
    affine[:3, 3] = origin
    folder = tmp_path / f"turned{next(_folders)}"
    write_dicom(folder, IMAGE, affine, order=order)

    cine = read_dicom_cine(folder)

    # A proper rotation in NIfTI's world stays one in DICOM's: the slices are read in the order of writing.
    np.testing.assert_array_equal(cine.image, IMAGE)
    np.testing.assert_allclose(cine.geometry.affine, affine, atol=1e-4)
    np.testing.assert_allclose(cine.header.get_best_affine(), cine.geometry.affine)


def test_slices_stored_against_the_normal(write_dicom, folder):
    mirrored = AFFINE @ np.diag([1, 1, -1, 1])
    write_dicom(folder, IMAGE, mirrored)

    cine = read_dicom_cine(folder)

    np.testing.assert_array_equal(cine.image, IMAGE[:, :, ::-1])
    corner = cine.geometry.affine @ [0, 0, 0, 1]
    np.testing.assert_allclose(corner, mirrored @ [0, 0, SHAPE[2] - 1, 1], atol=1e-4)


def test_time_step_from_the_trigger_times(write_dicom, folder):
    write_dicom(folder, IMAGE, AFFINE, step_ms=31.5)
    assert read_dicom_cine(folder).time_step_ms == pytest.approx(31.5)


def test_time_step_from_the_beat(write_dicom, folder):
    def change(dataset, k, t):
        del dataset.TriggerTime
        dataset.NominalInterval = 600

    write_dicom(folder, IMAGE, AFFINE, change=change, order=list(range(18))[::-1])
    cine = read_dicom_cine(folder)
    assert cine.time_step_ms == pytest.approx(100)
    np.testing.assert_array_equal(cine.image, IMAGE)


def test_temporal_position_goes_before_the_instance_number(write_dicom, folder):
    def change(dataset, k, t):
        dataset.TriggerTime = 0
        dataset.TemporalPositionIdentifier = SHAPE[3] - t

    write_dicom(folder, IMAGE, AFFINE, change=change)
    cine = read_dicom_cine(folder)
    np.testing.assert_array_equal(cine.image, IMAGE[..., ::-1])
    assert cine.time_step_ms is None


def test_grey_values_are_rescaled_image_by_image(write_dicom, folder):
    def change(dataset, k, t):
        dataset.RescaleSlope, dataset.RescaleIntercept = 2 + k, -7

    write_dicom(folder, IMAGE, AFFINE, change=change)
    expected = IMAGE * (2.0 + np.arange(SHAPE[2]))[:, None] - 7
    np.testing.assert_allclose(read_dicom_cine(folder).image, expected)


def test_one_slice_takes_its_thickness(write_dicom, folder):
    write_dicom(folder, IMAGE[:, :, :1], AFFINE)
    cine = read_dicom_cine(folder)
    assert cine.image.shape == (5, 4, 1, 6)
    assert cine.geometry.spacing_mm == pytest.approx((1.5, 1.25, 8))


def test_other_files_and_folders_below(write_dicom, folder):
    write_dicom(folder / "a" / "b", IMAGE, AFFINE)
    (folder / "README.txt").write_text("exported on a Monday")
    assert read_dicom_cine(folder).image.shape == SHAPE


def test_the_mask_has_the_series_geometry(write_dicom, folder, tmp_path):
    write_dicom(folder, IMAGE, AFFINE)
    cine = open_cine(folder)
    write_mask(tmp_path / "mask.nii.gz", (IMAGE % 4).astype(np.uint8), like=cine.header)
    mask = read_cine(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(mask.image, IMAGE % 4)
    np.testing.assert_array_equal(mask.geometry.affine, cine.geometry.affine)
    assert mask.time_step_ms == pytest.approx(40)


class TestSeveralSeries:
    def test_are_listed(self, write_dicom, folder):
        one = write_dicom(folder / "a", IMAGE, AFFINE, number=5)
        two = write_dicom(folder / "b", IMAGE[:, :, :2], AFFINE, number=6)
        _refused(
            folder, "2 series", f"5 'cine' of 18 images, UID {one}", f"6 'cine' of 12 images, UID {two}", "--series"
        )

    def test_one_is_chosen_by_number_or_uid(self, write_dicom, folder):
        write_dicom(folder / "a", IMAGE, AFFINE, number=5)
        uid = write_dicom(folder / "b", IMAGE[:, :, :2], AFFINE, number=6)
        for name in ("6", uid):
            np.testing.assert_array_equal(read_dicom_cine(folder, [name]).image, IMAGE[:, :, :2])

    def test_a_series_per_slice_is_joined(self, write_dicom, folder):
        for k in range(SHAPE[2]):
            moved = AFFINE.copy()
            moved[:3, 3] = (AFFINE @ [0, 0, k, 1])[:3]
            write_dicom(folder / str(k), IMAGE[:, :, k : k + 1], moved, number=10 + k)
        cine = read_dicom_cine(folder, ["10", "11", "12"])
        np.testing.assert_array_equal(cine.image, IMAGE)
        np.testing.assert_allclose(cine.geometry.affine, AFFINE, atol=1e-4)

    def test_an_unknown_one(self, write_dicom, folder):
        write_dicom(folder, IMAGE, AFFINE)
        _refused(folder, "no series 9", "5 'cine'", series=["9"])

    def test_a_number_that_is_there_twice(self, write_dicom, folder):
        write_dicom(folder / "a", IMAGE, AFFINE)
        write_dicom(folder / "b", IMAGE, AFFINE)
        _refused(folder, "2 series with the number 5", series=["5"])


def _refused(folder, *words, series=()):
    with pytest.raises(BadInputError) as caught:
        open_cine(folder, series)
    text = str(caught.value)
    assert "\n" not in text
    for word in (str(folder), *words):
        assert word in text, text


def _only(condition, **values):
    """Changes the images of one slice and phase."""

    def change(dataset, k, t):
        if (k, t) == condition:
            for name, value in values.items():
                setattr(dataset, name, value)

    return change


class TestBadSeries:
    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"PixelSpacing": [2, 2]}, ("pixel spacings", "1.25 x 1.5", "2 x 2", "I0007.dcm")),
            ({"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]}, ("orientations", "I0007.dcm")),
            ({"ImagePositionPatient": [-25, -30, -32]}, ("shifted", "I0007.dcm", "5.0 mm")),
            ({"Rows": 2}, ("sizes", "4 x 5", "2 x 5")),
            ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, ("perpendicular", "I0007.dcm")),
            ({"ImagePositionPatient": None}, ("no ImagePositionPatient", "I0007.dcm")),
            ({"PixelSpacing": [0, 1]}, ("0 x 1 mm", "I0007.dcm")),
            ({"NumberOfFrames": 20}, ("multi-frame", "I0007.dcm", "dcm2niix")),
        ],
    )
    def test_one_image_differs(self, write_dicom, folder, values, words):
        write_dicom(folder, IMAGE, AFFINE, change=_only((1, 1), **values))
        _refused(folder, *words)

    def test_a_missing_phase(self, write_dicom, folder):
        write_dicom(folder, IMAGE, AFFINE, change=lambda dataset, k, t: (k, t) != (1, 3))
        _refused(folder, "2 of 3 have 6", "slice 2 has 5")

    def test_a_duplicate(self, write_dicom, folder):
        write_dicom(folder, IMAGE, AFFINE)
        (folder / "copy.dcm").write_bytes((folder / "I0009.dcm").read_bytes())
        _refused(folder, "slice 2 of 3", "TriggerTime 130 twice", "I0009.dcm", "copy.dcm")

    def test_a_gap(self, write_dicom, folder):
        four = np.concatenate([IMAGE, IMAGE[:, :, :1]], axis=2)
        write_dicom(folder, four, AFFINE, change=lambda dataset, k, t: k != 2)
        _refused(folder, "not evenly spaced", "16 mm", "8 mm")

    def test_one_phase(self, write_dicom, folder):
        write_dicom(folder, IMAGE[..., :1], AFFINE)
        _refused(folder, "one phase only")

    def test_no_phases_named(self, write_dicom, folder):
        def change(dataset, k, t):
            del dataset.TriggerTime, dataset.InstanceNumber

        write_dicom(folder, IMAGE, AFFINE, change=change)
        _refused(folder, "which phase", "TriggerTime")

    def test_one_slice_of_unknown_thickness(self, write_dicom, folder):
        def change(dataset, k, t):
            del dataset.SliceThickness

        write_dicom(folder, IMAGE[:, :, :1], AFFINE, change=change)
        _refused(folder, "how thick")

    def test_no_pixels(self, write_dicom, folder):
        def change(dataset, k, t):
            del dataset.PixelData

        write_dicom(folder, IMAGE, AFFINE, change=change)
        _refused(folder, "no pixel data", "I0000.dcm")

    def test_colour(self, write_dicom, folder):
        def change(dataset, k, t):
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
            dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
            dataset.PixelData = bytes(60)

        write_dicom(folder, IMAGE, AFFINE, change=change)
        _refused(folder, "no magnitude images", "18 colour (PhotometricInterpretation RGB)")

    def test_pixels_cut_short(self, write_dicom, folder):
        write_dicom(folder, IMAGE, AFFINE, change=_only((2, 0), PixelData=bytes(10)))
        _refused(folder, "cannot read the pixels", "I0012.dcm")

    def test_a_compression_without_decoder(self, write_dicom, folder, monkeypatch):
        def change(dataset, k, t):
            dataset.PixelData = (
                b"\xfe\xff\x00\xe0\x00\x00\x00\x00" + b"\xfe\xff\x00\xe0\x04\x00\x00\x00\xff\xd8\xff\xd9"
            )
            dataset["PixelData"].is_undefined_length = True
            dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1

        write_dicom(folder, IMAGE, AFFINE, change=change)
        monkeypatch.setattr(
            "cinert.data.dicom_pixels.get_decoder", lambda syntax: type("Decoder", (), {"is_available": False})
        )
        _refused(folder, "JPEG Lossless", "decompress")

    def test_values_that_are_no_numbers(self, write_dicom, folder):
        def change(dataset, k, t):
            dataset.RescaleSlope, dataset.RescaleIntercept = "1e300", 0

        write_dicom(folder, IMAGE + 1, AFFINE, change=change)
        _refused(folder, "NaN or infinite", "I0000.dcm")

    def test_no_dicom_at_all(self, tmp_path):
        (tmp_path / "notes.txt").write_text("nothing")
        _refused(tmp_path, "no DICOM images")

    def test_no_folder(self, tmp_path):
        with pytest.raises(BadInputError, match="there is no DICOM folder"):
            read_dicom_cine(tmp_path / "none")

    def test_one_file_of_the_series(self, write_dicom, folder):
        write_dicom(folder, IMAGE, AFFINE)
        with pytest.raises(BadInputError, match="one image of a DICOM series") as caught:
            open_cine(folder / "I0000.dcm")
        assert str(folder) in str(caught.value)

    def test_a_series_of_a_nifti(self, save_nifti):
        path = save_nifti(IMAGE)
        with pytest.raises(BadInputError, match="no DICOM folder"):
            open_cine(path, ["5"])


def test_the_real_series_is_the_real_nifti(shared):
    """Six of its twenty slices: the same voxels, at the same world positions to a hundredth of a voxel."""
    folder = shared / "cine4d"
    if not (folder / "dicom").is_dir():
        pytest.skip(f"{folder / 'dicom'} is absent")
    series, whole = open_cine(folder / "dicom"), open_cine(folder / "sax_4d.nii.gz")
    assert series.image.shape == (256, 256, 6, 20)
    np.testing.assert_array_equal(series.image, whole.image[:, :, 5:11])
    shifted = whole.geometry.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 5], [0, 0, 0, 1]])
    corners = np.array([[i, j, k, 1] for i in (0, 255) for j in (0, 255) for k in (0, 5)]).T
    np.testing.assert_allclose(series.geometry.affine @ corners, shifted @ corners, atol=0.01)
    # 631 ms from R to R in 20 phases; the NIfTI's 31 ms were cut off after the point.
    assert series.time_step_ms == pytest.approx(631 / 20, abs=0.1)
