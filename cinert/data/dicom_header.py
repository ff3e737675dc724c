"""What the header of a DICOM image says; pixels are not read here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import UID

from cinert.data.dicom_files import ImageFile
from cinert.data.dicom_kind import image_type_of
from cinert.data.dicom_values import number_of, number_or_text, numbers_of, text_of, value_of
from cinert.errors import BadInputError

# What makes an image's contrast: all phases of a slice have it in common.
_CONTRAST = ("EchoTime", "EchoNumbers", "InversionTime", "FlipAngle", "DiffusionBValue")
TAGS = (
    "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "NumberOfFrames", "PixelSpacing", "ImagePositionPatient",
    "ImageOrientationPatient", "SliceLocation", "SpacingBetweenSlices", "SliceThickness", "NominalInterval",
    "TriggerTime", "TemporalPositionIdentifier", "InstanceNumber", "AcquisitionNumber", "AcquisitionTime",
    "CardiacNumberOfImages", "NumberOfTemporalPositions", "PatientID", "FrameOfReferenceUID", "PresentationLUTShape",
    "PresentationLUTSequence", "BitsStored", "HighBit", *_CONTRAST,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """One 2D image of a series (DICOM PS3.3, C.7.6.2 and C.8.3).

    Attributes:
        path: of the file.
        size: (rows, columns).
        spacing_mm: between rows, between columns.
        position_mm: centre of the first pixel, (Left, Posterior, Superior).
        orientation: direction along a row, then down a column; unit vectors.
        location_mm: SliceLocation, from an origin of the scanner's own; None where the file does not say.
        slice_step_mm: SpacingBetweenSlices or SliceThickness; None where the file says neither.
        inverted: whether low values are meant to be bright (MONOCHROME1).
        contrast: what makes the image's contrast, by DICOM's names; None where the file does not say.
        patient: PatientID, empty where the file does not say.
        frame_of_reference: FrameOfReferenceUID, empty where the file does not say.
        beat_ms: NominalInterval, R to R; None where the file does not say.
        trigger_ms: TriggerTime, since the R peak.
        temporal_position: TemporalPositionIdentifier.
        instance: InstanceNumber.
        acquisition: AcquisitionNumber.
        acquired_s: AcquisitionTime, since midnight.
        stated_phases: CardiacNumberOfImages and NumberOfTemporalPositions, where the file has them.
    """

    path: Path
    size: tuple[int, int]
    spacing_mm: tuple[float, float]
    position_mm: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
    location_mm: float | None
    slice_step_mm: float | None
    inverted: bool
    contrast: Mapping[str, float | str | None]
    patient: str
    frame_of_reference: str
    beat_ms: float | None
    trigger_ms: float | None
    temporal_position: float | None
    instance: float | None
    acquisition: float | None
    acquired_s: float | None
    stated_phases: Mapping[str, float]


def read_image_header(image: ImageFile) -> Header:
    """Read a header with every check that concerns one image alone.

    Raises:
        BadInputError: it does not say where the image lies, or says something that cannot be used.
    """
    path, dataset = image
    # An enhanced image keeps its geometry by frame, also where it has one frame only.
    if (number_of(dataset, "NumberOfFrames", path) or 1) > 1 or "Enhanced" in UID(text_of(dataset, "SOPClassUID")).name:
        raise BadInputError(
            f"{path} is a multi-frame DICOM file.", hint="convert it to classic DICOM or NIfTI, e.g. with dcm2niix."
        )
    row_mm, column_mm = numbers_of(dataset, "PixelSpacing", 2, path)
    x, y, z = numbers_of(dataset, "ImagePositionPatient", 3, path)
    a, b, c, d, e, f = numbers_of(dataset, "ImageOrientationPatient", 6, path)
    (rows,), (columns,) = numbers_of(dataset, "Rows", 1, path), numbers_of(dataset, "Columns", 1, path)
    if min(row_mm, column_mm, rows, columns) <= 0:
        raise BadInputError(f"{path} has {rows:g} x {columns:g} pixels of {row_mm:g} x {column_mm:g} mm.")
    across = math.hypot(a, b, c), math.hypot(d, e, f), a * d + b * e + c * f
    if max(abs(across[0] - 1), abs(across[1] - 1), abs(across[2])) > 1e-3:
        raise BadInputError(f"{path} has an ImageOrientationPatient that is not two perpendicular unit vectors.")
    _refuse_high_bit(dataset, path)
    stated = {name: _if_number(dataset, name) for name in ("CardiacNumberOfImages", "NumberOfTemporalPositions")}
    return Header(
        path=path,
        size=(int(rows), int(columns)),
        spacing_mm=(row_mm, column_mm),
        position_mm=(x, y, z),
        orientation=(a, b, c, d, e, f),
        location_mm=_if_number(dataset, "SliceLocation"),
        slice_step_mm=_if_number(dataset, "SpacingBetweenSlices") or _if_number(dataset, "SliceThickness"),
        inverted=_is_inverted(dataset, path),
        contrast={
            "ImageType": "\\".join(image_type_of(dataset)),
            **{name: number_or_text(dataset, name) for name in _CONTRAST},
        },
        patient=text_of(dataset, "PatientID"),
        frame_of_reference=text_of(dataset, "FrameOfReferenceUID"),
        beat_ms=_if_number(dataset, "NominalInterval"),
        trigger_ms=number_of(dataset, "TriggerTime", path),
        temporal_position=number_of(dataset, "TemporalPositionIdentifier", path),
        instance=number_of(dataset, "InstanceNumber", path),
        acquisition=_if_number(dataset, "AcquisitionNumber"),
        acquired_s=_seconds(text_of(dataset, "AcquisitionTime")),
        stated_phases={name: value for name, value in stated.items() if value is not None},
    )


def _is_inverted(dataset: Dataset, path: Path) -> bool:
    """MONOCHROME1 shows low values bright; a PresentationLUTShape has to agree (PS3.3, C.7.6.3.1.2 and C.11.6.1.2)."""
    photometric = text_of(dataset, "PhotometricInterpretation").upper()
    if not photometric:
        raise BadInputError(f"{path} has no PhotometricInterpretation.", hint="without it grey has no direction.")
    shape = text_of(dataset, "PresentationLUTShape").upper()
    inverted = photometric == "MONOCHROME1"
    if shape not in ("", "INVERSE" if inverted else "IDENTITY"):
        raise BadInputError(
            f"{path} is {photometric} with the PresentationLUTShape {shape}: one of them is wrong.",
            hint="export the series again without presentation settings.",
        )
    if value_of(dataset, "PresentationLUTSequence"):
        raise BadInputError(
            f"{path} has a PresentationLUTSequence, a curve for one printer or display.",
            hint="export the series again without presentation settings.",
        )
    return inverted


def _refuse_high_bit(dataset: Dataset, path: Path) -> None:
    stored, high = number_of(dataset, "BitsStored", path), number_of(dataset, "HighBit", path)
    if stored is not None and high is not None and high != stored - 1:
        raise BadInputError(
            f"{path} keeps its {stored:g} BitsStored below the HighBit {high:g}; only pixels whose lowest bit is bit 0"
            " can be read.",
            hint="convert it, e.g. with gdcmconv --raw.",
        )


def _if_number(dataset: Dataset, tag: str) -> float | None:
    """A number that nothing but a check hangs on; None where there is none."""
    value = number_or_text(dataset, tag)
    return value if isinstance(value, float) else None


def _seconds(time: str) -> float | None:
    """Seconds since midnight of a DICOM time, with or without colons; None where it is none."""
    digits = time.replace(":", "")
    if len(digits) < 6 or not digits[:6].isdigit():
        return None
    return int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + float(digits[4:])
