"""Every layout of labelled patients gives the same patients; what cannot be read is refused in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.seen import patients_of_fold
from cinert.data import remarks
from cinert.data.folds import Split, fold_count, split, split_patients
from cinert.data.layouts import read_patients
from cinert.data.patients import load_frame, patient_digest
from cinert.errors import BadInputError

SHAPE = (6, 5, 4)
RNG = np.random.default_rng(0)
IMAGES = {phase: RNG.integers(0, 1000, SHAPE).astype(np.int16) for phase in ("ED", "ES")}
OURS = {phase: np.zeros(SHAPE, np.uint8) for phase in ("ED", "ES")}
for _phase, _size in (("ED", 3), ("ES", 1)):
    OURS[_phase][0, :, 1], OURS[_phase][1, :, 1], OURS[_phase][2 : 2 + _size, :, 1] = 1, 2, 3
# Our 0..3 as the M&Ms challenges store them: 1 LV, 2 MYO, 3 RV.
THEIRS = {phase: np.array([0, 3, 2, 1], np.uint8)[label] for phase, label in OURS.items()}
TABLE = ",External code,VendorName,Vendor,Centre,ED,ES,Pathology\n0,A1,Siemens,A,1,4,2,HCM\n1,B2,Philips,B,2,0,3,NOR\n"
JSON = {
    "channel_names": {"0": "cineMRI"},
    "labels": {"background": 0, "LV": 1, "MYO": 2, "RV": 3},
    "numTraining": 4,
    "file_ending": ".nii.gz",
}


@pytest.fixture
def mnms(save_nifti, tmp_path):
    """Two patients in M&Ms' layout, in Training/Labeled; the CSV lies two folders above."""

    def make(table=TABLE, phases=6, name="211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"):
        for id_, ed, es in (("A1", 4, 2), ("B2", 0, 3)):
            image, label = np.zeros((*SHAPE, phases), np.int16), np.zeros((*SHAPE, phases), np.uint8)
            for phase, volume in (("ED", ed), ("ES", es)):
                if volume < phases:
                    image[..., volume], label[..., volume] = IMAGES[phase], THEIRS[phase]
            save_nifti(image, f"data/Training/Labeled/{id_}/{id_}_sa.nii.gz")
            save_nifti(label, f"data/Training/Labeled/{id_}/{id_}_sa_gt.nii.gz")
        if table is not None:
            (tmp_path / "data" / name).write_text(table)
        return tmp_path / "data" / "Training" / "Labeled"

    return make


@pytest.fixture
def mnms2(save_nifti, tmp_path):
    def make():
        for id_ in ("002", "010"):
            for phase in ("ED", "ES"):
                save_nifti(IMAGES[phase], f"data/{id_}/{id_}_SA_{phase}.nii.gz")
                save_nifti(THEIRS[phase], f"data/{id_}/{id_}_SA_{phase}_gt.nii.gz")
                save_nifti(IMAGES[phase][..., :1], f"data/{id_}/{id_}_LA_{phase}.nii.gz")
            save_nifti(np.zeros((*SHAPE, 3), np.int16), f"data/{id_}/{id_}_SA_CINE.nii.gz")
        return tmp_path / "data"

    return make


@pytest.fixture
def nnunet(save_nifti, tmp_path):
    """Cases by name and phase, in nnU-Net's layout."""

    def make(cases=None, **changes):
        for case, phase in (cases or {"p1_frame01": "ED", "p1_frame03": "ES"}).items():
            save_nifti(IMAGES[phase], f"data/imagesTr/{case}_0000.nii.gz")
            save_nifti(THEIRS[phase], f"data/labelsTr/{case}.nii.gz")
        document = {key: value for key, value in {**JSON, **changes}.items() if value is not None}
        (tmp_path / "data" / "dataset.json").write_text(json.dumps(document))
        return tmp_path / "data"

    return make


def _assert_frames(patient):
    assert [frame.phase for frame in patient.frames] == ["ED", "ES"]
    for frame in patient.frames:
        image, label, geometry = load_frame(frame)
        np.testing.assert_array_equal(image, IMAGES[frame.phase])
        np.testing.assert_array_equal(label, OURS[frame.phase])
        assert geometry.shape == SHAPE
        assert geometry.spacing_mm == (1.5, 1.5, 8)


def _load_all(folder):
    return [load_frame(frame) for patient in read_patients(folder) for frame in patient.frames]


