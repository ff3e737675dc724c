#!/usr/bin/env bash
# Guess:      highdicom makes a Segmentation of any image that pydicom reads; the character set of the patient's name is
#             taken over as it stands.
# Happens:    an image whose Specific Character Set begins with an empty value, the usual form of Japanese, Korean and
#             Chinese names with code extensions, is refused ("'' is not a valid SpecificCharacterSetValues"), even
#             where the name is plain ASCII. With the first value spelled out, Japanese passes and Korean does not: the
#             list's Korean member has the Japanese value 'ISO 2022 IR 159', and 'ISO 2022 IR 149' is nowhere in it.
# Matters to: whoever sells or runs segmentation in East Asian hospitals: every export of a patient there fails, and no
#             test on data from elsewhere shows it. specific_character_set="ISO_IR 192" is a way out.
# Versions:   highdicom 0.28.2, pydicom 3.0.2, numpy 2.4.6; Python 3.11
# Date:       2026-11-30
# Seen:       Japanese, usual form, ['', 'ISO 2022 IR 87']: ValueError: '' is not a valid SpecificCharacterSetValues
#             Korean, usual form, ['', 'ISO 2022 IR 149']: ValueError: '' is not a valid SpecificCharacterSetValues
#             highdicom's KOREAN_CODE_EXTENSIONS: ISO 2022 IR 159
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


def mr_image(character_set):
    """One single-frame MR image of 4 x 5 pixels, of a patient whose name is plain ASCII."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, generate_uid()
    dataset.SpecificCharacterSet = character_set
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    dataset.FrameOfReferenceUID = FRAME_OF_REFERENCE
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = "Doe^Jane", "17", "", ""
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20261130", "120000", "", ""
    dataset.ReferringPhysicianName, dataset.Modality = "", "MR"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
    dataset.Rows, dataset.Columns, dataset.PixelSpacing, dataset.SliceThickness = 4, 5, [1.4, 1.4], 8
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelData = np.zeros((4, 5), np.uint16).tobytes()
    return dataset


def segmented(image, **options):
    """The character set of a Segmentation of the image, or the words of the refusal."""
    ventricle = highdicom.seg.SegmentDescription(
        1, "left ventricle", codes.SCT.AnatomicalStructure, codes.SCT.LeftVentricle, "MANUAL"
    )
    mask_FHW = np.ones((1, 4, 5), bool)
    made_by = dict(manufacturer="m", manufacturer_model_name="n", software_versions="1", device_serial_number="1")
    try:
        segmentation = highdicom.seg.Segmentation(
            [image], mask_FHW, "BINARY", [ventricle], generate_uid(), 2, generate_uid(), 1, **made_by, **options
        )
    except ValueError as error:
        return f"{type(error).__name__}: {error}"
    return f"accepted, {segmentation.SpecificCharacterSet}"


SETS = {
    "Unicode": "ISO_IR 192",
    "Japanese, usual form": ["", "ISO 2022 IR 87"],
    "Japanese, first value spelled out": ["ISO 2022 IR 6", "ISO 2022 IR 87"],
    "Korean, usual form": ["", "ISO 2022 IR 149"],
    "Korean, first value spelled out": ["ISO 2022 IR 6", "ISO 2022 IR 149"],
    "Chinese, usual form": ["", "ISO 2022 IR 58"],
}
accepted = []
for name, character_set in SETS.items():
    outcome = segmented(mr_image(character_set))
    print(f"{name}, {character_set}: {outcome}")
    if outcome.startswith("accepted"):
        accepted.append(name)
korean = highdicom.SpecificCharacterSetValues["KOREAN_CODE_EXTENSIONS"].value
print(f"highdicom's KOREAN_CODE_EXTENSIONS: {korean}")
way_out = segmented(mr_image(["", "ISO 2022 IR 149"]), specific_character_set="ISO_IR 192")
print(f"Korean, usual form, with specific_character_set='ISO_IR 192': {way_out}")
print("expected: all are accepted; KOREAN_CODE_EXTENSIONS is ISO 2022 IR 149")
seen = (["Unicode", "Japanese, first value spelled out"], "ISO 2022 IR 159", "accepted, ISO_IR 192")
sys.exit((accepted, korean, way_out) != seen)
PY
