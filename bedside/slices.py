"""Stacks of which only some slices are fresh: the last state of a stack, and how old each of its slices is.

Interventions acquire one to three slices again and again. The network reads a stack, so each fresh slice takes its
place in the last stack that was seen, and the stack goes through the engine as it is then.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.frames import Answer, Frame
from cinert.data.nifti import Geometry

_SAME_PLACE_MM = 0.5
_SUPERSEDED = ("live", "late", "unsure")


class MovedError(Exception):
    """A slice that lies elsewhere than its stack has it: the scan was planned anew."""


class SliceUpdater:
    """The last state of one stack.

    Args:
        stack: the first state; its slices lie along the third axis.
        arrived_ns: of each slice.
    """

    def __init__(self, stack: Frame, arrived_ns: list[int]) -> None:
        self.geometry = stack.geometry
        self._slices_ZYX: NDArray[Any] = np.array(stack.image.T, order="C")
        self._arrived_ns = list(arrived_ns)

    def replace(self, number: int, pixels_YX: NDArray[Any], geometry: Geometry, arrived_ns: int) -> None:
        """Put a fresh slice into its place.

        Args:
            number: of the slice, along the third axis.
            pixels_YX: (row, column).
            geometry: of the slice, one voxel deep.
            arrived_ns: when it came.

        Raises:
            MovedError: it does not lie where the stack has this slice.
            ValueError: the stack's type cannot hold its values.
        """
        affine = self.geometry.affine.copy()
        affine[:3, 3] += number * affine[:3, 2]
        place = Geometry((*self.geometry.shape[:2], 1), affine)
        if not place.same_grid(geometry, tolerance_mm=_SAME_PLACE_MM):
            raise MovedError
        if not np.can_cast(pixels_YX.dtype, self._slices_ZYX.dtype):
            raise ValueError(f"{pixels_YX.dtype} values, the stack holds {self._slices_ZYX.dtype}")
        self._slices_ZYX[number] = pixels_YX
        self._arrived_ns[number] = arrived_ns

    def frame(self) -> Frame:
        """The stack as it is now. A copy: the next slice must not change a frame that waits for its turn."""
        newest = max(self._arrived_ns)
        return Frame(self._slices_ZYX.copy().T, self.geometry, newest, tuple(self._arrived_ns))


def with_ages(answer: Answer, frame: Frame) -> Answer:
    """The answer with the age of each slice now; as it is where the frame was acquired as a whole."""
    if frame.slice_arrived_ns is None:
        return answer
    now_ns = time.perf_counter_ns()
    return dataclasses.replace(
        answer, slice_age_ms=tuple((now_ns - arrived_ns) / 1e6 for arrived_ns in frame.slice_arrived_ns)
    )


def of_whole_stack(answer: Answer, *, stale_ms: float) -> Answer:
    """The answer for whoever shows the whole stack: `stale` where a slice is older than that.

    The fresh slices' own answer stays what it is; but a picture of the stack is no picture of the heart now.
    """
    ages = answer.slice_age_ms or ()
    stale = sum(age_ms > stale_ms for age_ms in ages)
    if not stale or answer.state not in _SUPERSEDED:
        return answer
    reason = f"{stale} of {len(ages)} slices are older than {stale_ms:g} ms, the oldest is {max(ages) / 1e3:.1f} s old"
    return dataclasses.replace(answer, state="stale", reason=f"{reason}; {answer.reason}" if answer.reason else reason)
