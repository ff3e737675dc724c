from __future__ import annotations

import numpy as np
import pytest

from cinert.data.dataset import load_samples
from cinert.data.grid import PreprocessingSpec
from cinert.data.layouts import read_patients
from cinert.errors import BadInputError

SPEC = PreprocessingSpec(spacing_mm=(10.0, 3.125, 3.125), shape_DHW=(10, 64, 56))


def test_samples_of_the_phantom(phantom):
    seen = []
    samples = load_samples(read_patients(phantom), SPEC, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 8) for done in range(1, 9)]
    assert [sample.phase for sample in samples] == ["ED", "ES"] * 4
    for sample in samples:
        assert sample.x_DHW.shape == sample.y_DHW.shape == SPEC.shape_DHW
        assert sample.x_DHW.dtype == np.float32
        assert set(np.unique(sample.y_DHW)) == {0, 1, 2, 3}
        assert sample.kept_share > 0.9


def test_an_unreadable_frame_is_named(make_patient):
    patients = read_patients(make_patient())
    patients[0].frames[1].image_path.write_bytes(b"cut")
    with pytest.raises(BadInputError, match=r"patient001_frame03\.nii\.gz"):
        load_samples(patients, SPEC)
