"""Masks and states as OpenIGTLink messages (openigtlink.org), which 3D Slicer and navigation systems read."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from pyigtl.messages import ImageMessage, MessageBase

from bedside.frames import Answer, State
from cinert.data.nifti import CLASSES, Geometry

MASK_DEVICE, STATUS_DEVICE = "CineRT_mask", "CineRT_status"
"""Device names, to which the number of the source's place is appended; OpenIGTLink allows 20 characters."""

# Codes of STATUS: 1 ok, 2 unknown error, 6 busy, 7 time out, 13 not ready.
_CODES: dict[State, int] = {"live": 1, "late": 7, "stale": 7, "unsure": 13, "failed": 2, "dropped": 6}


class StatusMessage(MessageBase):
    """STATUS, which pyigtl 0.3.4 lacks: 16-bit code, 64-bit subcode, 20 bytes of name, text that ends with 0."""

    def __init__(self, code: int, name: str, text: str, *, device_name: str, timestamp: float) -> None:
        super().__init__(timestamp=timestamp, device_name=device_name)
        self._message_type = "STATUS"
        self._valid_message = True
        self.code, self.name, self.text = code, name, text

    def _pack_content(self) -> bytes:
        return struct.pack("> H q 20s", self.code, 0, self.name.encode("ascii")) + self.text.encode("utf-8") + b"\0"


def image_message(
    mask: NDArray[np.uint8], geometry: Geometry, answer: Answer, *, place: int, timestamp: float
) -> ImageMessage:
    """Make the IMAGE of a mask, with its state and class names as metadata (header version 2).

    Args:
        mask: (i, j, k), the axes of `geometry`.
        geometry: its affine maps (i, j, k) to world mm (Right, Anterior, Superior), which is the message's IJK to RAS.
        answer: state and latency.
        place: of the source.
        timestamp: seconds since 1970.
    """
    # pyigtl takes (k, j, i).
    message = ImageMessage(
        np.ascontiguousarray(mask.T),
        ijk_to_world_matrix=geometry.affine,
        world_coordinate_system="ras",
        timestamp=timestamp,
        device_name=f"{MASK_DEVICE}_{place}",
    )
    message.header_version = 2
    message.metadata = {
        "state": answer.state,
        "frame_to_mask_ms": f"{answer.total_ms:.3f}",
        "classes": ", ".join(f"{number} {name}" for number, name in enumerate(CLASSES)),
    }
    if answer.slice_age_ms is not None:
        message.metadata["slice_age_ms"] = ", ".join(f"{age_ms:.0f}" for age_ms in answer.slice_age_ms)
    return message


def status_message(state: State, reason: str, *, place: int, timestamp: float) -> StatusMessage:
    """Make the STATUS of a source: `live` is code 1 (ok), everything else is not."""
    return StatusMessage(
        _CODES[state], state, reason or state, device_name=f"{STATUS_DEVICE}_{place}", timestamp=timestamp
    )
