"""A DICOM SEG repeats patient and study as the images spell them, or it is refused before the work."""

import contextlib
import warnings
from collections import Counter
from pathlib import Path

import highdicom
import numpy as np
import pytest
from click.testing import CliRunner, Result
from pydicom import Dataset, config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import generate_uid

from bedside.archive import SegArchive
from bedside.cli import segment_cine
from cinert.errors import BadInputError

SHAPE = (8, 6, 3, 2)
IMAGE = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)
AFFINE = np.diag([-1.5, -1.25, 8.0, 1.0])
MASK = np.random.default_rng(1).integers(0, 4, SHAPE).astype(np.uint8)
STUDY, FRAME_OF_REFERENCE = generate_uid(), generate_uid()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dicom"


@pytest.fixture
def images(write_dicom, folder):
    """Writes the cine with attributes set on every image, or by `change(dataset, slice, phase)`; gives its headers."""

    def write(change=None, **values) -> dict[str, Dataset]:
        def put(dataset, k, t):
            dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = STUDY, FRAME_OF_REFERENCE
            dataset.PatientID, dataset.PatientName, dataset.StudyDate = "P7", "Doe^Jane", "20261121"
            for name, value in values.items():
                if isinstance(value, bytes):  # what pydicom does not let one write
                    tag = Tag(name)
                    dataset[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
                else:
                    setattr(dataset, name, value)
            if change is not None:
                change(dataset, k, t)

        with config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write_dicom(folder, IMAGE, AFFINE, change=put)
            found = [dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
            return {image.SOPInstanceUID: image for image in found}

    return write


@pytest.fixture
def archived(folder, tmp_path):
    """Archives the mask; gives the archive and the SEGs, read by highdicom."""

    def archive(*series) -> tuple[SegArchive, list]:
        archive = SegArchive(tmp_path / "seg", folder, series)
        archive.write(MASK, bundle="c" * 64)
        segs = [highdicom.seg.segread(path) for path in sorted((tmp_path / "seg").iterdir())]
        for phase, seg in enumerate(segs):
            found = seg.get_volume(combine_segments=True).array
            for label in (1, 2, 3):
                assert (found == label).sum() == (MASK[..., phase] == label).sum()
        return archive, segs

    return archive


def raw(dataset: Dataset, name: str) -> bytes:
    return bytes(dataset.get_item(name).value)


@pytest.mark.parametrize(("charset", "name"), [
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ("ISO_IR 6", "Test^A"),
    ("", "Test^A"),
    ("ISO 2022 IR 100", "Müller^Jörg"),
    ("ISO_IR 100", "Müller^Jörg"),
    ("ISO_IR 144", "Иванов^Иван"),
    ("ISO_IR 192", "Müller^山田"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
    (["", "ISO 2022 IR 58"], "Zhang^XiaoDong=张^小东"),
    (None, "Doe^Jane"),
    ("ISO_IR 100", "one name"),
    ("ISO_IR 100", ""),
    ("ISO_IR 100", "A^B^C^D^E"),
])  # fmt: skip
def test_the_name_is_the_images(images, archived, tmp_path, charset, name):
    values = {} if charset is None else {"SpecificCharacterSet": charset}
    image = next(iter(images(**values, PatientName=name).values()))

    _, segs = archived()

    for seg in segs:
        assert seg.PatientName == image.PatientName
        assert str(seg.PatientName).startswith(name.split("=", maxsplit=1)[0])
    written = dcmread(next((tmp_path / "seg").iterdir()))
    assert raw(written, "PatientName") == raw(dcmread(next((tmp_path / "dicom").iterdir())), "PatientName")


def test_a_name_beyond_its_character_set_keeps_its_bytes(images, archived, folder, tmp_path):
    """UTF-8 under no character set, as many exports have it."""
    images(PatientName="Doe^XXYYJane")
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"XXYY", "üä".encode()))

    archived()

    assert raw(dcmread(next((tmp_path / "seg").iterdir())), "PatientName").strip() == "Doe^üäJane".encode()


@pytest.mark.parametrize("charset", ["ISO_IR 999", "latin1", ["ISO 2022 IR 87", "ISO 2022 IR 87"]])
def test_a_character_set_that_nobody_knows(images, archived, charset):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images(SpecificCharacterSet=charset, PatientName="Doe^Jane")
        _, segs = archived()
        assert {str(seg.PatientName) for seg in segs} == {"Doe^Jane"}


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("PatientSex", "Male", "M"),
    ("PatientSex", "f", "F"),
    ("PatientSex", "unknown", ""),
    ("PatientBirthDate", "1970", ""),
    ("PatientBirthDate", "19700000", ""),
    ("PatientBirthDate", "1970.04.05", "19700405"),
    ("PatientBirthDate", "1970-04-05", "19700405"),
    ("PatientBirthDate", "05/04/1970", ""),
    ("PatientBirthDate", "ANONYMIZED", ""),
    ("PatientBirthDate", "20260230", ""),
    ("StudyDate", "00000000", ""),
    ("StudyDate", "2026-01-02", "20260102"),
    ("StudyTime", "12:00:00", "120000"),
    ("StudyTime", "12:34:56.5", "123456.5"),
    ("StudyTime", "120000.1234567", "120000.123456"),
    ("StudyTime", "250000", ""),
    ("StudyTime", "noon", ""),
    ("StudyTime", "1200", "1200"),
])  # fmt: skip
def test_sex_dates_and_times_are_brought_to_order_or_left_empty(images, archived, name, value, expected):
    images(**{name: value})

    archive, segs = archived()

    assert {str(seg.get(name) or "") for seg in segs} == {expected}
    lost = [f"the DICOM masks do not repeat {name}: it holds what DICOM does not allow."] if not expected else []
    assert archive.notes == lost


