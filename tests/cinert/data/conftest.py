from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from cinert.data.phantom import write_phantom

AFFINE = np.diag([-1.5, -1.5, 8.0, 1.0])


@pytest.fixture
def save_nifti(tmp_path):
    """Writes an array as NIfTI and gives its path."""

    def save(array, name="image.nii.gz", affine=AFFINE):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), path)
        return path

    return save


@pytest.fixture
def make_patient(save_nifti, tmp_path):
    """Writes one small patient in ACDC's layout and gives the folder that holds it."""

    def make(name="patient001", info="ED: 1\nES: 3\nGroup: NOR\nNbFrame: 5\n", frames=(1, 3), suffix=".nii.gz"):
        label = np.zeros((6, 5, 4), dtype=np.uint8)
        label[2:4, 2, 1:3] = 3
        for index in frames:
            stem = f"data/{name}/{name}_frame{index:02d}"
            save_nifti(np.full((6, 5, 4), 100 * index, dtype=np.int16), stem + suffix)
            save_nifti(label, f"{stem}_gt{suffix}")
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name / "Info.cfg").write_text(info)
        return tmp_path / "data"

    return make


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    """Four phantom patients, made once."""
    folder = tmp_path_factory.mktemp("phantom") / "out"
    write_phantom(folder, patients=4, seed=3)
    return folder