def _refused(folder, *words):
    """The words are in the message, be it on finding the patients or on loading them."""
    with pytest.raises(BadInputError) as caught:
        _load_all(folder)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


class TestMnMs:
    def test_patients(self, mnms):
        patients = read_patients(mnms())
        assert [(patient.id, patient.group) for patient in patients] == [("A1", "HCM"), ("B2", "NOR")]
        assert [[frame.index for frame in patient.frames] for patient in patients] == [[5, 3], [1, 4]]
        assert patients[0].cine_path.name == "A1_sa.nii.gz"
        for patient in patients:
            _assert_frames(patient)

    def test_csv_of_another_name_beside_others(self, mnms):
        folder = mnms(name="dataset_information.csv")
        (folder / "notes.csv").write_text("patient,remark\nA1,moved\n")
        assert len(read_patients(folder)) == 2

    def test_the_folder_above_is_told_where_to_look(self, mnms):
        folder = mnms()
        _refused(folder.parent.parent, "no known layout", f"try {folder}")

    def test_no_csv(self, mnms):
        _refused(mnms(table=None), "no CSV of M&Ms", "External code")

    def test_two_csvs(self, mnms):
        folder = mnms()
        (folder.parent.parent / "other.csv").write_text(TABLE)
        _refused(folder, "2 CSV files", "other.csv")

    def test_a_patient_that_is_not_in_the_csv(self, mnms):
        _refused(mnms(table=TABLE.replace("B2", "C3")), "patient B2", "is not in", "opendataset.csv")

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("A,1,4,2", "A,1,four,2", ("ED of A1 as 'four'",)),
            ("A,1,4,2", "A,1,,2", ("ED of A1 as ''",)),
            ("B,2,0,3", "B,2,0,0", ("ED and ES of B2 as the same phase, 0", "leave them out")),
            ("A,1,4,2", "A,1,9,2", ("A1_sa.nii.gz", "6 phases", "no phase 9")),
            ("A,1,4,2", "A,1,5,2", ("A1_sa_gt.nii.gz", "phase 5", "patient A1 is empty")),
        ],
    )
    def test_a_wrong_phase(self, mnms, old, new, words):
        _refused(mnms(table=TABLE.replace(old, new)), *words)

    def test_a_patient_without_labels(self, mnms):
        folder = mnms()
        (folder / "B2" / "B2_sa_gt.nii.gz").unlink()
        _refused(folder, "label map of B2 is missing", "Unlabeled")

    def test_labels_of_another_grid(self, mnms, save_nifti):
        folder = mnms()
        save_nifti(np.ones((6, 5, 3, 6), np.uint8), "data/Training/Labeled/A1/A1_sa_gt.nii.gz")
        _refused(folder, "A1_sa_gt.nii.gz", "(6, 5, 3)", "(6, 5, 4)")

    def test_a_3d_image(self, mnms, save_nifti):
        folder = mnms()
        save_nifti(IMAGES["ED"], "data/Training/Labeled/A1/A1_sa.nii.gz")
        _refused(folder, "A1_sa.nii.gz is 3D")


class TestMnMs2:
    def test_patients(self, mnms2):
        patients = read_patients(mnms2())
        assert [patient.id for patient in patients] == ["002", "010"]
        assert patients[0].cine_path.name == "002_SA_CINE.nii.gz"
        for patient in patients:
            _assert_frames(patient)

    @pytest.mark.parametrize("name", ["010_SA_ES.nii.gz", "010_SA_ED_gt.nii.gz", "010_SA_ES_gt.nii.gz"])
    def test_a_missing_file(self, mnms2, name):
        folder = mnms2()
        (folder / "010" / name).unlink()
        _refused(folder, "is missing", name)

    def test_a_label_that_nobody_knows(self, mnms2, save_nifti):
        folder = mnms2()
        save_nifti(np.full(SHAPE, 4, np.uint8), "data/002/002_SA_ED_gt.nii.gz")
        _refused(folder, "002_SA_ED_gt.nii.gz", "the value 4", "0 background, 1 LV, 2 MYO, 3 RV")