@pytest.mark.parametrize(("name", "value", "note"), [
    ("PatientWeight", b"heavy ", True),
    ("PatientAge", "45", True),
    ("EthnicGroup", "x" * 40, False),
    ("PatientID", b"7" * 80, False),
    ("AccessionNumber", "A" * 30, False),
    ("StudyID", "a\\b", False),
    ("PatientName", "Doe\\Jane", False),
    ("SeriesNumber", b"fifth ", False),
    ("SeriesNumber", "-3", False),
    ("SeriesNumber", "2147483647", False),
    ("SliceThickness", "", False),
    ("SliceThickness", b"thick ", False),
    ("SOPClassUID", "1.3.46.670589.11.0.0.12.1", False),
    ("LossyImageCompression", "no", False),
    ("Manufacturer", "a\\b", False),
    ("PositionReferenceIndicator", "x" * 80, False),
])  # fmt: skip
def test_whatever_else_anonymisers_leave(images, archived, name, value, note):
    found = images(**{name: value})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # highdicom's reader warns, as of the images
        archive, segs = archived()

        assert bool(archive.notes) == note
        for seg in segs:
            assert seg.PatientID == ("7" * 80 if name == "PatientID" else "P7")
            assert seg.SeriesNumber in (1000, 1005)
            for item in seg.SourceImageSequence:
                assert item.ReferencedSOPClassUID == found[item.ReferencedSOPInstanceUID].SOPClassUID


def test_what_is_as_dicom_has_it_is_repeated(images, archived):
    values = {"PatientWeight": "32", "PatientAge": "045Y", "PatientSize": "1.75", "PatientSex": "O"}
    images(**values, PatientBirthDate="19700405", StudyTime="120000.5")

    archive, segs = archived()

    assert archive.notes == []
    for seg in segs:
        assert {name: str(seg[name].value) for name in values} == values
        assert (seg.PatientBirthDate, seg.StudyTime, seg.StudyDate) == ("19700405", "120000.5", "20261121")


