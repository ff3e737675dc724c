"""What an image shows: a slice's grey values, or something else that lies in the same series.

Scanners put magnitude, phase, real and imaginary images of one acquisition into one series, and workstations add
projections, maps and screenshots. Sorted into a cine, each would pass for a moment of the beat.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from pydicom import Dataset

from cinert.data.dicom_values import text_of, value_of

GE_PRIVATE_TAGS = (0x0043_0010, 0x0043_102F)
"""Creator and value of GE's private image type, the only place where its scanners tell phase from magnitude."""
TAGS = (
    "ImageType", "ComplexImageComponent", "PhotometricInterpretation", "SamplesPerPixel", "BurnedInAnnotation",
    "Modality", *GE_PRIVATE_TAGS,
)  # fmt: skip

_GE_COMPONENTS = {1: "phase", 2: "real", 3: "imaginary"}
# Values of ImageType from the third on, underscores as spaces. Siemens writes P, Philips P_FFE or PHASE MAP, others
# DICOM's own terms (PS3.3, C.8.3.1.1.1 and C.8.16.1.3).
_WORDS = {
    "phase": r"P|P .+|PHASE|PHASE MAP",
    "real": r"R|R .+|REAL",
    "imaginary": r"I|I .+|IMAGINARY",
    "velocity": r"VELOCITY|VELOCITY MAP",
    "map": r".+ MAP|ADC",
    "projection": r"PROJECTION.*|MIP|MINIP|M[AI][XN] IP",
    "localiser": r"LOCALI[ZS]ER|SCOUT|SURVEY",
    "difference": r".*SUBTRACT.*|SUB",
    "sum": r".*ADDITION",
    "mosaic": r"MOSAIC",
    "screenshot": r"SCREEN ?SAVE",
}
_MR = ("", "MR", "OT")


def why_no_slice(dataset: Dataset) -> str | None:
    """Say why an image is none of a cine's: its kind, and the attribute that says so; None if it is."""
    component = text_of(dataset, "ComplexImageComponent").upper()
    if component in ("PHASE", "REAL", "IMAGINARY"):
        return f"{component.lower()} (ComplexImageComponent)"
    image_type = image_type_of(dataset)
    for value in image_type[2:]:
        for kind, pattern in _WORDS.items():
            if re.fullmatch(pattern, value.replace("_", " ")):
                return f"{kind} (ImageType {value})"
    if (ge := _ge_component(dataset)) is not None:
        return f"{ge} (GE's image type)"
    colours = text_of(dataset, "PhotometricInterpretation").upper()
    if colours not in ("", "MONOCHROME1", "MONOCHROME2") or text_of(dataset, "SamplesPerPixel") not in ("", "1"):
        return f"colour (PhotometricInterpretation {colours})"
    if text_of(dataset, "BurnedInAnnotation").upper() == "YES":
        return "text burned into the pixels (BurnedInAnnotation)"
    modality = text_of(dataset, "Modality").upper()
    return None if modality in _MR else f"no MR (Modality {modality})"


def image_type_of(dataset: Dataset) -> tuple[str, ...]:
    """Values of ImageType in capitals; none where the file does not say."""
    value = value_of(dataset, "ImageType") or ()
    return tuple(str(item).strip().upper() for item in ([value] if isinstance(value, str) else value))


def counted(kinds: Sequence[str]) -> str:
    """Kinds with their numbers of images, for people."""
    return ", ".join(f"{count} {kind}" for kind, count in Counter(kinds).most_common())


def _ge_component(dataset: Dataset) -> str | None:
    try:
        value = dataset.private_block(0x0043, "GEMS_PARM_01")[0x2F].value
    except KeyError:
        return None
    return _GE_COMPONENTS.get(value) if isinstance(value, int) else None