class TestNnUNet:
    @pytest.mark.parametrize(
        ("cases", "ids", "indices"),
        [
            ({"p1_frame01": "ED", "p1_frame12": "ES"}, ["p1"], [1, 12]),
            ({"p1_frame12": "ED", "p1_frame01": "ES"}, ["p1"], [12, 1]),
            ({"p1_ED": "ED", "p1_ES": "ES", "p2_ed": "ED", "p2_es": "ES"}, ["p1", "p2"], [1, 2]),
            ({"p1_0": "ES", "p1_1": "ED", "p2_0": "ES", "p2_1": "ED"}, ["p1", "p2"], [2, 1]),
            ({"A1_0000": "ED", "A1_0009": "ES"}, ["A1"], [1, 10]),
            (
                {"A1_0000_A_1": "ED", "A1_0009_A_1": "ES", "B2_0003_B_2": "ES", "B2_0024_B_2": "ED"},
                ["A1", "B2"],
                [1, 10],
            ),
        ],
    )
    def test_one_patients_frames_stay_together(self, nnunet, cases, ids, indices):
        patients = read_patients(nnunet(cases))
        assert [patient.id for patient in patients] == ids
        assert [frame.index for frame in patients[0].frames] == indices
        for patient in patients:
            _assert_frames(patient)

    def test_numbers_that_count_patients(self, nnunet):
        patients = read_patients(nnunet({"heart_001": "ED", "heart_002": "ED", "heart_003": "ES"}))
        assert [patient.id for patient in patients] == ["heart_001", "heart_002", "heart_003"]
        assert {frame.phase for patient in patients for frame in patient.frames} == {"unknown"}

    def test_frames_of_the_same_volume_have_no_phase(self, nnunet):
        (patient,) = read_patients(nnunet({"p1_frame01": "ED", "p1_frame02": "ED"}))
        assert [(frame.phase, frame.index) for frame in patient.frames] == [("unknown", 1), ("unknown", 2)]

    def test_labels_go_by_name(self, nnunet, save_nifti):
        folder = nnunet(labels={"background": 0, "Right_Ventricle": 7, "Myocardium": 5, "LVC": 2})
        for phase, case in (("ED", "p1_frame01"), ("ES", "p1_frame03")):
            save_nifti(np.array([0, 7, 5, 2], np.uint8)[OURS[phase]], f"data/labelsTr/{case}.nii.gz")
        _assert_frames(read_patients(folder)[0])

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"labels": {"background": 0, "LV": 1, "MYO": 2}}, ("no label for RV",)),
            ({"labels": {"background": 0, "LV": 1, "LVC": 4, "MYO": 2, "RV": 3}}, ("2 labels for LV: LV, LVC",)),
            ({"labels": {"background": 0, "LV": 1, "MYO": 2, "RV": 3, "LA": 4}}, ("'LA'", "none of ours")),
            ({"labels": {"background": 0, "LV": 1, "MYO": 2, "RV": 2}}, ("same number",)),
            ({"labels": {"background": 0, "LV": [1, 2], "MYO": 2, "RV": 3}}, ("no single numbers",)),
            ({"labels": {"0": "background", "1": "LV"}}, ("no single numbers", "version 1")),
            ({"labels": None}, ("no labels",)),
            ({"channel_names": {"0": "cine", "1": "LGE"}}, ("2 channels",)),
            ({"channel_names": None}, ("no channels",)),
            ({"file_ending": ".nrrd"}, ("'.nrrd'",)),
            ({"file_ending": None}, ("file_ending None",)),
        ],
    )
    def test_a_json_that_cannot_be_used(self, nnunet, changes, words):
        folder = nnunet(**changes)
        _refused(folder, str(folder / "dataset.json"), *words)

    def test_a_broken_json(self, nnunet):
        folder = nnunet()
        (folder / "dataset.json").write_text('{"labels": ')
        _refused(folder, "dataset.json is not JSON")

    def test_an_image_without_label(self, nnunet):
        folder = nnunet()
        (folder / "labelsTr" / "p1_frame03.nii.gz").unlink()
        _refused(folder, "imagesTr/p1_frame03_0000.nii.gz", "no label map")

    def test_a_label_without_image(self, nnunet):
        folder = nnunet()
        (folder / "imagesTr" / "p1_frame03_0000.nii.gz").unlink()
        _refused(folder, "labelsTr/p1_frame03.nii.gz", "no image")

    def test_a_second_channel(self, nnunet, save_nifti):
        folder = nnunet()
        save_nifti(IMAGES["ED"], "data/imagesTr/p1_frame01_0001.nii.gz")
        _refused(folder, "p1_frame01_0001.nii.gz", "CASE_0000")

    def test_a_case_with_another_ending(self, nnunet, save_nifti):
        folder = nnunet()
        for name in ("imagesTr/p2_ED_0000", "labelsTr/p2_ED"):
            save_nifti(IMAGES["ED"], f"data/{name}.nii")
        _refused(folder, "imagesTr/p2_ED_0000.nii", "would be passed over", "end in .nii.gz")

    def test_no_cases(self, nnunet):
        folder = nnunet(file_ending=".nii")
        _refused(folder, "no .nii files")

    def test_files_that_a_mac_leaves(self, nnunet):
        folder = nnunet()
        (folder / "labelsTr" / "._p1_frame01.nii.gz").write_bytes(b"\0")
        assert len(read_patients(folder)) == 1


