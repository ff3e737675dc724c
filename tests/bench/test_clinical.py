"""Clinical indices by hand, agreement by its laws, and the labels' own figures of real patients."""

import csv
import json
import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from bedside.volumes import volumes_ml
from bench.clinical import INDICES, agreement, clinical_indices
from bench.clinical_plot import save_bland_altman
from bench.tables import clinical_remarks, clinical_table
from cinert.data.layouts import read_patients
from cinert.data.patients import load_frame

deterministic = settings(derandomize=True, deadline=None, database=None)
values = st.floats(1, 400)


def frame(patient, phase, reference, predicted):
    """Volumes (rv, myo, lv) of a frame."""
    names = ("rv", "myo", "lv")
    return SimpleNamespace(
        patient_id=patient,
        phase=phase,
        reference_ml=dict(zip(names, reference, strict=True)),
        predicted_ml=dict(zip(names, predicted, strict=True)),
    )


def heart(patient, *, scale=1.0, esv=60.0):
    return [
        frame(patient, "ED", (140, 100, 150), (140 * scale, 100 * scale, 150 * scale)),
        frame(patient, "ES", (70, 110, 60), (70 * scale, 110 * scale, esv * scale)),
    ]


def test_indices_by_hand():
    clinical = clinical_indices([*heart("a"), *heart("b", scale=1.1)])
    assert clinical.patients[0].reference == clinical.patients[0].predicted
    assert clinical.patients[1].predicted == pytest.approx(
        {
            "lv_edv_ml": 165,
            "lv_esv_ml": 66,
            "lv_sv_ml": 99,
            "lv_ef_percent": 60,
            "rv_edv_ml": 154,
            "rv_esv_ml": 77,
            "rv_sv_ml": 77,
            "rv_ef_percent": 50,
            "myo_mass_g": 115.5,
        }
    )
    assert list(clinical.patients[0].reference) == list(INDICES)
    row = clinical.agreement["lv_edv_ml"]
    # Differences 0 and 15: mean 7.5, sample standard deviation 15 / sqrt(2).
    assert (row.n, row.bias, row.mean_absolute_error) == (2, pytest.approx(7.5), pytest.approx(7.5))
    assert row.limits == pytest.approx((7.5 - 1.96 * 15 / 2**0.5, 7.5 + 1.96 * 15 / 2**0.5))
    # Both references are 150 ml: nothing to correlate with.
    assert row.pearson_r is None


def test_patients_without_both_phases_are_named():
    two_ed = [frame("c", "ED", (1, 1, 1), (1, 1, 1))] * 2
    clinical = clinical_indices([*heart("a"), heart("b")[0], *two_ed, frame("d", "", (1, 1, 1), (1, 1, 1))])
    assert [each.patient_id for each in clinical.patients] == ["a"]
    assert clinical.without_both_phases == ("b", "c", "d")
    assert clinical_remarks(clinical) == ["no ED and ES frame, so no indices: b, c, d"]
    assert clinical.agreement["lv_ef_percent"].n == 1
    assert clinical.agreement["lv_ef_percent"].limits is None


def test_a_vanished_lv_has_no_ejection_fraction_and_is_named():
    clinical = clinical_indices([*heart("a"), *heart("b", esv=0.0)])
    assert clinical.patients[1].predicted["lv_ef_percent"] is None
    assert clinical.patients[1].predicted["lv_esv_ml"] == 0.0
    ef, esv = clinical.agreement["lv_ef_percent"], clinical.agreement["lv_esv_ml"]
    assert (ef.n, ef.undefined) == (1, ("b",))
    # The volume that was missed does count.
    assert (esv.n, esv.bias) == (2, -30.0)
    assert clinical_remarks(clinical) == ["LV EF is not defined, the ventricle vanishes or is larger at ES: b"]
    # JSON has no word for NaN.
    json.dumps(clinical.to_dict(), allow_nan=False)


def test_nobody_with_both_phases_is_no_agreement():
    clinical = clinical_indices([heart("a")[0]])
    for row in clinical.agreement.values():
        assert (row.n, row.bias, row.limits, row.mean_absolute_error, row.pearson_r) == (0, None, None, None, None)
    assert clinical_table(clinical).row_count == len(INDICES)


