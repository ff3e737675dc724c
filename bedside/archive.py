"""Masks for the hospital's archive: one DICOM Segmentation per phase, which refers to the images it was made from.

A DICOM SEG (PS3.3, A.51) holds the mask of one moment; a cine has one for each phase, all in one series.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from bedside.archive_source import add_patient_and_study, plain_images, repeatable
from cinert import __version__
from cinert.colours import CLASS_COLOURS
from cinert.data.dicom_files import read_header
from cinert.data.dicom_header import Header
from cinert.data.dicom_series import read_stack
from cinert.data.dicom_values import READ_ERRORS, number_or_text, quiet_pydicom, reason_of, value_of
from cinert.data.nifti import CLASSES
from cinert.errors import BadInputError
from cinert.files import atomic_folder, check_writable

SERIES_STEP = 1000
"""From the number of the images' series to that of the masks."""

_RESEARCH = "RV, myocardium and LV; research software, not for diagnostic use"
_UNSURE = "UNSURE, not to be relied on; research software, no diagnosis"

# SNOMED CT concepts as TCIA and 3D Slicer name these structures.
_TYPES: dict[str, Code] = {
    "RV": codes.SCT.RightVentricle,
    "MYO": Code("74281007", "SCT", "Myocardium"),
    "LV": codes.SCT.LeftVentricle,
}
# A SEG is of one patient, study and frame of reference; these cannot be made up.
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")


class SegArchive:
    """Where the masks of one DICOM cine go. What they refer to is read and checked here, before any work.

    Args:
        folder: to write, new or empty.
        cine: folder of the series.
        series: as `cinert.data.cine.open_cine` takes them.

    Raises:
        BadInputError: the folder holds something or cannot be written; the cine is no DICOM folder, no regular stack,
            has an image that does not say what it belongs to, or lies in several frames of reference.
    """

    def __init__(self, folder: Path, cine: Path, series: Sequence[str] = ()) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadInputError(
                f"cannot write the DICOM masks to {folder}: it is no empty folder.", hint="choose a new folder."
            )
        check_writable(folder)
        if not cine.is_dir():
            raise BadInputError(
                f"--dicom-seg needs the DICOM images that the masks refer to, and {cine} is none of their folders.",
                hint="give the folder of the DICOM series as CINE.",
            )
        self.folder = folder
        with quiet_pydicom():
            self._stack, _ = read_stack(cine, series)  # its notes are said by who reads the pixels
            self.phases: list[list[Dataset]] = [
                [_read(images[phase]) for images in self._stack.images] for phase in range(len(self._stack.images[0]))
            ]
            """Headers of the images by phase, in the slices' order."""
            self._refuse_several_places(cine)
            kept = [repeatable(images[0]) for images in self.phases]
            self._known = [known for known, _ in kept]
            lost = sorted({name for _, names in kept for name in names})
            self.notes = [f"the DICOM masks do not repeat {name}: it holds what DICOM does not allow." for name in lost]
            """What the user should know, a sentence each."""
            # A series belongs to one study and one frame of reference.
            self._series = {_study_and_frame(images): generate_uid() for images in self.phases}
            self._rehearse(cine)

    def write(self, mask: NDArray[np.uint8], *, bundle: str, network: str = "", unsure: str = "") -> None:
        """Write `phase-001.dcm` and so on, whole or not at all.

        Args:
            mask: (x, y, z, t), the axes of `cinert.data.dicom.read_dicom_cine`: column, row, slice, phase.
            bundle: digest of the bundle that made the mask.
            network: whom it was trained on, in words, and
            unsure: why the masks are not to be relied on; each is written where it is not empty.

        Raises:
            BadInputError: the folder cannot be written.
            ValueError: the mask has another number of slices or phases than the images.
        """
        if mask.shape[2:] != (len(self.phases[0]), len(self.phases)):
            raise ValueError(f"a mask of shape {mask.shape} does not belong to images of {len(self.phases)} phases")
        notes = {"bundle": bundle, "network": network, "unsure": unsure}
        with atomic_folder(self.folder) as partial, quiet_pydicom():
            for phase in range(len(self.phases)):
                self._segmentation(phase, mask[..., phase], notes).save_as(partial / f"phase-{phase + 1:03d}.dcm")

    def _segmentation(self, phase: int, mask: NDArray[np.uint8], notes: Mapping[str, str]) -> Any:
        images, known = self.phases[phase], self._known[phase]
        segmentation = _segmentation(
            mask,
            plain_images(self._stack, phase, images, known),
            self._series[_study_and_frame(images)],
            series_number=_series_number(images[0]),
            number=phase + 1,
            notes=notes,
        )
        add_patient_and_study(segmentation, known, images)
        return segmentation

    def _refuse_several_places(self, cine: Path) -> None:
        for images in self.phases:
            if len({image.FrameOfReferenceUID for image in images}) > 1:
                raise BadInputError(
                    f"the slices in {cine} lie in several frames of reference, and a DICOM SEG is of one.",
                    hint="leave --dicom-seg out, or export the series again with its FrameOfReferenceUID.",
                )
        uids = Counter(image.SOPInstanceUID for images in self.phases for image in images)
        uid, times = uids.most_common(1)[0]
        if times > 1:
            raise BadInputError(
                f"{times} images in {cine} share the SOPInstanceUID {uid}, so that no mask can refer to one of them.",
                hint="leave --dicom-seg out, or export the series again.",
            )

    def _rehearse(self, cine: Path) -> None:
        """Write every mask to nowhere, empty: whatever the library does not take is known before the work."""
        columns, rows = self._stack.images[0][0].size[::-1]
        empty = np.zeros((columns, rows, len(self._stack.images)), dtype=np.uint8)
        try:
            for phase in range(len(self.phases)):
                self._segmentation(phase, empty, {"bundle": "0" * 64}).save_as(io.BytesIO(), enforce_file_format=True)
        except READ_ERRORS as error:
            raise BadInputError(
                f"the images in {cine} cannot be repeated in a DICOM SEG: {reason_of(error)}.",
                hint="leave --dicom-seg out.",
            ) from error


