"""A folder that looks like a patient is read or refused: passed over, it would change who is in which fold."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from cinert.data.layouts import read_patients
from cinert.data.patients import load_frame
from cinert.errors import BadInputError

NO_INFO = "it has no Info.cfg"


def _refused(folder, *words):
    with pytest.raises(BadInputError) as caught:
        read_patients(folder)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


@pytest.fixture
def acdc(make_patient):
    for number in (1, 2, 3):
        folder = make_patient(f"patient{number:03d}")
    return folder


def test_a_patient_without_info(acdc):
    (acdc / "patient002" / "Info.cfg").unlink()
    _refused(acdc, str(acdc / "patient002"), NO_INFO, f"move it out of {acdc}")


@pytest.mark.parametrize("name", ["patient117", "patient4", "Patient_117", "patient 117"])
def test_an_empty_folder_that_is_named_like_its_neighbours(acdc, name):
    (acdc / name).mkdir()
    _refused(acdc, str(acdc / name), NO_INFO)


@pytest.mark.parametrize("name", ["frame01.nii.gz", "frame01.nii", "frame01.hdr", "ED/frame01.nii.gz"])
def test_a_folder_of_another_name_that_holds_volumes(acdc, name):
    path = acdc / "Meyer" / name
    path.parent.mkdir(parents=True)
    path.touch()
    _refused(acdc, str(acdc / "Meyer"), NO_INFO)


def test_a_patient_that_is_a_file_or_a_link_to_nowhere(acdc):
    (acdc / "patient004").write_text("")
    _refused(acdc, str(acdc / "patient004"), "it is no folder")
    (acdc / "patient004").unlink()
    (acdc / "patient004").symlink_to(acdc / "gone")
    _refused(acdc, str(acdc / "patient004"), "it is no folder")


def test_a_link_to_a_patient_is_one(acdc, tmp_path):
    (acdc / "patient003").rename(tmp_path / "patient003")
    (acdc / "patient003").symlink_to(tmp_path / "patient003", target_is_directory=True)
    assert [patient.id for patient in read_patients(acdc)] == ["patient001", "patient002", "patient003"]


def test_what_is_no_patient_stays_out_of_it(acdc):
    (acdc / "notes").mkdir()
    (acdc / "notes" / "read.txt").touch()
    (acdc / ".cache").mkdir()
    (acdc / ".cache" / "old.nii.gz").touch()
    (acdc / "__MACOSX" / "patient001").mkdir(parents=True)
    (acdc / "__MACOSX" / "patient001" / "._frame01.nii.gz").touch()
    (acdc / "patients.csv").touch()
    (acdc / "patient.txt").touch()
    assert [patient.id for patient in read_patients(acdc)] == ["patient001", "patient002", "patient003"]


@pytest.mark.parametrize(("name", "words"), [("patient004", NO_INFO), ("Meyer", "Permission denied")])
def test_a_folder_that_may_not_be_read(acdc, monkeypatch, name, words):
    """One without its read bit: nothing in it is found, its Info.cfg neither."""

    def may_not(path):
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    original = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", may_not)
    (acdc / name).mkdir()
    _refused(acdc, str(acdc / name), words)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_without_its_read_bits(acdc):
    (acdc / "patient002").chmod(0)
    try:
        _refused(acdc, str(acdc / "patient002"))
    finally:
        (acdc / "patient002").chmod(0o755)


@pytest.mark.parametrize(
    ("encoding", "word"),
    [("utf-8", "Größe"), ("utf-8-sig", "Größe"), ("latin-1", "Größe"), ("utf-16", "Größe"), ("utf-8-sig", "Height")],
)
def test_an_info_in_any_encoding(acdc, encoding, word):
    text = f"ED: 1\r\nES: 3\r\n{word}: 170\r\nGroup: DCM\r\n"
    (acdc / "patient002" / "Info.cfg").write_bytes(text.encode(encoding))
    patient = read_patients(acdc)[1]
    assert ([frame.index for frame in patient.frames], patient.group) == ([1, 3], "DCM")


def test_a_pair_is_a_nifti_file(acdc, save_nifti):
    for name in ("patient002_frame01", "patient002_frame01_gt"):
        (acdc / "patient002" / f"{name}.nii.gz").unlink()
    image, label = np.full((6, 5, 4), 700, np.int16), np.full((6, 5, 4), 3, np.uint8)
    save_nifti(image, "data/patient002/patient002_frame01.hdr")
    save_nifti(label, "data/patient002/patient002_frame01_gt.hdr")
    frame = read_patients(acdc)[1].frames[0]
    found, truth, _ = load_frame(frame)
    np.testing.assert_array_equal(found, image)
    np.testing.assert_array_equal(truth, label)
    frame.image_path.with_suffix(".img").unlink()
    with pytest.raises(BadInputError, match=r"cannot read the image .*patient002_frame01\.hdr"):
        load_frame(frame)


def test_one_frame_twice(acdc, save_nifti):
    """Unpacked beside the archive, which is harmless as long as both say the same."""
    path = acdc / "patient002" / "patient002_frame01.nii.gz"
    save_nifti(np.full((6, 5, 4), 100, np.int16), "data/patient002/patient002_frame01.nii")
    assert read_patients(acdc)[1].frames[0].image_path == path
    save_nifti(np.full((6, 5, 4), 101, np.int16), "data/patient002/patient002_frame01.nii")
    _refused(acdc, "two files of one image", str(path), "patient002_frame01.nii.")
    save_nifti(np.full((6, 5, 4), 100, np.int16), "data/patient002/patient002_frame01.nii", np.diag([1.5, 1.5, 9, 1]))
    _refused(acdc, "two files of one image")


def test_folders_with_spaces_in_their_names(make_patient):
    make_patient("patient 001")
    folder = make_patient("patient 002")
    assert [patient.id for patient in read_patients(folder)] == ["patient 001", "patient 002"]
    (folder / "patient 003").mkdir()
    _refused(folder, str(folder / "patient 003"))


class TestOtherLayouts:
    @pytest.fixture
    def mnms(self, save_nifti, tmp_path):
        rows = []
        for id_ in ("A1D0Q7", "B2F4K9"):
            label = np.full((6, 5, 4, 2), 1, np.uint8)
            save_nifti(label.astype(np.int16), f"data/{id_}/{id_}_sa.nii.gz")
            save_nifti(label, f"data/{id_}/{id_}_sa_gt.nii.gz")
            rows.append(f"{id_},0,1")
        (tmp_path / "data" / "info.csv").write_bytes(
            ("External code,ED,ES,Ürsprung\n" + "\n".join(rows)).encode("latin-1")
        )
        return tmp_path / "data"

    def test_a_csv_in_latin_1(self, mnms):
        assert len(read_patients(mnms)) == 2

    @pytest.mark.parametrize("name", ["C3H1L2", "C3H1L2/C3H1L2_sa_gt.nii.gz", "other/C3H1L2_sa_gt.nii.gz"])
    def test_mnms(self, mnms, name):
        path = mnms / name
        if path.suffix:
            path.parent.mkdir()
            path.touch()
        else:
            path.mkdir()
        _refused(mnms, str(mnms / name.partition("/")[0]), "it has no image ID_sa.nii.gz")

    def test_mnms_of_one_image_in_two_files(self, mnms, save_nifti):
        save_nifti(np.full((6, 5, 4, 2), 1, np.int16), "data/A1D0Q7/A1D0Q7_sa.nii")
        assert len(read_patients(mnms)) == 2

    def test_mnms2(self, save_nifti, tmp_path):
        for id_ in ("002", "010"):
            for name in ("SA_ED", "SA_ED_gt", "SA_ES", "SA_ES_gt"):
                save_nifti(np.full((6, 5, 4), 1, np.uint8), f"data/{id_}/{id_}_{name}.nii.gz")
        folder = tmp_path / "data"
        assert len(read_patients(folder)) == 2
        (folder / "010" / "010_SA_ED.nii.gz").unlink()
        _refused(folder, str(folder / "010"), "it has no image ID_SA_ED.nii.gz")