@deterministic
@given(st.lists(values, min_size=2, max_size=12))
def test_identical_lists_agree_wholly(measured):
    row = agreement(measured, measured)
    assert (row.bias, row.limits, row.mean_absolute_error) == (0, (0, 0), 0)
    assert row.pearson_r is None or row.pearson_r == pytest.approx(1)


@deterministic
@given(st.lists(st.tuples(values, values), min_size=3, max_size=12), st.floats(-50, 50))
def test_agreement_obeys_its_laws(pairs, offset):
    reference, predicted = zip(*pairs, strict=True)
    row, swapped = agreement(reference, predicted), agreement(predicted, reference)
    assert row.limits[0] <= row.bias <= row.limits[1]
    assert abs(row.bias) <= row.mean_absolute_error + 1e-9
    assert swapped.bias == pytest.approx(-row.bias)
    assert swapped.limits == pytest.approx((-row.limits[1], -row.limits[0]), abs=1e-6)
    moved = agreement(reference, [value + offset for value in predicted])
    assert moved.bias == pytest.approx(row.bias + offset, abs=1e-6)
    assert moved.limits[1] - moved.limits[0] == pytest.approx(row.limits[1] - row.limits[0], abs=1e-6)


def test_correlation_is_scipys():
    rng = random.Random(0)
    reference = [rng.uniform(50, 300) for _ in range(20)]
    predicted = [value + rng.gauss(0, 40) for value in reference]
    assert agreement(reference, predicted).pearson_r == pytest.approx(stats.pearsonr(reference, predicted).statistic)


@deterministic
@given(st.randoms(use_true_random=False))
def test_the_order_of_patients_and_frames_does_not_matter(rng):
    frames = [each for number in range(5) for each in heart(f"p{number}", scale=0.8 + 0.1 * number)]
    before = clinical_indices(frames)
    rng.shuffle(frames)
    after = clinical_indices(frames)
    assert {each.patient_id: each for each in after.patients} == {each.patient_id: each for each in before.patients}
    for name, row in after.agreement.items():
        assert row.bias == pytest.approx(before.agreement[name].bias)
        assert row.limits == pytest.approx(before.agreement[name].limits)


def test_agreement_needs_pairs():
    with pytest.raises(ValueError, match="shorter"):
        agreement([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    "frames",
    [
        heart("a"),
        [*heart("a"), *heart("b")],
        [*heart("a", esv=0.0), *heart("b", esv=0.0)],
        [each for number in range(9) for each in heart(f"p{number}", scale=5.0 if number == 4 else 1 + number / 100)],
    ],
    ids=["one patient", "no spread", "no LV EF at all", "an outlier"],
)
def test_the_picture_is_drawn_whatever_the_patients(frames, tmp_path):
    save_bland_altman(tmp_path / "plot.png", clinical_indices(frames), title="test")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.size == (1265, 770)
        # More than a blank page.
        assert len(picture.convert("RGB").getcolors(maxcolors=2**20)) > 50
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]


def test_the_volumes_of_real_labels_are_those_that_come_with_them(shared):
    with (shared / "acdc" / "patients.csv").open() as stream:
        known = {row["patient"]: row for row in csv.DictReader(stream)}
    for patient in read_patients(shared / "acdc")[:6]:
        frames = []
        for each in patient.frames:
            _, label, geometry = load_frame(each)
            volumes = [phases[0] for phases in volumes_ml(label[..., None], geometry).values()]
            frames.append(frame(patient.id, each.phase, volumes, volumes))
        found, expected = clinical_indices(frames).patients[0].reference, known[patient.id]
        for index, column in {
            "lv_edv_ml": "lv_edv",
            "lv_esv_ml": "lv_esv",
            "lv_ef_percent": "lv_ef",
            "rv_edv_ml": "rv_edv",
            "rv_esv_ml": "rv_esv",
            "rv_ef_percent": "rv_ef",
        }.items():
            # The table has one decimal.
            assert found[index] == pytest.approx(float(expected[column]), abs=0.051), (patient.id, index)
        assert found["myo_mass_g"] == pytest.approx(1.05 * float(expected["myo_ed_ml"]), abs=0.054)