def _study_and_frame(images: Sequence[Dataset]) -> tuple[str, str]:
    return images[0].StudyInstanceUID, images[0].FrameOfReferenceUID


def _series_number(image: Dataset) -> int:
    """Of the masks, beside that of the images; DICOM's integers end at 2^31."""
    number = number_or_text(image, "SeriesNumber")
    return SERIES_STEP + (int(number) if isinstance(number, float) and 0 < number < 2**31 - SERIES_STEP else 0)


def _segmentation(
    mask: NDArray[np.uint8],
    sources: list[Dataset],
    series: str,
    *,
    series_number: int,
    number: int,
    notes: Mapping[str, str],
) -> Any:
    import highdicom as hd  # noqa: PLC0415 - slow to import, and only archives need it

    unsure = bool(notes.get("unsure"))
    algorithm = hd.AlgorithmIdentificationSequence(
        name="CineRT",
        family=codes.DCM.ArtificialIntelligence,
        version=__version__,
        parameters={name: words for name, words in notes.items() if words},
    )
    segments = [
        hd.seg.SegmentDescription(
            segment_number=label,
            segment_label=CLASSES[label],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=_TYPES[CLASSES[label]],
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            display_color=hd.color.CIELabColor.from_rgb(*CLASS_COLOURS[CLASSES[label].lower()]),
        )
        for label in range(1, len(CLASSES))
    ]
    return hd.seg.Segmentation(
        source_images=sources,
        # (slice, row, column), one for each source image.
        pixel_array=np.ascontiguousarray(mask.T),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=series,
        series_number=series_number,
        sop_instance_uid=generate_uid(),
        instance_number=number,
        manufacturer="CineRT",
        manufacturer_model_name="CineRT",
        software_versions=__version__,
        device_serial_number=notes["bundle"][:16],
        series_description=f"CineRT mask, phase {number}" + (", UNSURE" if unsure else ""),
        content_label="HEART",
        content_description=_UNSURE if unsure else _RESEARCH,
        # A phase in which nothing was found is said to be empty, not left out.
        omit_empty_frames=bool(mask.any()),
    )


def _read(header: Header) -> Dataset:
    """A header whose `_NEEDED` are there, each with one value."""
    dataset = read_header(header.path)
    for name in _NEEDED:
        value = value_of(dataset, name)
        if not isinstance(value, str) or "\\" in value:
            has = f"no {name}" if value is None else f"the {name} {value}"
            raise BadInputError(
                f"{header.path} has {has}, which a DICOM SEG has to repeat.",
                hint="export the series again, or leave --dicom-seg out.",
            )
        dataset.add_new(name, "UI", value)
    return dataset
