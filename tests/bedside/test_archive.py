"""DICOM SEG: what another reader finds in it lies where the images lie."""

import json
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result
from pydicom import dcmread
from pydicom.uid import generate_uid

from bedside.archive import SegArchive
from bedside.cli import segment_cine
from cinert.data.dicom import read_dicom_cine

STUDY, FRAME_OF_REFERENCE = generate_uid(), generate_uid()


def identified(dataset, k, t) -> None:
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = STUDY, FRAME_OF_REFERENCE
    dataset.PatientID, dataset.PatientName, dataset.StudyDate = "P7", "Doe^Jane", "20261121"


def anonymous(dataset, k, t) -> None:
    dataset.FrameOfReferenceUID = FRAME_OF_REFERENCE


def run(*arguments: object) -> Result:
    return CliRunner().invoke(segment_cine, [str(argument) for argument in arguments])


@pytest.fixture
def dicom(write_dicom, ball, tmp_path: Path) -> Path:
    image, affine = ball
    tilted = np.eye(4)
    tilted[:3, :3] = np.linalg.qr([[0.9, -0.3, 0.3], [0.42, 0.76, -0.5], [-0.08, 0.57, 0.81]])[0]
    write_dicom(tmp_path / "dicom", image, tilted @ affine, order=list(range(9 * 6))[::-1], change=identified)
    return tmp_path / "dicom"


def test_every_voxel_lies_where_the_mask_has_it(make_bundle, dicom: Path, tmp_path: Path) -> None:
    result = run(make_bundle("ort"), dicom, "-o", tmp_path / "mask.nii.gz", "--dicom-seg", tmp_path / "seg")

    assert result.exit_code == 0, result.output
    mask = nib.load(tmp_path / "mask.nii.gz")
    values = np.asarray(mask.dataobj)
    assert values.any()
    files = sorted((tmp_path / "seg").iterdir())
    assert [path.name for path in files] == [f"phase-{number:03d}.dcm" for number in range(1, 7)]
    series = set()
    for phase, path in enumerate(files):
        seg = highdicom.seg.segread(path)
        volume = seg.get_volume(combine_segments=True)
        found = np.argwhere(volume.array)
        # highdicom's world is (Left, Posterior, Superior).
        world = np.diag([-1, -1, 1, 1]) @ volume.affine @ np.c_[found, np.ones(len(found))].T
        index = np.linalg.solve(mask.affine, world)[:3].round().astype(int)
        restored = np.zeros_like(values[..., phase])
        restored[tuple(index)] = volume.array[tuple(found.T)]
        np.testing.assert_array_equal(restored, values[..., phase])
        series.add(seg.SeriesInstanceUID)
        assert (seg.StudyInstanceUID, seg.FrameOfReferenceUID) == (STUDY, FRAME_OF_REFERENCE)
        assert (seg.PatientID, seg.InstanceNumber, seg.SeriesNumber) == ("P7", phase + 1, 1005)
    assert len(series) == 1