def test_what_is_missing_is_left_empty(images, archived):
    def change(dataset, k, t):
        del dataset.PatientID, dataset.PatientName, dataset.StudyDate

    images(change)
    archive, segs = archived()
    assert archive.notes == []
    for seg in segs:
        assert [str(seg[name].value or "") for name in ("PatientID", "PatientName", "StudyDate", "PatientSex")] == [
            ""
        ] * 4


def test_the_scanner_is_named(images, archived):
    images(Manufacturer="SCANNER AG", StationName="MR2")
    _, segs = archived()
    equipment = segs[0].ContributingEquipmentSequence[0]
    assert (equipment.Manufacturer, equipment.StationName) == ("SCANNER AG", "MR2")
    assert segs[0].Manufacturer == "CineRT"


def test_directions_that_were_rounded_apart(images, archived):
    def change(dataset, k, t):
        dataset.ImageOrientationPatient = [1, 0.0004 * k, 0, 0, 1, 0]
        dataset.PixelSpacing = [f"{1.25 + 0.0001 * k:.4f}", "1.5"]

    images(change)
    archived()


def test_directions_of_three_digits(images, archived):
    def change(dataset, k, t):
        dataset.ImageOrientationPatient = [0.707, 0.707, 0, -0.707, 0.707, 0]

    images(change)
    archived()


def test_a_single_slice(write_dicom, folder, tmp_path):
    def change(dataset, k, t):
        dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = STUDY, FRAME_OF_REFERENCE

    write_dicom(folder, IMAGE[:, :, :1], AFFINE, change=change)
    SegArchive(tmp_path / "seg", folder).write(MASK[:, :, :1], bundle="c" * 64)

    volume = highdicom.seg.segread(tmp_path / "seg" / "phase-001.dcm").get_volume(combine_segments=True)
    np.testing.assert_array_equal(volume.array[0].T, MASK[:, :, 0, 0])
    assert volume.spacing == pytest.approx((8, 1.25, 1.5))


class TestJoined:
    """Each image is found under its own study and series; a series of masks is of one study and frame of reference."""

    def references(self, seg) -> Counter:
        own = [(seg.StudyInstanceUID, series) for series in seg.ReferencedSeriesSequence]
        others = [
            (study.StudyInstanceUID, series)
            for study in seg.get("StudiesContainingOtherReferencedInstancesSequence") or ()
            for series in study.ReferencedSeriesSequence
        ]
        return Counter(
            (study, series.SeriesInstanceUID, item.ReferencedSOPInstanceUID)
            for study, series in own + others
            for item in series.ReferencedInstanceSequence
        )

    def check(self, found, segs) -> None:
        named = sum((self.references(seg) for seg in segs), Counter())
        assert named == Counter((image.StudyInstanceUID, image.SeriesInstanceUID, uid) for uid, image in found.items())

    def test_a_series_for_each_slice(self, images, archived):
        uids = [generate_uid() for _ in range(SHAPE[2])]

        def change(dataset, k, t):
            dataset.SeriesInstanceUID, dataset.SeriesNumber = uids[k], 5 + k

        found = images(change)
        _, segs = archived("5", "6", "7")
        self.check(found, segs)
        assert len({seg.SeriesInstanceUID for seg in segs}) == 1

    def test_a_study_for_each_phase(self, images, archived):
        uids = [generate_uid() for _ in range(SHAPE[3])]

        def change(dataset, k, t):
            dataset.StudyInstanceUID, dataset.StudyID = uids[t], str(t)

        found = images(change)
        _, segs = archived()
        self.check(found, segs)
        assert [(seg.StudyInstanceUID, seg.StudyID) for seg in segs] == [(uids[0], "0"), (uids[1], "1")]
        assert len({seg.SeriesInstanceUID for seg in segs}) == 2

    def test_a_study_for_each_slice(self, images, archived):
        uids = [generate_uid() for _ in range(SHAPE[2])]

        def change(dataset, k, t):
            dataset.StudyInstanceUID = uids[k]

        found = images(change)
        _, segs = archived()
        self.check(found, segs)
        assert {seg.StudyInstanceUID for seg in segs} == {uids[0]}

    def test_a_frame_of_reference_for_each_phase(self, images, archived):
        uids = [generate_uid() for _ in range(SHAPE[3])]

        def change(dataset, k, t):
            dataset.FrameOfReferenceUID = uids[t]

        found = images(change)
        _, segs = archived()
        self.check(found, segs)
        assert [seg.FrameOfReferenceUID for seg in segs] == uids
        assert len({seg.SeriesInstanceUID for seg in segs}) == 2


