"""What the headers of DICOM images say, and which series they belong to; pixels are not read here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from cinert.errors import BadInputError

_TAGS = [
    "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "NumberOfFrames", "Rows", "Columns", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "SpacingBetweenSlices", "SliceThickness", "NominalInterval",
    "TriggerTime", "TemporalPositionIdentifier", "InstanceNumber",
]  # fmt: skip
# What pydicom raises on files that are cut short, or whose values are not what their tags allow.
READ_ERRORS = (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """One 2D image of a series (DICOM PS3.3, C.7.6.2 and C.8.3).

    Attributes:
        path: of the file.
        series: SeriesInstanceUID.
        number: SeriesNumber, empty where the file does not say.
        description: SeriesDescription, empty where the file does not say.
        size: (rows, columns).
        spacing_mm: between rows, between columns.
        position_mm: centre of the first pixel, (Left, Posterior, Superior).
        orientation: direction along a row, then down a column; unit vectors.
        slice_step_mm: SpacingBetweenSlices or SliceThickness; None where the file says neither.
        beat_ms: NominalInterval, R to R; None where the file does not say.
        trigger_ms: TriggerTime, since the R peak.
        temporal_position: TemporalPositionIdentifier.
        instance: InstanceNumber.
    """

    path: Path
    series: str
    number: str
    description: str
    size: tuple[int, int]
    spacing_mm: tuple[float, float]
    position_mm: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
    slice_step_mm: float | None
    beat_ms: float | None
    trigger_ms: float | None
    temporal_position: float | None
    instance: float | None


def read_headers(folder: Path) -> list[Header]:
    """Read the headers of all DICOM images in a folder and below; other files are passed over.

    Raises:
        BadInputError: there is no such folder, it holds no DICOM image, or a header cannot be used.
    """
    if not folder.is_dir():
        raise BadInputError(f"there is no DICOM folder {folder}.")
    headers = [header for path in sorted(folder.rglob("*")) if path.is_file() and (header := _read(path)) is not None]
    if not headers:
        raise BadInputError(
            f"{folder} holds no DICOM images.", hint="give the folder of one cine series, or a .nii.gz file."
        )
    return headers


def choose_series(headers: Sequence[Header], wanted: Sequence[str], folder: Path) -> list[Header]:
    """Keep the images of the series wanted; several are taken as one stack, since some scanners store one per slice.

    Args:
        headers: of a folder.
        wanted: series UIDs or numbers; empty where the folder holds one series only.
        folder: named in errors.

    Raises:
        BadInputError: several series and none wanted, or one wanted that is not there or not unique.
    """
    found = {header.series: header for header in headers}
    if not wanted:
        if len(found) > 1:
            raise BadInputError(
                f"{folder} holds {len(found)} series: {_listed(headers)}.",
                hint="choose with --series NUMBER or UID, repeated where each slice is a series of its own.",
            )
        return list(headers)
    chosen = set()
    for name in wanted:
        uids = [uid for uid, header in found.items() if name in (uid, header.number)]
        if len(uids) != 1:
            what = f"{len(uids)} series with the number {name}" if uids else f"no series {name}"
            raise BadInputError(f"{folder} holds {what}.", hint=f"it holds {_listed(headers)}.")
        chosen.add(uids[0])
    return [header for header in headers if header.series in chosen]


def _listed(headers: Sequence[Header]) -> str:
    shown = []
    for uid, first in {header.series: header for header in headers}.items():
        count = sum(header.series == uid for header in headers)
        shown.append(f"{first.number or '(no number)'} {first.description!r} of {count} images, UID {uid}")
    return "; ".join(shown[:12]) + (f"; and {len(shown) - 12} more" if len(shown) > 12 else "")


def _read(path: Path) -> Header | None:
    try:
        dataset = dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        # Reports, presentation states and the DICOMDIR are DICOM files, but no images.
        if "Rows" not in dataset:
            return None
        if int(dataset.get("NumberOfFrames") or 1) > 1:
            raise BadInputError(
                f"{path} is a multi-frame DICOM file.", hint="convert it to classic DICOM or NIfTI, e.g. with dcm2niix."
            )
        return _header(dataset, path)
    except InvalidDicomError:
        return None
    except READ_ERRORS as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise BadInputError(f"cannot read the DICOM file {path}: {reason}.", hint="copy it again.") from error


def _header(dataset: Dataset, path: Path) -> Header:
    row_mm, column_mm = _numbers(dataset, "PixelSpacing", 2, path)
    x, y, z = _numbers(dataset, "ImagePositionPatient", 3, path)
    a, b, c, d, e, f = _numbers(dataset, "ImageOrientationPatient", 6, path)
    (rows,), (columns,) = _numbers(dataset, "Rows", 1, path), _numbers(dataset, "Columns", 1, path)
    if min(row_mm, column_mm, rows, columns) <= 0:
        raise BadInputError(f"{path} has {rows:g} x {columns:g} pixels of {row_mm:g} x {column_mm:g} mm.")
    across = math.hypot(a, b, c), math.hypot(d, e, f), a * d + b * e + c * f
    if max(abs(across[0] - 1), abs(across[1] - 1), abs(across[2])) > 1e-3:
        raise BadInputError(f"{path} has an ImageOrientationPatient that is not two perpendicular unit vectors.")
    return Header(
        path=path,
        series=str(dataset.get("SeriesInstanceUID") or ""),
        number=_text(dataset, "SeriesNumber"),
        description=_text(dataset, "SeriesDescription"),
        size=(int(rows), int(columns)),
        spacing_mm=(row_mm, column_mm),
        position_mm=(x, y, z),
        orientation=(a, b, c, d, e, f),
        slice_step_mm=_number(dataset, "SpacingBetweenSlices") or _number(dataset, "SliceThickness"),
        beat_ms=_number(dataset, "NominalInterval"),
        trigger_ms=_number(dataset, "TriggerTime"),
        temporal_position=_number(dataset, "TemporalPositionIdentifier"),
        instance=_number(dataset, "InstanceNumber"),
    )


def _numbers(dataset: Dataset, tag: str, count: int, path: Path) -> list[float]:
    value: Any = dataset.get(tag)
    if value is None or value == "":
        raise BadInputError(f"{path} has no {tag}.", hint="without it nobody knows where the image lies.")
    values = [float(item) for item in (value if count > 1 else [value])]
    if len(values) != count or not all(math.isfinite(item) for item in values):
        raise BadInputError(f"{path} has the {tag} {values}.", hint=f"it takes {count} numbers.")
    return values


def _number(dataset: Dataset, tag: str) -> float | None:
    value: Any = dataset.get(tag)
    number = None if value is None or value == "" else float(value)
    return number if number is not None and math.isfinite(number) else None


def _text(dataset: Dataset, tag: str) -> str:
    value: Any = dataset.get(tag)
    return "" if value is None else str(value)
