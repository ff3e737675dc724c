"""The clock that the minutes of a comparison are counted by, and how long a step takes by it.

Networks are given the same minutes, and a learning rate that falls to zero as a cosine has to know beforehand how many
steps there will be. So a few steps are timed first, and the number of epochs is fixed from them.
"""

from __future__ import annotations

import statistics
import time
from typing import Literal

import torch

Clock = Literal["wall", "cpu"]
"""`cpu` is the process's CPU time over its threads: what others do on the machine does not count."""


def now_s(clock: Clock) -> float:
    """Seconds since some moment."""
    return time.perf_counter() if clock == "wall" else time.process_time() / torch.get_num_threads()


class StepTimer:
    """Called after every step; knows how long one takes.

    Args:
        clock: to read.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._marks = [now_s(clock)]

    def __call__(self) -> None:
        """A step is over."""
        self._marks.append(now_s(self._clock))

    @property
    def step_s(self) -> float:
        """Median of all steps but the first, which meets cold caches; of that one where there is no other."""
        taken = [later - earlier for earlier, later in zip(self._marks, self._marks[1:], strict=False)]
        return statistics.median(taken[1:] or taken)
