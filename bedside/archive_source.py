"""What a DICOM SEG repeats from the images that it is of: patient and study, their place, and who they are.

highdicom copies all of it from its source images and checks it in part: a birth date of which anonymisation left the
year, a character set that its list lacks, or slices that are series of their own end its work. So it gets images that
hold their place alone, and patient and study are copied beside it, as the images spell them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.config import RAISE
from pydicom.tag import BaseTag, Tag
from pydicom.uid import MRImageStorage
from pydicom.valuerep import DA, TM, validate_value

from cinert.data.dicom_header import Header
from cinert.data.dicom_stack import Stack
from cinert.data.dicom_values import READ_ERRORS, number_or_text

# Type 2 in DICOM: an image may leave them empty, and some exports leave them out.
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
_ACQUIRED_WITH = (
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber", "InstitutionName",
    "InstitutionalDepartmentName", "InstitutionAddress", "StationName", "PositionReferenceIndicator",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
_CHARACTER_SET = Tag("SpecificCharacterSet")
_SEXES = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F", "O": "O", "OTHER": "O"}
_PATIENT_GROUPS = (0x0010, 0x0012)
# Text is repeated as it is, however long: the archive knows the patient and the study by it.
_CHECKED_VRS = ("AS", "CS", "DA", "DS", "DT", "IS", "TM")


def repeatable(dataset: Dataset) -> tuple[Dataset, list[str]]:
    """Keep what another object may repeat of an image's header, and name what of the patient it cannot.

    Old spellings of dates and times, and words for the sex, are brought to today's. The name keeps its bytes and the
    character set, whatever that is.

    Args:
        dataset: header of an image.

    Returns:
        The attributes, and the names of those of patient and study that hold what DICOM does not allow there.
    """
    kept = Dataset()
    if any(np.atleast_1d(dataset.get("SpecificCharacterSet") or "")):
        kept.SpecificCharacterSet = dataset.SpecificCharacterSet
    lost = []
    for tag in dataset.keys():  # noqa: SIM118 - a dataset iterates over its elements, converted: some cannot be
        if tag.is_private or tag == _CHARACTER_SET:
            continue
        element = _element(dataset, tag)
        if element is not None and _can_be_written(element, kept):
            kept.add(element)
        elif tag.group in _PATIENT_GROUPS or _keyword(tag) in _MAY_BE_EMPTY:
            lost.append(_keyword(tag))
    return kept, lost


def plain_images(stack: Stack, phase: int, images: Sequence[Dataset], known: Dataset) -> list[Dataset]:
    """Images as highdicom wants them: of one series, one class and one study, with their place and nothing else.

    Args:
        stack: of the images.
        phase: counted from 0.
        images: headers of the phase, in the slices' order.
        known: what `repeatable` kept of the first.
    """
    step_mm = float(np.linalg.norm(stack.affine[:3, 2]))
    headers = [slices[phase] for slices in stack.images]
    # Scanners round what they write: highdicom compares directions and sizes to the last digit.
    shared = _item(
        SOPClassUID=MRImageStorage,
        StudyInstanceUID=images[0].StudyInstanceUID,
        SeriesInstanceUID=images[0].SeriesInstanceUID,
        FrameOfReferenceUID=images[0].FrameOfReferenceUID,
        Modality="MR",
        Rows=headers[0].size[0],
        Columns=headers[0].size[1],
        PixelSpacing=list(headers[0].spacing_mm),
        ImageOrientationPatient=list(headers[0].orientation),
        SliceThickness=_thickness_mm(images[0]) or step_mm,
        SpacingBetweenSlices=step_mm,
        **dict.fromkeys(_MAY_BE_EMPTY, ""),
    )
    for name in _ACQUIRED_WITH:
        if name in known:
            shared.add(known[name])
    return [_plain(header, image, shared) for header, image in zip(headers, images, strict=True)]


def add_patient_and_study(segmentation: Any, known: Dataset, images: Sequence[Dataset]) -> None:
    """Copy patient and study, and name the true series, study and class of every image, in place.

    Args:
        segmentation: highdicom's, made of `plain_images`.
        known: what `repeatable` kept of the first image.
        images: headers of the images.
    """
    # For highdicom's table of attributes. An element of its own: `known` shares the others with the first image.
    known.add_new("SOPClassUID", "UI", MRImageStorage)
    segmentation.copy_patient_and_study_information(known)
    if "SpecificCharacterSet" in known:
        segmentation.SpecificCharacterSet = known.SpecificCharacterSet
    classes = {image.SOPInstanceUID: image.SOPClassUID for image in images}

    def name_class(item: Dataset, element: DataElement) -> None:
        if element.keyword == "ReferencedSOPInstanceUID" and element.value in classes:
            item.ReferencedSOPClassUID = classes[element.value]

    own = segmentation.StudyInstanceUID
    segmentation.ReferencedSeriesSequence = _by_series([image for image in images if image.StudyInstanceUID == own])
    if others := sorted({image.StudyInstanceUID for image in images} - {own}):
        segmentation.StudiesContainingOtherReferencedInstancesSequence = [
            _item(StudyInstanceUID=study, ReferencedSeriesSequence=_by_series(
                [image for image in images if image.StudyInstanceUID == study]
            ))
            for study in others
        ]  # fmt: skip
    segmentation.walk(name_class)


def _plain(header: Header, image: Dataset, shared: Dataset) -> Dataset:
    plain = _item(SOPInstanceUID=image.SOPInstanceUID, ImagePositionPatient=list(header.position_mm))
    plain.update(shared)
    return plain


def _thickness_mm(image: Dataset) -> float | None:
    thickness = number_or_text(image, "SliceThickness")
    return thickness if isinstance(thickness, float) and thickness > 0 else None


def _item(**values: Any) -> Dataset:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item


def _by_series(images: Sequence[Dataset]) -> list[Dataset]:
    return [
        _item(
            SeriesInstanceUID=series,
            ReferencedInstanceSequence=[
                _item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
                for image in images
                if image.SeriesInstanceUID == series
            ],
        )
        for series in dict.fromkeys(image.SeriesInstanceUID for image in images)
    ]


def _keyword(tag: BaseTag) -> str:
    return DataElement(tag, "UN", b"").keyword or str(tag)


def _element(dataset: Dataset, tag: BaseTag) -> DataElement | None:
    """An element with a value that its VR allows, brought to it where that is beyond doubt; None otherwise."""
    try:
        element = dataset[tag]
        if element.is_empty or element.VR not in _CHECKED_VRS:
            return element
        values = [element.value] if element.VM == 1 else list(element.value)
        values = [_SEXES[str(value).strip().upper()] if element.keyword == "PatientSex" else _allowed(element.VR, value)
                  for value in values]  # fmt: skip
        return DataElement(tag, element.VR, values[0] if len(values) == 1 else values)
    except READ_ERRORS:
        return None


def _allowed(vr: str, value: Any) -> Any:
    """The value as today's DICOM spells it.

    Raises:
        ValueError: it cannot be.
    """
    text = str(value).strip()
    if vr == "DA":
        # ACR-NEMA had points, and other programs have dashes.
        text = re.sub(r"^(\d{4})[.\-/](\d{2})[.\-/](\d{2})$", r"\1\2\3", text)
        validate_value(vr, text, RAISE)
        DA(text)
        return text
    if vr == "TM":
        text = re.sub(r"^(\d{2}):(\d{2})(?::(\d{2}))?", r"\1\2\3", text)
        text = re.sub(r"(\.\d{6})\d+$", r"\1", text)
        validate_value(vr, text, RAISE)
        TM(text)
        return text
    validate_value(vr, text, RAISE)
    return value


def _can_be_written(element: DataElement, charset: Dataset) -> bool:
    alone = Dataset()
    if "SpecificCharacterSet" in charset:
        alone.SpecificCharacterSet = charset.SpecificCharacterSet
    alone.add(element)
    try:
        alone.save_as(io.BytesIO(), implicit_vr=False, little_endian=True)
    except READ_ERRORS:
        return False
    return True
