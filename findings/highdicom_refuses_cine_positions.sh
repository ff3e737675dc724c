#!/usr/bin/env bash
# Guess:      the images of a cine series, one slice at several times, make one DICOM Segmentation with a frame for
#             each, as the images of a stack do.
# Happens:    highdicom refuses them: "Plane positions must not contain duplicates." Position in space is the only
#             dimension that it gives a segmentation's frames, so that the frames of a cine can not be told apart,
#             although DICOM lets frames share a position and be indexed by time.
# Matters to: whoever returns masks of moving organs (cine MR of the heart) to a PACS: a test on a static stack passes,
#             the first real cine does not. One Segmentation for each time step is accepted.
# Versions:   highdicom 0.28.2, pydicom 3.0.2, numpy 2.4.6; Python 3.11
# Date:       2026-11-30
# Seen:       3 slices at one time: 3 frames
#             1 slice at 3 times: ValueError: Plane positions must not contain duplicates.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import highdicom
import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

print(", ".join(f"{name} {version(name)}" for name in ("highdicom", "pydicom", "numpy")))
STUDY, SERIES, FRAME_OF_REFERENCE = generate_uid(), generate_uid(), generate_uid()


def mr_image(number, z_mm, trigger_time_ms):
    """One single-frame MR image of 4 x 5 pixels at a position and a time of the heart's cycle."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    dataset.FrameOfReferenceUID = FRAME_OF_REFERENCE
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = "Doe^Jane", "17", "", ""
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20261130", "120000", "", ""
    dataset.ReferringPhysicianName, dataset.Modality = "", "MR"
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.TriggerTime = 1, number, trigger_time_ms
    dataset.Rows, dataset.Columns, dataset.PixelSpacing, dataset.SliceThickness = 4, 5, [1.4, 1.4], 8
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, z_mm]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelData = np.zeros((4, 5), np.uint16).tobytes()
    return dataset


def segmented(images):
    """The frames of a Segmentation of these images, or the words of the refusal."""
    ventricle = highdicom.seg.SegmentDescription(
        1, "left ventricle", codes.SCT.AnatomicalStructure, codes.SCT.LeftVentricle, "MANUAL"
    )
    mask_FHW = np.ones((len(images), 4, 5), bool)
    made_by = dict(manufacturer="m", manufacturer_model_name="n", software_versions="1", device_serial_number="1")
    try:
        segmentation = highdicom.seg.Segmentation(
            images, mask_FHW, "BINARY", [ventricle], generate_uid(), 2, generate_uid(), 1, **made_by
        )
    except ValueError as error:
        return f"{type(error).__name__}: {error}"
    return f"{segmentation.NumberOfFrames} frames"


stack = segmented([mr_image(number, 8.0 * number, 0) for number in (1, 2, 3)])
cine = segmented([mr_image(number, 0.0, 35.0 * number) for number in (1, 2, 3)])
single = [segmented([mr_image(number, 0.0, 35.0 * number)]) for number in (1, 2, 3)]
print(f"3 slices at one time: {stack}")
print(f"1 slice at 3 times: {cine}")
print(f"1 slice at 3 times, one Segmentation each: {single}")
print("expected: 3 frames each of the first two")
refusal = "ValueError: Plane positions must not contain duplicates."
sys.exit((stack, cine, single) != ("3 frames", refusal, ["1 frames"] * 3))
PY
