"""A file that ought to be an image and cannot be read is named: without it the stack would only look whole."""

import os

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cinert.data.cine import open_cine
from cinert.data.dicom import read_dicom_cine
from cinert.errors import BadInputError

SHAPE = (6, 5, 4, 3)
IMAGE = np.random.default_rng(1).integers(0, 900, SHAPE).astype(np.int16)
AFFINE = np.diag([-1.5, -1.25, 8.0, 1.0])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "dicom"


@pytest.fixture
def cine(write_dicom, folder):
    """Files of each slice, in its order."""
    write_dicom(folder, IMAGE, AFFINE)
    paths = sorted(folder.iterdir())
    return [paths[3 * k : 3 * k + 3] for k in range(SHAPE[2])]


def refused(folder, *words):
    with pytest.raises(BadInputError) as caught:
        read_dicom_cine(folder)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


def cut_to(size):
    return lambda path: path.write_bytes(path.read_bytes()[:size])


def dangle(path):
    path.unlink()
    path.symlink_to("moved")


def tail(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 10])


SPOILT = [
    (cut_to(0), "(empty)"),
    (cut_to(60), "(no DICOM)"),
    (cut_to(132), "(it ends within its header)"),
    (cut_to(400), "(it ends within its header)"),
    (dangle, "(a link to nothing)"),
    (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "(no DICOM)"),
]


@pytest.mark.parametrize("slice_", [0, 2, -1], ids=["first", "middle", "last"])
@pytest.mark.parametrize(("spoil", "reason"), SPOILT)
@pytest.mark.parametrize("suffix", [".dcm", ""], ids=["dcm", "bare"])
def test_a_slice_that_cannot_be_read_is_named(cine, folder, slice_, spoil, reason, suffix):
    for path in cine[slice_]:
        spoil(path)
    for path in sorted(folder.iterdir()):
        path.rename(path.with_suffix(suffix))

    first = cine[slice_][0].with_suffix(suffix)
    refused(
        folder, f"{folder} holds 3 files that ought to be DICOM images and cannot be read", f"{first.name} {reason}"
    )


def test_many_are_counted(cine, folder):
    for paths in cine[1:3]:
        for path in paths:
            path.write_bytes(b"")
    refused(folder, "holds 6 files", "I0006.dcm (empty) and 2 more.", "copy them again")


def test_one_is_one(cine, folder):
    cine[0][0].write_bytes(b"")
    refused(folder, "holds 1 file that ought to be a DICOM image and cannot be read: I0000.dcm (empty).")


def test_all_of_them(cine, folder):
    for paths in cine:
        for path in paths:
            path.write_bytes(b"")
    refused(folder, "holds 12 files that ought to be DICOM images")


@pytest.mark.parametrize("name", ["I0099.IMA", "scan.DICOM", "I0099.dcm.part", "I0099.dcm.gz", "below/I0099.dcm"])
def test_what_ends_or_is_named_as_an_image_is_one(cine, folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"nothing")
    refused(folder, f"{name} (no DICOM)")


def test_hashes_are_like_each_other(cine, folder):
    for number, path in enumerate(path for paths in cine for path in paths):
        path.rename(folder / f"{number:08x}-ab{number:014x}")
    (folder / "0000000c-ab0000000000000c").write_bytes(b"")
    refused(folder, "0000000c-ab0000000000000c (empty)")


@pytest.mark.parametrize("name", ["README", "notes.txt", "._I0000.dcm", "cine.nii.gz", "DICOMDIR.txt", "I0000.json"])
def test_strangers_are_passed_over(cine, folder, name):
    (folder / name).write_bytes(b"exported on a Monday" * 9)
    np.testing.assert_array_equal(read_dicom_cine(folder).image, IMAGE)


