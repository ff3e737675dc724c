from __future__ import annotations

import numpy as np
import pytest

from cinert.data.layouts import read_patients
from cinert.data.patients import load_frame, patient_digest
from cinert.errors import BadInputError


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_patients_sorted_by_id(make_patient, suffix):
    make_patient("patient010", suffix=suffix)
    folder = make_patient("patient002", suffix=suffix)
    (folder / "patients.csv").write_text("id\n")
    (folder / "notes").mkdir()
    patients = read_patients(folder)
    assert [patient.id for patient in patients] == ["patient002", "patient010"]
    assert [(frame.phase, frame.index) for frame in patients[0].frames] == [("ED", 1), ("ES", 3)]
    assert patients[0].group == "NOR"
    assert patients[0].cine_path is None
    image, label, geometry = load_frame(patients[0].frames[1])
    assert image.max() == 300
    assert label.max() == 3
    assert geometry.shape == image.shape == (6, 5, 4)


def test_cine_is_found(make_patient, save_nifti):
    folder = make_patient()
    path = save_nifti(np.zeros((6, 5, 4, 5), dtype=np.int16), "data/patient001/patient001_4d.nii.gz")
    assert read_patients(folder)[0].cine_path == path


def _refused(folder, *words):
    with pytest.raises(BadInputError) as caught:
        read_patients(folder)
    for word in words:
        assert word in str(caught.value)


def test_missing_folder(tmp_path):
    _refused(tmp_path / "none", str(tmp_path / "none"), "Info.cfg")


def test_empty_folder(tmp_path):
    _refused(tmp_path, str(tmp_path), "empty")


def test_other_folder(tmp_path):
    for name in ("a.txt", "b.txt", "c.txt", "d.txt"):
        (tmp_path / name).touch()
    _refused(tmp_path, "a.txt", "1 more", "patientXXX_frameNN_gt.nii.gz")


def test_folder_of_one_patient(make_patient):
    folder = make_patient()
    _refused(folder / "patient001", "one patient", str(folder))


def test_folder_above(make_patient):
    folder = make_patient()
    _refused(folder.parent, f"try {folder}")


@pytest.mark.parametrize("phase", ["ED", "ES"])
def test_info_without_a_phase(make_patient, phase):
    info = "\n".join(line for line in ("ED: 1", "ES: 3") if not line.startswith(phase))
    _refused(make_patient(info=info), "Info.cfg", phase)


@pytest.mark.parametrize("value", ["one", "1.5", "-1", "0", "", "²"])
def test_info_with_a_wrong_number(make_patient, value):
    _refused(make_patient(info=f"ED: {value}\nES: 3\n"), "Info.cfg", "ED", repr(value))


def test_info_that_is_no_text(make_patient):
    folder = make_patient()
    (folder / "patient001" / "Info.cfg").write_bytes(b"\xff\xfe\x00ED")
    _refused(folder, "Info.cfg")


@pytest.mark.parametrize("name", ["patient001_frame03.nii.gz", "patient001_frame01_gt.nii.gz"])
def test_missing_frame(make_patient, name):
    folder = make_patient()
    (folder / "patient001" / name).unlink()
    _refused(folder, name)


def test_label_of_another_shape(make_patient, save_nifti):
    folder = make_patient()
    path = save_nifti(np.zeros((6, 5, 3), dtype=np.uint8), "data/patient001/patient001_frame01_gt.nii.gz")
    with pytest.raises(BadInputError) as caught:
        load_frame(read_patients(folder)[0].frames[0])
    for word in (str(path), "(6, 5, 3)", "(6, 5, 4)"):
        assert word in str(caught.value)


def test_label_elsewhere(make_patient, save_nifti):
    folder = make_patient()
    name = "data/patient001/patient001_frame01_gt.nii.gz"
    path = save_nifti(np.zeros((6, 5, 4), dtype=np.uint8), name, np.diag([1.5, -1.5, 8, 1]))
    with pytest.raises(BadInputError, match="affine") as caught:
        load_frame(read_patients(folder)[0].frames[0])
    assert str(path) in str(caught.value)


def test_an_empty_label(make_patient, save_nifti):
    folder = make_patient()
    path = save_nifti(np.zeros((6, 5, 4), dtype=np.uint8), "data/patient001/patient001_frame03_gt.nii.gz")
    frames = read_patients(folder)[0].frames
    load_frame(frames[0])
    with pytest.raises(BadInputError, match="patient001 is empty") as caught:
        load_frame(frames[1])
    assert str(path) in str(caught.value)


def test_voxels_that_are_no_numbers(make_patient, save_nifti):
    folder = make_patient()
    path = save_nifti(np.full((6, 5, 4), np.nan, dtype=np.float32), "data/patient001/patient001_frame01.nii.gz")
    with pytest.raises(BadInputError, match="120 voxels that are NaN") as caught:
        load_frame(read_patients(folder)[0].frames[0])
    assert str(path) in str(caught.value)


def test_digest_knows_a_renamed_patient(make_patient, save_nifti):
    make_patient("patient001")
    folder = make_patient("patient777")
    first, renamed = read_patients(folder)
    assert patient_digest(first) == patient_digest(renamed)
    save_nifti(np.full((6, 5, 4), 101, dtype=np.int16), "data/patient777/patient777_frame01.nii.gz")
    assert patient_digest(first) != patient_digest(renamed)


def test_real_patients(shared):
    patients = read_patients(shared / "acdc")
    assert len(patients) == 80
    assert {patient.group for patient in patients} == {"DCM", "HCM", "MINF", "NOR", "RV"}
