"""Whose image a case is: by what its name says, and where it says nothing, by what all names have in common."""

from __future__ import annotations

import pytest

from cinert.data.nnunet_names import group, parse


def patients(names):
    """Cases by patient."""
    found: dict[str, list[str]] = {}
    for name, case in group(parse(names)).items():
        found.setdefault(case.patient_id, []).append(name)
    return found


def said(name, *others):
    """(patient, index, phase) of a case among others."""
    case = group(parse([name, *others]))[name]
    return case.patient_id, case.index, case.phase


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("P001-ED", ("P001", 1, "ED")),
        ("P001_ES", ("P001", 1, "ES")),
        ("P001.es", ("P001", 1, "ES")),
        ("P 001 ED", ("P 001", 1, "ED")),
        ("case901_ED_s08", ("case901", 8, "ED")),
        ("case901_s08_ED", ("case901", 8, "ED")),
        ("case901_ES_08", ("case901", 8, "ES")),
        ("case901-ED-slice-3", ("case901", 3, "ED")),
        ("patient001_ED_frame01", ("patient001", 1, "ED")),
        ("patient001_frame12_ES", ("patient001", 12, "ES")),
        ("heart_007_ED", ("heart_007", 1, "ED")),
        ("heart_ED_007", ("heart_007", 1, "ED")),
        ("s07_ED", ("s07", 1, "ED")),
        ("sub-01_ses-02_ED", ("sub-01", 2, "ED")),
        ("patient001_frame12", ("patient001", 12, "unknown")),
        ("case901_slice_3", ("case901", 3, "unknown")),
        ("case901_z03", ("case901", 3, "unknown")),
        ("case901_t4_s3", ("case901", 4, "unknown")),
        ("sub-01_ses-02", ("sub-01", 2, "unknown")),
        ("A1D0Q7_0009_A_1", ("A1D0Q7", 10, "unknown")),
        # A word that is the whole name, or begins it, is a name.
        ("slice_3", ("slice_3", 1, "unknown")),
        ("s08", ("s08", 1, "unknown")),
        ("ED", ("ED", 1, "unknown")),
        ("ES_Madrid", ("ES_Madrid", 1, "unknown")),
        ("Red_fedora", ("Red_fedora", 1, "unknown")),
        # Numbers of persons in a data set, not of images of one.
        ("ACDC_s08", ("ACDC_s08", 1, "unknown")),
        ("study1_s08", ("study1_s08", 1, "unknown")),
        ("_", ("_", 1, "unknown")),
    ],
)
def test_what_a_name_says(name, expected):
    assert said(name) == expected


def test_a_phase_before_the_name_where_both_phases_are():
    names = [f"{phase}_P{number:03d}" for number in range(3) for phase in ("ED", "ES")]
    assert patients(names) == {f"P{number:03d}": [f"ED_P{number:03d}", f"ES_P{number:03d}"] for number in range(3)}
    assert said("ES_P000", *names) == ("P000", 1, "ES")


@pytest.mark.parametrize(
    ("of", "count", "per_patient"),
    [
        (lambda p: [f"genius_{p + 8:02d}{visit:02d}" for visit in range(3)], 10, "genius_08"),
        (lambda p: [f"{p:03d}{visit}" for visit in (1, 2)], 12, "000"),
        (lambda p: [f"patient{p:03d}_{phase:02d}" for phase in range(5)], 8, "patient000"),
        (lambda p: [f"patient{p:03d}-{phase}" for phase in range(25)], 4, "patient000"),
        (lambda p: [f"{p:03d}_{phase:03d}" for phase in range(4)], 8, "000"),
        (lambda p: [f"{'abcdefg'[p]}anna_{visit}" for visit in range(3)], 7, "aanna"),
        (lambda p: [f"P{p:03d}_{visit}_{phase}" for visit in (1, 2) for phase in ("ED", "ES")], 5, "P000"),
        (lambda p: [f"case{p}_{phase}_s{z:02d}" for phase in ("ED", "ES") for z in range(8)], 3, "case0"),
        (lambda p: [f"case{p}_s{z:02d}" for z in range(8)], 2, "case0"),
    ],
    ids=["digits", "last digit", "phases", "many phases", "two numbers", "names", "visits", "slices", "slices alone"],
)
def test_images_of_a_person_stay_together(of, count, per_patient):
    people = [of(number) for number in range(count)]
    found = patients([name for own in people for name in own])
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, people))
    assert per_patient in found


def test_not_every_person_has_every_image():
    found = patients(["p01_0", "p01_1", "p01_2", "p02_0", "p03_0", "p03_1", "p04_1"])
    assert {id_: len(own) for id_, own in found.items()} == {"p01": 3, "p02_0": 1, "p03": 2, "p04_1": 1}


@pytest.mark.parametrize(
    "names",
    [
        [f"heart_{number:03d}" for number in range(1, 30)],
        [f"heart_{number:03d}" for number in range(30)],
        [f"heart_{number:03d}" for number in (1, 2, 4, 7, 8, 9, 12, 20, 21, 30, 31)],
        [f"{number:04d}" for number in range(100)],
        [f"{100 * site + number}" for site in (1, 2, 3) for number in range(1, 20)],
        [f"site{site}_{number:03d}" for site in (1, 2) for number in range(10)],
        [f"site{site}_{number}" for site in "AB" for number in (1, 2)],
        [f"centre-A{site}_{number:03d}" for site in (1, 2) for number in range(10)],
        [f"{group}_{number:02d}" for group in ("nor", "dcm", "hcm") for number in range(10)],
        ["anna", "ben", "carla"],
    ],
)
def test_numbers_that_count_people(names):
    assert patients(names) == {name: [name] for name in names}


def test_two_images_of_a_name_are_two_frames_of_a_beat():
    names = ["p1_0", "p1_1", "p2_0", "p2_1"]
    assert patients(names) == {"p1": ["p1_0", "p1_1"], "p2": ["p2_0", "p2_1"]}
    assert all(case.of_a_beat for case in group(parse(names)).values())


@pytest.mark.parametrize("name", ["case901_slice_3", "sub-01_ses-02", "case901_z03", "case901_visit2"])
def test_slices_and_visits_are_no_frames_of_a_beat(name):
    assert not parse([name])[name].of_a_beat
