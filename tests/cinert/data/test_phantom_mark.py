"""A phantom is known as one wherever its files go, and nobody else is taken for one."""

import shutil
from dataclasses import replace

import nibabel as nib
import pytest

from cinert.data.layouts import read_patients
from cinert.data.phantom import write_phantom
from cinert.data.phantom_mark import MARKER, is_phantom, tally


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "phantom"
    write_phantom(folder, patients=2)
    return folder


@pytest.fixture
def copied(phantom, tmp_path):
    """Without the folder's marker."""
    shutil.copytree(phantom, tmp_path / "mine")
    (tmp_path / "mine" / MARKER).unlink()
    return tmp_path / "mine"


def test_a_phantom_is_known_by_its_header(copied):
    assert tally(read_patients(copied)) == (0, 2)


def without_a_word(folder):
    for path in folder.rglob("*.nii.gz"):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(image.dataobj[...], image.affine), path)


def test_a_phantom_of_an_older_release_is_known_by_its_folder(phantom, tmp_path):
    shutil.copytree(phantom, tmp_path / "old")
    without_a_word(tmp_path / "old")
    assert tally(read_patients(tmp_path / "old")) == (0, 2)


def test_a_patient_is_no_phantom(copied):
    without_a_word(copied / "patient901")
    assert tally(read_patients(copied)) == (1, 1)


def test_a_real_patient_is_no_phantom(shared):
    assert not any(map(is_phantom, read_patients(shared / "acdc")[:3]))


def test_a_file_that_cannot_be_read_is_left_to_its_reader(copied):
    patient = read_patients(copied)[0]
    patient.frames[0].image_path.write_bytes(b"not a volume")
    missing = replace(patient.frames[0], image_path=copied / "nothing.nii.gz")
    assert not is_phantom(patient)
    assert not is_phantom(replace(patient, frames=(missing,)))
