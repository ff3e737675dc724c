"""Values of DICOM attributes, also of those that are not what their VR allows."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from cinert.errors import BadInputError

# What pydicom and its decoders raise on files that are cut short, or whose values are not what their tags allow.
READ_ERRORS = (
    OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError, RuntimeError,
    ArithmeticError, MemoryError, AssertionError, struct.error, zlib.error, BytesLengthException, InvalidDicomError,
)  # fmt: skip


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom's warnings from the user: values are judged where they are used, and reported as one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def reason_of(error: BaseException) -> str:
    """What a library said, as the end of a sentence."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def value_of(dataset: Dataset, tag: str) -> Any:
    """A value as its VR gives it, or as stored where its VR does not allow it; None where there is none."""
    try:
        value: Any = dataset.get(tag)
    except READ_ERRORS:
        raw = dataset.get_item(tag)
        stored = None if raw is None else raw.value
        value = stored.decode("ascii", "backslashreplace").strip(" \0") if isinstance(stored, bytes) else stored
    return None if value == "" else value


def text_of(dataset: Dataset, tag: str) -> str:
    """A value as text, empty where there is none."""
    value = value_of(dataset, tag)
    return "" if value is None else str(value).strip()


def number_of(dataset: Dataset, tag: str, path: Path) -> float | None:
    """A number; None where there is none.

    Raises:
        BadInputError: there is something else. It is refused because order or place may hang on it.
    """
    value = number_or_text(dataset, tag)
    if isinstance(value, str):
        raise BadInputError(f"{path} has the {tag} {value}.", hint="it takes a number.")
    return value


def number_or_text(dataset: Dataset, tag: str) -> float | str | None:
    """A number, or what is there in place of one; None where there is nothing."""
    value = value_of(dataset, tag)
    if value is None:
        return None
    try:
        number = float(value)
    except (ValueError, TypeError):
        return str(value)
    return number if math.isfinite(number) else str(value)


def numbers_of(dataset: Dataset, tag: str, count: int, path: Path) -> list[float]:
    """Numbers that have to be there.

    Raises:
        BadInputError: there are none, or not as many as `count`.
    """
    value = value_of(dataset, tag)
    if value is None:
        raise BadInputError(f"{path} has no {tag}.", hint="without it nobody knows where the image lies.")
    try:
        values = [float(item) for item in (value if count > 1 else [value])]
    except (ValueError, TypeError):
        values = []
    if len(values) != count or not all(math.isfinite(item) for item in values):
        raise BadInputError(f"{path} has the {tag} {value}.", hint=f"it takes {count} number{'s' * (count > 1)}.")
    return values
