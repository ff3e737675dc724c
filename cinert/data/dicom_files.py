"""The files of a folder: DICOM images, other DICOM objects, strangers, and images that cannot be read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydicom import Dataset, dcmread
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cinert.data.dicom_values import READ_ERRORS, reason_of, text_of
from cinert.errors import BadInputError

_IMAGE_SUFFIXES = {".dcm", ".ima", ".dicom"}
# A copy or download that was interrupted, and what was packed file by file.
_UNFINISHED_SUFFIXES = {".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".gz", ".bz2", ".xz"}
_SHOWN = 4


class ImageFile(NamedTuple):
    """A file that holds an image, and the attributes asked for."""

    path: Path
    dataset: Dataset


class BrokenFile(NamedTuple):
    """A file that ought to hold an image, and why it cannot be read."""

    path: Path
    reason: str


def find_images(folder: Path, tags: Sequence[str | int]) -> tuple[list[ImageFile], list[BrokenFile]]:
    """Read the headers of all images in a folder and below.

    Reports, presentation states, segmentations and the DICOMDIR are DICOM, but no images; they are passed over, and so
    are strangers. A file that is no DICOM although it ends as images do, or is named like those beside it, is broken.

    Args:
        folder: to look through.
        tags: of the attributes to read; those that say what kind of object it is are read as well.

    Raises:
        BadInputError: there is no such folder, or a folder below cannot be listed.
    """
    if not folder.is_dir():
        raise BadInputError(f"there is no DICOM folder {folder}.")
    images: list[ImageFile] = []
    broken: list[BrokenFile] = []
    strangers: list[BrokenFile] = []
    for path in _files(folder):
        prefixed = False
        try:
            prefixed = _has_prefix(path)
            dataset = read_header(path, tags)
        except READ_ERRORS as error:
            (broken if prefixed else strangers).append(BrokenFile(path, _reason_unread(path, error)))
            continue
        if _is_no_image(dataset):
            continue
        if "Rows" in dataset and "Columns" in dataset:
            images.append(ImageFile(path, dataset))
        elif prefixed:
            broken.append(BrokenFile(path, "it ends within its header"))
        else:
            strangers.append(BrokenFile(path, "empty" if path.stat().st_size == 0 else "no DICOM"))
    patterns = {_pattern(image.path.name) for image in images}
    broken += [file for file in strangers if ends_as_image(file.path) or _pattern(file.path.name) in patterns]
    return images, broken


def refuse_broken(broken: Sequence[BrokenFile], folder: Path) -> None:
    """Refuse a folder with broken images: without them the stack may look whole and be shorter.

    Raises:
        BadInputError: there are any; the line counts and names them.
    """
    if not broken:
        return
    named = ", ".join(f"{file.path.relative_to(folder)} ({file.reason})" for file in broken[:_SHOWN])
    more = f" and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
    what = "1 file that ought to be a DICOM image and" if len(broken) == 1 else (
        f"{len(broken)} files that ought to be DICOM images and"
    )  # fmt: skip
    raise BadInputError(
        f"{folder} holds {what} cannot be read: {named}{more}.",
        hint="copy them again, or take them out of the folder if they do not belong to the series.",
    )


def read_header(path: Path, tags: Sequence[str | int] | None = None) -> Dataset:
    """Read a file's attributes up to its pixels, also without the preamble that old exports lack.

    Args:
        path: of the file.
        tags: to read; None for all.

    Raises:
        READ_ERRORS: it cannot be read. A file that is no DICOM may give a dataset without any attribute.
    """
    wanted = None if tags is None else [Tag(tag) for tag in (*tags, "SOPClassUID", "Rows", "Columns")]
    return dcmread(path, stop_before_pixels=True, force=True, specific_tags=wanted)


def read_whole(path: Path) -> Dataset:
    """Read a file with its pixels. The transfer syntax is set as the file is encoded where it does not say.

    Raises:
        READ_ERRORS: it cannot be read.
    """
    dataset = dcmread(path, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        if "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
            raise ValueError("its pixels are compressed, and it does not say how")
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder by name, broken links too."""

    def refuse(error: OSError) -> None:
        raise BadInputError(f"cannot list {error.filename}: {error.strerror}.", hint="may you read it?") from error

    found = [
        Path(root) / name
        for root, _, names in os.walk(folder, onerror=refuse)
        for name in names
        # macOS keeps what its own file system knows of IM1.dcm in ._IM1.dcm.
        if not name.startswith("._")
    ]
    yield from (path for path in sorted(found) if path.is_file() or path.is_symlink())


def _has_prefix(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _reason_unread(path: Path, error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "a link to nothing"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "empty" if path.stat().st_size == 0 else reason_of(error)


def _is_no_image(dataset: Dataset) -> bool:
    """Whether a dataset says that it is something else than an image."""
    # The file meta information first: it is whole where the file was cut within its header.
    uid = UID(text_of(dataset.file_meta, "MediaStorageSOPClassUID") or text_of(dataset, "SOPClassUID"))
    if uid.name == str(uid):
        # Unknown: a private class, or nothing said. Private objects without pixels are no images either.
        return bool(uid) and "Rows" not in dataset
    return "Image" not in uid.name


def ends_as_image(path: Path) -> bool:
    """Whether a name ends as those of DICOM images do, also where a copy was not finished."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _UNFINISHED_SUFFIXES:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in _IMAGE_SUFFIXES


def _pattern(name: str) -> str:
    """What the names of one export have in common: `IM0007` and `IM0008`, or two hashes of one length."""
    stem, dot, suffix = name.lower().rpartition(".")
    if not dot:
        stem, suffix = suffix, ""
    if re.fullmatch(r"[0-9a-f-]{8,}", stem) and not stem.isdigit():
        return f"{len(stem)} hexadecimal digits.{suffix}"
    return re.sub(r"\d+", "#", name.lower())
