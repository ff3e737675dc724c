"""One cine series out of a folder: its files, the series chosen, and what else lies in it left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cinert.data.dicom_files import ImageFile, find_images, refuse_broken
from cinert.data.dicom_header import TAGS, Header, read_image_header
from cinert.data.dicom_kind import TAGS as KIND_TAGS
from cinert.data.dicom_kind import counted, why_no_slice
from cinert.data.dicom_stack import SAME_SLICE_MM, Stack, sort_stack
from cinert.data.dicom_values import quiet_pydicom, text_of
from cinert.errors import BadInputError


def read_stack(folder: Path, series: Sequence[str] = ()) -> tuple[Stack, list[str]]:
    """Read the headers of the cine series in a folder and below, and put its images in order.

    Args:
        folder: of the files; their names and order do not matter.
        series: UIDs or numbers of the series to read, where there are several; they are joined to one stack.

    Returns:
        The images in order, and what the user should know of them, a sentence each.

    Raises:
        BadInputError: there is no cine, a file of it cannot be read, the series is not named, or it is not one regular
            stack of one acquisition.
    """
    with quiet_pydicom():
        images, broken = find_images(folder, [*TAGS, *KIND_TAGS])
        if not images:
            refuse_broken(broken, folder)
            raise BadInputError(
                f"{folder} holds no DICOM images.", hint="give the folder of one cine series, or a .nii.gz file."
            )
        chosen = _choose(images, series, folder)
        # Broken files between the images of other series are none of ours; where no image can be read, nobody knows.
        elsewhere = {image.path.parent for image in images} - {image.path.parent for image in chosen}
        refuse_broken([file for file in broken if file.path.parent not in elsewhere], folder)
        headers, notes = _slices_only(chosen, folder)
        stack = sort_stack(headers, folder)
    frames = {header.frame_of_reference for header in headers}
    if len(frames) > 1:
        notes.append(f"the images lie in {len(frames)} frames of reference; their positions are taken as of one.")
    return stack, notes


def _choose(images: Sequence[ImageFile], wanted: Sequence[str], folder: Path) -> list[ImageFile]:
    """Keep the images of the series wanted; several are taken as one stack, since some scanners store one per slice."""
    found = {_series(image): image for image in images}
    if not wanted:
        if len(found) > 1:
            raise BadInputError(
                f"{folder} holds {len(found)} series: {_listed(images)}.",
                hint="choose with --series NUMBER or UID, repeated where each slice is a series of its own.",
            )
        return list(images)
    chosen = set()
    for name in wanted:
        uids = [uid for uid, image in found.items() if name in (uid, text_of(image.dataset, "SeriesNumber"))]
        if len(uids) != 1:
            what = f"{len(uids)} series with the number {name}" if uids else f"no series {name}"
            raise BadInputError(f"{folder} holds {what}.", hint=f"it holds {_listed(images)}.")
        chosen.add(uids[0])
    return [image for image in images if _series(image) in chosen]


def _series(image: ImageFile) -> str:
    return text_of(image.dataset, "SeriesInstanceUID")


def _listed(images: Sequence[ImageFile]) -> str:
    shown = []
    for uid, first in {_series(image): image for image in images}.items():
        count = sum(_series(image) == uid for image in images)
        number, description = (text_of(first.dataset, name) for name in ("SeriesNumber", "SeriesDescription"))
        shown.append(f"{number or '(no number)'} {description!r} of {count} images, UID {uid}")
    return "; ".join(shown[:12]) + (f"; and {len(shown) - 12} more" if len(shown) > 12 else "")


def _slices_only(images: Sequence[ImageFile], folder: Path) -> tuple[list[Header], list[str]]:
    """Leave out what is no slice of a cine, and say so; refuse where nothing, or not every slice, is left."""
    kinds = [why_no_slice(image.dataset) for image in images]
    strange = [(image, kind) for image, kind in zip(images, kinds, strict=True) if kind is not None]
    kept = [image for image, kind in zip(images, kinds, strict=True) if kind is None]
    what = counted([kind for _, kind in strange])
    if not kept:
        raise BadInputError(
            f"the series in {folder} holds no magnitude images of slices, only {what}.",
            hint="choose the cine itself; scanners may store it as a series of its own.",
        )
    headers = [read_image_header(image) for image in kept]
    if not strange:
        return headers, []
    for image, kind in strange:
        if _is_alone(image, headers):
            raise BadInputError(
                f"{image.path} shows {kind}, and no magnitude image lies where it lies.",
                hint="export the series again, with all of its images.",
            )
    return headers, [f"{len(strange)} of {len(images)} images in {folder} are left out: {what}."]


def _is_alone(image: ImageFile, headers: Sequence[Header]) -> bool:
    """Whether an image is a slice of the stack by its place and size, but the stack has no other image of it."""
    try:
        header = read_image_header(image)
    except BadInputError:
        return False  # It does not lie anywhere.
    first = headers[0]
    if header.size != first.size or not np.allclose(header.orientation, first.orientation, atol=1e-3):
        return False
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    return all(
        abs(np.dot(np.subtract(header.position_mm, other.position_mm), normal)) >= SAME_SLICE_MM for other in headers
    )
