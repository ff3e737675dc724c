#!/usr/bin/env bash
# Guess:      copy.copy(dataset), or dataset.group_dataset(0x0010), behaves as a copied dict does: to assign
#             copy.PatientName leaves the original alone.
# Happens:    in pydicom a shallow copy is a second handle on the same elements: an assignment to it, and even a
#             deletion in it, changes the original. A group taken from a file changes the original only if somebody
#             had LOOKED at the element before: reading it makes the shared object that both then hold.
# Matters to: whoever writes the patient of a source image into a segmentation or report, or de-identifies a copy: the
#             original is renamed as well, and one log line that prints the name decides whether. Use copy.deepcopy.
# Versions:   pydicom 3.0.2; Python 3.11
# Date:       2026-11-30
# Seen:       copy.copy(original), name not read before: the original's name is now Anonymous
#             original.group_dataset(0x0010), name not read before: the original's name is now Doe^Jane
#             original.group_dataset(0x0010), name read before: the original's name is now Anonymous
#             del copy.copy(original).PatientID: the original has lost it
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pydicom==3.0.2
"$folder/venv/bin/python" - <<'PY'
import copy
import io
import sys
from importlib.metadata import version

import pydicom
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

print("pydicom", version("pydicom"))


def as_read():
    """An MR image's head, written to a DICOM file in memory and read from it."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.PatientName = "Doe^Jane"
    dataset.PatientID = "17"
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    file.seek(0)
    return pydicom.dcmread(file)


WAYS = {
    "copy.copy(original)": copy.copy,
    "original.group_dataset(0x0010)": lambda original: original.group_dataset(0x0010),
    "copy.deepcopy(original)": copy.deepcopy,
}
names = []
for way, copied in WAYS.items():
    for looked in (False, True):
        original = as_read()
        if looked:
            str(original.PatientName)
        other = copied(original)
        other.PatientName = "Anonymous"
        names.append(str(original.PatientName))
        print(f"{way}, name {'read' if looked else 'not read'} before: the original's name is now {names[-1]}")
original = as_read()
del copy.copy(original).PatientID
deleted = "PatientID" not in original
print(f"del copy.copy(original).PatientID: the original has {'lost it' if deleted else 'kept it'}")
print("expected: the original keeps its name and its ID in every line")
seen = ["Anonymous", "Anonymous", "Doe^Jane", "Anonymous", "Doe^Jane", "Doe^Jane"]
sys.exit(names != seen or not deleted)
PY