def test_segments_have_names_codes_and_the_images_they_are_of(dicom: Path, tmp_path: Path) -> None:
    cine = read_dicom_cine(dicom)
    mask = np.zeros(cine.image.shape, np.uint8)
    mask[10:20, 10:20, 3] = 2
    archive = SegArchive(tmp_path / "seg", dicom)

    archive.write(mask, bundle="c" * 64)

    seg = dcmread(tmp_path / "seg" / "phase-001.dcm")
    described = [
        (item.SegmentLabel, item.SegmentedPropertyTypeCodeSequence[0].CodeValue) for item in seg.SegmentSequence
    ]
    assert described == [("RV", "53085002"), ("MYO", "74281007"), ("LV", "87878005")]
    algorithm = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmParameters) == ("CineRT", "bundle=" + "c" * 64)
    sources = {item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    of_phase = {each.SOPInstanceUID for each in archive.phases[0]}
    assert sources == of_phase


def test_whom_the_network_saw_and_what_is_doubtful_is_written(dicom: Path, tmp_path: Path) -> None:
    mask = np.ones(read_dicom_cine(dicom).image.shape, np.uint8)
    words = {"network": "trained on 5 phantoms, on no patient", "unsure": "not plausible: LV was not found"}

    SegArchive(tmp_path / "seg", dicom).write(mask, bundle="c" * 64, **words)

    seg = dcmread(tmp_path / "seg" / "phase-001.dcm")
    algorithm = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    for name, text in words.items():
        assert f"{name}={text}" in algorithm.AlgorithmParameters
    assert "UNSURE" in seg.SeriesDescription
    assert "UNSURE" in seg.ContentDescription


@pytest.mark.parametrize("force", [False, True])
def test_masks_that_cannot_be_a_heart_are_archived_by_force_alone(
    nonsense_bundle: Path, dicom: Path, tmp_path: Path, force: bool
) -> None:
    words = ["-o", tmp_path / "mask.nii.gz", "--dicom-seg", tmp_path / "seg", "--report", tmp_path / "cine.json"]

    result = run(nonsense_bundle, dicom, *words, *(["--force"] if force else []))

    assert result.exit_code == (0 if force else 1), result.output
    assert (tmp_path / "seg").exists() == force
    assert (tmp_path / "mask.nii.gz").is_file()
    assert "MYO was not found" in json.loads((tmp_path / "cine.json").read_text())["unsure"]
    if force:
        seg = dcmread(tmp_path / "seg" / "phase-001.dcm")
        assert "UNSURE" in seg.SeriesDescription
        assert (
            "trained on nobody"
            in seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
        )
    else:
        assert "no DICOM Segmentation was written" in result.output


def test_an_empty_phase_is_written_as_empty(dicom: Path, tmp_path: Path) -> None:
    mask = np.zeros(read_dicom_cine(dicom).image.shape, np.uint8)
    archive = SegArchive(tmp_path / "seg", dicom)

    archive.write(mask, bundle="c" * 64)

    assert not highdicom.seg.segread(tmp_path / "seg" / "phase-006.dcm").get_volume(combine_segments=True).array.any()


class TestBadInput:
    def refused(self, result: Result, *words: str) -> None:
        assert result.exit_code == 2, result.output
        assert result.output.count("\n") == 1, result.output
        for word in words:
            assert word in result.output

    def test_a_nifti_has_no_images_to_refer_to(self, make_bundle, cine, tmp_path: Path) -> None:
        result = run(make_bundle("ort"), cine[0], "-o", tmp_path / "mask.nii.gz", "--dicom-seg", tmp_path / "seg")

        self.refused(result, "--dicom-seg needs the DICOM images", "cine.nii.gz")
        assert not (tmp_path / "mask.nii.gz").exists()

    def test_images_without_a_study(self, make_bundle, write_dicom, ball, tmp_path: Path) -> None:
        write_dicom(tmp_path / "dicom", *ball, change=anonymous)

        result = run(
            make_bundle("ort"), tmp_path / "dicom", "-o", tmp_path / "mask.nii.gz", "--dicom-seg", tmp_path / "seg"
        )

        self.refused(result, "has no StudyInstanceUID")
        assert not (tmp_path / "mask.nii.gz").exists()

    def test_a_folder_that_holds_something(self, make_bundle, dicom: Path, tmp_path: Path) -> None:
        before = sorted(dicom.iterdir())

        self.refused(
            run(make_bundle("ort"), dicom, "-o", tmp_path / "mask.nii.gz", "--dicom-seg", dicom), "no empty folder"
        )
        assert sorted(dicom.iterdir()) == before


def test_a_real_series(make_bundle, shared: Path, tmp_path: Path) -> None:
    folder = shared / "cine4d" / "dicom"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")

    result = run(make_bundle("ort"), folder, "-o", tmp_path / "mask.nii.gz", "--dicom-seg", tmp_path / "seg")

    assert result.exit_code == 0, result.output
    assert "Note: the DICOM masks" not in result.output
    mask = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
    for phase, path in enumerate(sorted((tmp_path / "seg").iterdir())):
        seg = highdicom.seg.segread(path)
        assert np.count_nonzero(seg.get_volume(combine_segments=True).array) == np.count_nonzero(mask[..., phase])