def test_a_patient_is_recognised_in_another_layout(mnms2, nnunet, mnms, tmp_path):
    digests = {patient_digest(read_patients(mnms())[0])}
    digests.add(patient_digest(read_patients(nnunet())[0]))
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    digests.add(patient_digest(read_patients(mnms2())[0]))
    assert len(digests) == 1


class TestUnknownFolders:
    def test_missing(self, tmp_path):
        _refused(tmp_path / "none", "there is no data folder", "ACDC", "M&Ms", "M&Ms-2", "nnU-Net raw")

    def test_two_layouts_in_one(self, mnms2, make_patient):
        mnms2()
        _refused(make_patient(), "more than one layout: ACDC and M&Ms-2")

    def test_one_patient_of_mnms2(self, mnms2):
        folder = mnms2()
        _refused(folder / "010", "one patient", str(folder))

    def test_other_files(self, tmp_path):
        (tmp_path / "brain.nii.gz").touch()
        _refused(tmp_path, "it holds brain.nii.gz", "dataset.json", "_sa_gt.nii.gz", "SA_ED_gt", "Info.cfg")


class TestNnUNetFolds:
    """Folds that a data set brings with it, and what is said of who was counted as whom."""

    PEOPLE = ("p1", "p2", "p3", "p4")

    @pytest.fixture
    def folder(self, nnunet):
        """Four patients with an image of ED and one of ES each."""
        return nnunet({f"{person}_{phase}": phase for person in self.PEOPLE for phase in ("ED", "ES")}, numTraining=8)

    @staticmethod
    def write(folder, *folds, cases=None):
        """splits_final.json of folds that hold out some people each."""
        cases = cases or sorted(path.name.removesuffix(".nii.gz") for path in (folder / "labelsTr").iterdir())
        document = [
            {
                "train": [case for case in cases if not case.startswith(held)],
                "val": [case for case in cases if case.startswith(held)],
            }
            for held in folds
        ]
        (folder / "splits_final.json").write_text(json.dumps(document))

    def test_the_folds_of_the_data_set_are_used(self, folder, capsys):
        self.write(folder, ("p2",), ("p1", "p4"))
        patients = read_patients(folder)
        assert fold_count(patients) == 2
        assert split_patients(patients, 0) == Split(train=["p1", "p3", "p4"], validation=["p2"])
        assert split_patients(patients, 1) == Split(train=["p2", "p3"], validation=["p1", "p4"])
        assert split_patients(patients, None) == Split(train=list(self.PEOPLE), validation=[])
        assert [patient.id for patient in patients_of_fold(folder, 1)] == ["p1", "p4"]
        with pytest.raises(BadInputError, match=r"there is no fold 2: the data set brings 2 of its own"):
            split_patients(patients, 2)
        said = capsys.readouterr().err
        assert (
            "8 cases are counted as 4 patients, e.g. p1_ED, p1_ES as p1; folds are the 2 of splits_final.json" in said
        )

    def test_without_them_the_folds_are_ours(self, folder, capsys):
        patients = read_patients(folder)
        assert fold_count(patients) == 5
        assert split_patients(patients, 0) == split(self.PEOPLE, 0)
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "8 cases are counted as 4 patients" in said
        assert "put a splits_final.json" in said
        read_patients(folder)
        assert capsys.readouterr().err == ""

    def test_people_that_a_fold_leaves_out(self, folder):
        cases = [f"{person}_{phase}" for person in ("p1", "p2", "p3") for phase in ("ED", "ES")]
        self.write(folder, ("p3",), cases=cases)
        assert split_patients(read_patients(folder), 0) == Split(train=["p1", "p2"], validation=["p3"])

    def test_a_person_on_both_sides(self, folder):
        self.write(folder, ("p1",), ("p2_ED",))
        words = ("cases of the patient p2 on different sides of fold 1", "p2_ED (val)", "p2_ES (train)", "flatters")
        _refused(folder, *words)

    def test_the_file_knows_better_than_numbers_do(self, nnunet, capsys):
        names = [f"p{number}_{image}" for number in (1, 2, 3) for image in (0, 1, 2)]
        folder = nnunet(dict.fromkeys(names, "ED"))
        assert [patient.id for patient in read_patients(folder)] == ["p1", "p2", "p3"]
        # p2 is held out in part, so that its images are of several people.
        self.write(folder, ("p1", "p2_0"))
        patients = read_patients(folder)
        assert [patient.id for patient in patients] == ["p1", "p2_0", "p2_1", "p2_2", "p3"]
        assert split_patients(patients, 0).validation == ["p1", "p2_0"]
        remarks.begin()
        read_patients(folder)
        assert "9 cases are counted as 5 patients" in capsys.readouterr().err

    def test_letters_are_a_guess_as_well(self, nnunet):
        folder = nnunet(dict.fromkeys([f"x1_s{number}" for number in range(4)], "ED"))
        assert [patient.id for patient in read_patients(folder)] == ["x1"]
        self.write(folder, ("x1_s0",))
        assert [patient.id for patient in read_patients(folder)] == ["x1_s0", "x1_s1", "x1_s2", "x1_s3"]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{", ("cannot read nnU-Net's",)),
            ("[]", ("holds no folds",)),
            ('{"train": []}', ("holds no folds",)),
            ('[{"train": ["p1_ED"]}]', ("fold 0", "no list of cases for 'val'")),
            ('[{"train": [1], "val": []}]', ("fold 0", "no list of cases for 'train'")),
            ('[{"train": ["p1_ED"], "val": ["nobody"]}]', ("names the case nobody in fold 0",)),
            ('[{"train": ["p1_ED"], "val": ["p1_ED"]}]', ("the case p1_ED on both sides of fold 0",)),
        ],
    )
    def test_a_file_that_cannot_be_used(self, folder, text, words):
        (folder / "splits_final.json").write_text(text)
        _refused(folder, "splits_final.json", *words)

    @pytest.mark.parametrize(("held", "words"), [((), "nobody to hold out"), (("p",), "nobody to train on")])
    def test_a_fold_with_an_empty_side(self, folder, held, words):
        self.write(folder, held)
        with pytest.raises(BadInputError, match=words):
            split_patients(read_patients(folder), 0)

    def test_files_of_an_editor_that_marks_its_byte_order(self, folder):
        self.write(folder, ("p2",))
        for name in ("dataset.json", "splits_final.json"):
            (folder / name).write_text((folder / name).read_text(), encoding="utf-8-sig")
        assert split_patients(read_patients(folder), 0).validation == ["p2"]

    def test_cases_that_went_missing_are_said(self, folder, capsys):
        for part in ("imagesTr/p3_ED_0000", "labelsTr/p3_ED"):
            (folder / f"{part}.nii.gz").unlink()
        read_patients(folder)
        assert "7 cases are counted as 4 patients" in (said := capsys.readouterr().err)
        assert "dataset.json speaks of 8 cases" in said

    def test_slices_of_a_patient(self, nnunet, save_nifti):
        names = [f"case90{person}_{phase}_s{z:02d}" for person in (1, 2) for phase in ("ED", "ES") for z in range(3)]
        folder = nnunet({name: name.split("_")[1] for name in names})
        patients = read_patients(folder)
        assert [patient.id for patient in patients] == ["case901", "case902"]
        phases = [frame.phase for frame in patients[0].frames]
        assert phases == ["ED"] * 3 + ["ES"] * 3
        assert [frame.index for frame in patients[0].frames] == [1, 2, 3, 4, 5, 6]

    def test_two_visits_are_no_heart_beat(self, nnunet):
        """The one with more LV is no end diastole of the other."""
        (patient,) = read_patients(nnunet({"p1_visit1": "ED", "p1_visit2": "ES"}))
        assert [(frame.phase, frame.index) for frame in patient.frames] == [("unknown", 1), ("unknown", 2)]
