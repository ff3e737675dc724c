from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner

from cinert.data.cli import make_phantom
from cinert.data.heart_draw import LV_EF_PERCENT, RV_EF_PERCENT, beat_curve, draw_patient
from cinert.data.heart_model import heart_phase
from cinert.data.layouts import read_patients
from cinert.data.nifti import read_cine
from cinert.data.patients import load_frame
from cinert.data.phantom import write_phantom
from cinert.errors import BadInputError


def _digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _volumes_ml(label, geometry):
    return np.bincount(label.ravel(), minlength=4)[1:] * np.prod(geometry.spacing_mm) / 1e3


def test_labels_hold_the_drawn_volumes(phantom):
    drawn = json.loads((phantom / "phantom.json").read_text())["patients"]
    for patient in read_patients(phantom):
        truth = drawn[patient.id]
        measured = {}
        for frame in patient.frames:
            _, label, geometry = load_frame(frame)
            assert set(np.unique(label)) == {0, 1, 2, 3}
            name = "edv" if frame.phase == "ED" else "esv"
            expected = (truth[f"rv_{name}_ml"], truth["muscle_ml"], truth[f"lv_{name}_ml"])
            measured[frame.phase] = _volumes_ml(label, geometry)
            np.testing.assert_allclose(measured[frame.phase], expected, rtol=0.04)
        ejected = 100 * (1 - measured["ES"] / measured["ED"])
        assert RV_EF_PERCENT[0] - 4 < ejected[0] < RV_EF_PERCENT[2] + 4
        assert LV_EF_PERCENT[0] - 4 < ejected[2] < LV_EF_PERCENT[2] + 4


def test_labelled_heart_stays_clear_of_the_image_border(phantom):
    for patient in read_patients(phantom):
        _, label, _ = load_frame(patient.frames[0])
        assert not label[[0, -1]].any()
        assert not label[:, [0, -1]].any()
        assert not label[..., -1].any()


def test_blood_is_brighter_than_muscle(phantom):
    for patient in read_patients(phantom):
        for frame in patient.frames:
            image, label, _ = load_frame(frame)
            rv, muscle, lv = (image[label == value].mean() for value in (1, 2, 3))
            assert min(rv, lv) > 1.7 * muscle


def test_cine_holds_the_labelled_frames(phantom):
    for patient in read_patients(phantom):
        cine = read_cine(patient.cine_path)
        assert 12 <= cine.image.shape[3] <= 20
        assert 30 < cine.time_step_ms < 100
        for frame in patient.frames:
            image, _, geometry = load_frame(frame)
            assert geometry.same_grid(cine.geometry)
            np.testing.assert_array_equal(cine.image[..., frame.index - 1], image)


def test_same_seed_same_bytes_and_more_patients_change_nothing(phantom, tmp_path):
    write_phantom(tmp_path / "a", patients=1, seed=3)
    first = _digests(tmp_path / "a")
    full = _digests(phantom)
    assert {name: digest for name, digest in first.items() if name != "phantom.json"} == {
        name: digest for name, digest in full.items() if name.startswith("patient901/")
    }
    write_phantom(tmp_path / "b", patients=1, seed=4)
    assert _digests(tmp_path / "b") != first


@pytest.mark.parametrize("seed", range(60))
def test_any_draw_is_a_plausible_heart(seed):
    patient = draw_patient(np.random.default_rng(seed))
    assert 8 <= patient.shape[2] <= 12
    assert 8 <= patient.spacing_mm[2] <= 10
    assert 160 <= min(patient.shape[:2]) <= max(patient.shape[:2]) <= 256
    assert 1.2 <= patient.spacing_mm[0] <= 1.8
    below = (patient.shape[2] - patient.base_slice) * patient.spacing_mm[2]
    assert below > patient.length_mm
    for ejected in (0.0, 0.5, 1.0):
        phase = heart_phase(patient, ejected)
        assert 0 < phase.endo_mm < phase.epi_mm < 70
        assert 0 < phase.cavity_mm < phase.apex_mm - phase.base_mm
        assert 3 < phase.crescent_mm < 70


def test_beat_curve_goes_from_ed_to_es_and_back():
    curve = beat_curve(20, 7)
    assert curve[0] == 0
    assert curve[7] == 1
    assert np.argmax(curve) == 7
    assert (np.diff(curve[:8]) > 0).all()
    assert (np.diff(curve[7:]) < 0).all()


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    result = CliRunner().invoke(make_phantom, [str(tmp_path), "--patients", "1"])
    assert result.exit_code == 2
    assert str(tmp_path) in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_marker_of_something_else_is_no_licence_to_replace(tmp_path):
    (tmp_path / "phantom.json").write_text("{}")
    with pytest.raises(BadInputError, match="not a phantom"):
        write_phantom(tmp_path, patients=1)


def test_an_earlier_phantom_and_an_empty_folder_are_replaced(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for patients in (2, 1):
        result = CliRunner().invoke(make_phantom, [str(out), "--patients", str(patients), "--seed", "1"])
        assert result.exit_code == 0, result.output
        assert len(read_patients(out)) == patients
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path / "out", patients=2, progress=stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("patients", [0, 100])
def test_counts_that_cannot_be(tmp_path, patients):
    with pytest.raises(BadInputError, match=str(patients)):
        write_phantom(tmp_path / "out", patients=patients)


def test_help_shows_examples():
    result = CliRunner().invoke(make_phantom, ["--help"])
    assert result.exit_code == 0
    assert "make-phantom phantom/ --patients 40 --seed 7" in result.output
