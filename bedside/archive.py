"""Masks for the hospital's archive: one DICOM Segmentation per phase, which refers to the images it was made from.

A DICOM SEG (PS3.3, A.51) holds the mask of one moment; a cine has one for each phase, all in one series.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from bedside.overlay_style import CLASS_COLOURS
from cinert import __version__
from cinert.data.dicom_header import Header, choose_series, read_headers
from cinert.data.dicom_stack import sort_stack
from cinert.data.nifti import CLASSES
from cinert.errors import BadInputError
from cinert.files import atomic_folder, check_writable

SERIES_STEP = 1000
"""From the number of the images' series to that of the masks."""

# SNOMED CT concepts as TCIA and 3D Slicer name these structures.
_TYPES: dict[str, Code] = {
    "RV": codes.SCT.RightVentricle,
    "MYO": Code("74281007", "SCT", "Myocardium"),
    "LV": codes.SCT.LeftVentricle,
}
# A SEG is of one patient, study and frame of reference; these cannot be made up.
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
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


class SegArchive:
    """Where the masks of one DICOM cine go. What they refer to is read and checked here, before any work.

    Args:
        folder: to write, new or empty.
        cine: folder of the series.
        series: as `cinert.data.cine.open_cine` takes them.

    Raises:
        BadInputError: the folder holds something or cannot be written; the cine is no DICOM folder, no regular stack,
            or has an image that does not say what it belongs to.
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
        stack = sort_stack(choose_series(read_headers(cine), series, cine), cine)
        self.folder = folder
        self.phases: list[list[Dataset]] = [
            [_read(images[phase]) for images in stack.images] for phase in range(len(stack.images[0]))
        ]
        """Headers of the images by phase, in the slices' order."""

    def write(self, mask: NDArray[np.uint8], *, bundle: str) -> None:
        """Write `phase-001.dcm` and so on, whole or not at all.

        Args:
            mask: (x, y, z, t), the axes of `cinert.data.dicom.read_dicom_cine`: column, row, slice, phase.
            bundle: digest of the bundle that made the mask.

        Raises:
            BadInputError: the folder cannot be written.
            ValueError: the mask has another number of slices or phases than the images.
        """
        if mask.shape[2:] != (len(self.phases[0]), len(self.phases)):
            raise ValueError(f"a mask of shape {mask.shape} does not belong to images of {len(self.phases)} phases")
        series = generate_uid()
        with atomic_folder(self.folder) as partial, warnings.catch_warnings():
            # The name is the hospital's to choose.
            warnings.filterwarnings("ignore", message="The string .* is unlikely to represent", category=UserWarning)
            for phase, sources in enumerate(self.phases):
                segmentation = _segmentation(mask[..., phase], sources, series, number=phase + 1, bundle=bundle)
                segmentation.save_as(partial / f"phase-{phase + 1:03d}.dcm")


def _segmentation(mask: NDArray[np.uint8], sources: list[Dataset], series: str, *, number: int, bundle: str) -> Any:
    import highdicom as hd  # noqa: PLC0415 - slow to import, and only archives need it

    algorithm = hd.AlgorithmIdentificationSequence(
        name="CineRT",
        family=codes.DCM.ArtificialIntelligence,
        version=__version__,
        parameters={"bundle": bundle},
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
        series_number=int(sources[0].get("SeriesNumber") or 0) + SERIES_STEP,
        sop_instance_uid=generate_uid(),
        instance_number=number,
        manufacturer="CineRT",
        manufacturer_model_name="CineRT",
        software_versions=__version__,
        device_serial_number=bundle[:16],
        series_description=f"CineRT mask, phase {number}",
        content_label="HEART",
        content_description="RV, myocardium and LV; research software, not for diagnostic use",
        # A phase in which nothing was found is said to be empty, not left out.
        omit_empty_frames=bool(mask.any()),
    )


def _read(header: Header) -> Dataset:
    dataset = dcmread(header.path, stop_before_pixels=True)
    if missing := [name for name in _NEEDED if not dataset.get(name)]:
        raise BadInputError(
            f"{header.path} has no {missing[0]}, which a DICOM SEG has to repeat.",
            hint="export the series again, or leave --dicom-seg out.",
        )
    for name in _MAY_BE_EMPTY:
        if name not in dataset:
            setattr(dataset, name, "")
    return dataset