@pytest.mark.parametrize("uid", [
    "1.2.840.10008.5.1.4.1.1.88.11",  # basic text report
    "1.2.840.10008.5.1.4.1.1.11.1",  # presentation state
    "1.2.840.10008.1.3.10",  # DICOMDIR
    "1.3.12.2.1107.5.9.1",  # Siemens' private object without an image
])  # fmt: skip
@pytest.mark.parametrize("prefixed", [True, False])
def test_other_dicom_objects_are_passed_over(cine, folder, uid, prefixed):
    report = dcmread(cine[0][0])
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID = uid
    for name in ("Rows", "Columns", "PixelData"):
        delattr(report, name)
    report.save_as(folder / "I0099.dcm")
    if not prefixed:
        (folder / "I0099.dcm").write_bytes((folder / "I0099.dcm").read_bytes()[132:])
    np.testing.assert_array_equal(read_dicom_cine(folder).image, IMAGE)


def test_a_segmentation_of_the_cine_is_no_image_of_it(cine, folder):
    mask = dcmread(cine[0][0])
    mask.file_meta.MediaStorageSOPClassUID = mask.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    mask.SeriesInstanceUID, mask.NumberOfFrames = "1.2.3", 4
    mask.save_as(folder / "phase-001.dcm")
    np.testing.assert_array_equal(read_dicom_cine(folder).image, IMAGE)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("meta", [True, False], ids=["meta", "bare"])
def test_files_without_the_prefix_are_read(cine, folder, syntax, meta):
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    for path in cine[-1]:
        whole = dcmread(path)
        # A dataset of its own, which is not bound to the encoding that it was read in.
        dataset = Dataset()
        dataset.update({element.tag: element for element in whole})
        dataset.PixelData = whole.pixel_array.astype("<i2" if little else ">i2").tobytes()
        dataset["PixelData"].VR = "OW"
        if meta:
            dataset.file_meta = whole.file_meta
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.save_as(path, enforce_file_format=True)
            path.write_bytes(path.read_bytes()[132:])
        else:
            dataset.save_as(path, implicit_vr=implicit, little_endian=little)
        assert path.read_bytes()[128:132] != b"DICM"

    np.testing.assert_array_equal(read_dicom_cine(folder).image, IMAGE)


@pytest.mark.parametrize("slice_", [0, 2, -1], ids=["first", "middle", "last"])
def test_pixels_cut_short_are_refused(cine, folder, slice_):
    tail(cine[slice_][1])
    refused(folder, f"cannot read the pixels of {cine[slice_][1]}")


def test_a_file_cut_before_its_pixels(cine, folder):
    size = cine[0][0].stat().st_size
    cut_to(size - IMAGE[:, :, 0, 0].nbytes - 12)(cine[0][0])
    refused(folder, f"{cine[0][0]} holds no pixel data", "interrupted")


def test_broken_files_beside_another_series_do_not_matter(write_dicom, folder):
    write_dicom(folder / "cine", IMAGE, AFFINE, number=5)
    write_dicom(folder / "other", IMAGE, AFFINE, number=6)
    (folder / "other" / "I0000.dcm").write_bytes(b"")
    np.testing.assert_array_equal(read_dicom_cine(folder, ["5"]).image, IMAGE)
    with pytest.raises(BadInputError, match=r"other/I0000\.dcm \(empty\)"):
        read_dicom_cine(folder, ["6"])


def test_a_slice_in_a_folder_of_its_own(write_dicom, folder):
    write_dicom(folder, IMAGE, AFFINE)
    (folder / "last").mkdir()
    for path in sorted(folder.glob("*.dcm"))[-3:]:
        (folder / "last" / path.name).write_bytes(b"")
        path.unlink()
    refused(folder, "holds 3 files", "last/I0009.dcm (empty)")


def test_a_folder_that_cannot_be_listed(cine, folder, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    (folder / "locked").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)
    refused(folder, f"cannot list {folder / 'locked'}: Permission denied")


def test_one_image_without_a_prefix_is_no_nifti(cine, folder):
    path = cine[0][0]
    path.write_bytes(path.read_bytes()[132:])
    with pytest.raises(BadInputError, match="one image of a DICOM series"):
        open_cine(path)
