"""A mask as MRD images: a series of its own, where the slices lie, with class names and state."""

from __future__ import annotations

import json
from typing import Any

import ismrmrd
import numpy as np

from bedside.frames import Answer
from bedside.mrd.gather import Drop, Gathered
from bedside.mrd.scan import FrameKey
from cinert.data.nifti import CLASSES

SERIES_STEP = 1000
"""From the series of the images to that of their masks; scanners number the new series anew."""
# They name the source image: two objects with one UID would be taken for the same.
_IDENTITY = ("SOPInstanceUID", "SeriesInstanceUID")


def mask_images(gathered: Gathered, answer: Answer, *, bundle: str) -> list[Any]:
    """Make an `ismrmrd.Image` of each slice (uint16, class numbers), with the header of the slice that it belongs to.

    Args:
        gathered: the frame.
        answer: with a mask.
        bundle: digest, written beside the mask.

    Raises:
        ValueError: the answer has no mask.
    """
    if answer.mask is None:
        raise ValueError(f"a frame that {answer.state} has no mask to send")
    # (slice, row, column), the order of MRD's pixels.
    mask_ZYX, fresh = answer.mask.T, gathered.fresh
    slices_ZYX = np.ascontiguousarray(mask_ZYX if fresh is None else mask_ZYX[list(fresh)], dtype=np.uint16)
    result, start = [], 0
    for image in gathered.images:
        depth = image.matrix_size[2]
        head = image.getHead()
        head.image_type = ismrmrd.IMTYPE_MAGNITUDE
        head.image_series_index = (head.image_series_index + SERIES_STEP) % 2**16
        meta = _attributes(image, answer, bundle)
        if fresh is not None and answer.slice_age_ms is not None:
            meta["CineRT_slice_age_ms"] = f"{answer.slice_age_ms[fresh[start]]:.3f}"
            meta["CineRT_oldest_slice_ms"] = f"{max(answer.slice_age_ms):.3f}"
        result.append(ismrmrd.Image(head, data=slices_ZYX[None, start : start + depth], meta=meta))
        start += depth
    return result


def _attributes(image: Any, answer: Answer, bundle: str) -> Any:
    """What the client said about the image stays, its directions above all."""
    meta = ismrmrd.Meta({key: _given(value) for key, value in image.meta.items() if key not in _IDENTITY})
    meta.update(
        # "Quantitative": values are classes and must not be normalised.
        DataRole=["Segmentation", "Quantitative"],
        ImageProcessingHistory=["CineRT"],
        ImageType=["SEGMENTATION"],
        ImageComments=["CineRT", answer.state],
        SeriesDescriptionAdditional=["CineRT", "mask"],
        SequenceDescriptionAdditional="CineRT_mask",
        Keep_image_geometry=1,
        WindowCenter=len(CLASSES) // 2,
        WindowWidth=len(CLASSES),
        CineRT_classes=[f"{number} {name}" for number, name in enumerate(CLASSES)],
        CineRT_state=answer.state,
        CineRT_reason="".join(letter for letter in answer.told if letter.isprintable()),
        CineRT_frame_to_mask_ms=f"{answer.total_ms:.3f}",
        CineRT_bundle=bundle,
    )
    if answer.quality is not None:
        meta["CineRT_quality"] = f"{answer.quality:.3f}"
    return meta


def _given(value: Any) -> Any:
    """An attribute as it came; the package reads an empty one as None and would write the word."""
    if isinstance(value, list):
        return ["" if item is None else item for item in value]
    return "" if value is None else value


def declaration(drop: Drop, state: str = "dropped") -> str:
    """The text that answers a frame without a mask: JSON in one line, with the frame's numbers, state and reason."""
    named = {name: numbers for name, numbers in (("slices", drop.slices), ("phases", drop.phases)) if numbers}
    return json.dumps({"cinert": "frame", "state": state, "reason": drop.reason, **drop.key._asdict(), **named})


def read_declaration(text: str) -> tuple[FrameKey, str, str] | None:
    """Read what `declaration` wrote: key, state, reason; None for any other text."""
    try:
        document = json.loads(text)
        if document.get("cinert") != "frame":
            return None
        key = FrameKey(**{name: int(document[name]) for name in FrameKey._fields})
        return key, str(document["state"]), str(document["reason"])
    except (ValueError, AttributeError, KeyError, TypeError):
        return None