def run(*arguments: object) -> Result:
    return CliRunner().invoke(segment_cine, [str(argument) for argument in arguments])


class TestRefused:
    """In one line, before any work: nothing is written."""

    @pytest.fixture
    def refused(self, ort_bundle, folder, tmp_path):
        def refused(*words: str) -> None:
            before = sorted(tmp_path.rglob("*"))
            result = run(ort_bundle, folder, "-o", tmp_path / "mask.nii.gz", "--dicom-seg", tmp_path / "seg")
            assert result.exit_code == 2, result.output
            assert result.output.count("\n") == 1, result.output
            for word in words:
                assert word in result.output
            assert sorted(tmp_path.rglob("*")) == before

        return refused

    def test_a_frame_of_reference_for_each_slice(self, images, refused):
        uids = [generate_uid() for _ in range(SHAPE[2])]

        def change(dataset, k, t):
            dataset.FrameOfReferenceUID = uids[k]

        images(change)
        refused("lie in several frames of reference", "leave --dicom-seg out")

    @pytest.mark.parametrize("name", ["StudyInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID", "SOPClassUID"])
    @pytest.mark.parametrize("value", ["", "1.2\\1.3"])
    def test_what_it_belongs_to_is_not_said(self, images, refused, name, value):
        with contextlib.suppress(TypeError):  # two identities of one image cannot be looked up by this test either
            images(**{name: value})
        refused(f"has no {name}" if not value else f"has the {name}")

    def test_two_images_of_one_name(self, images, refused):
        images(SOPInstanceUID="1.2.3")
        refused("6 images", "share the SOPInstanceUID 1.2.3")

    def test_what_the_library_refuses(self, images, refused, monkeypatch):
        def refuse(*args, **values):
            raise ValueError("a check\nof a later version")

        images()
        monkeypatch.setattr(highdicom.seg, "Segmentation", refuse)
        refused("cannot be repeated in a DICOM SEG: a check of a later version.", "leave --dicom-seg out")


def test_notes_are_said_once_and_the_work_is_done(images, ort_bundle, folder, tmp_path):
    images(PatientBirthDate="1970")
    # The made-up heart fills its field of view.
    result = run(ort_bundle, folder, "-o", tmp_path / "mask.nii.gz", "--dicom-seg", tmp_path / "seg", "--force")
    assert result.exit_code == 0, result.output
    assert result.output.count("Note: the DICOM masks do not repeat PatientBirthDate") == 1
    assert len(list((tmp_path / "seg").iterdir())) == SHAPE[3]


def test_a_mask_of_another_cine(images, folder, tmp_path):
    images()
    archive = SegArchive(tmp_path / "seg", folder)
    with pytest.raises(ValueError, match="does not belong"):
        archive.write(MASK[..., :1], bundle="c" * 64)
    assert not (tmp_path / "seg").exists()


def test_series_of_two_patients(write_dicom, folder, tmp_path):
    for k in range(2):
        moved = AFFINE.copy()
        moved[2, 3] = 8 * k

        def change(dataset, *_, k=k):
            dataset.PatientID = f"P{k}"

        write_dicom(folder / str(k), IMAGE[:, :, :1], moved, number=5 + k, change=change)
    with pytest.raises(BadInputError, match="mixes patients"):
        SegArchive(tmp_path / "seg", folder, ["5", "6"])
