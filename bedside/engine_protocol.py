"""What a server and its engine process say to each other; pixels go through `bedside.frame_memory`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bedside.frame_memory import Layout
from bedside.pipeline import FramePipeline
from cinert.data.nifti import Geometry


@dataclass(frozen=True, slots=True)
class Start:
    """What a process begins with. It is pickled once, so that every later process gets what the first one got."""

    load: Callable[[], FramePipeline]
    keep_warm_s: float
    """An engine that is idle for so long segments a frame of noise; 0 never does."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Asks for the mask of the frame in the shared memory; the answer is a `FrameResult` without it, or an error."""

    source: int
    geometry: Geometry
    layout: Layout


@dataclass(frozen=True, slots=True)
class Expect:
    """Says that frames of a new source will come, so that none of them waits for its buffers. It is not answered."""

    source: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Says that a source has left. It is not answered."""

    source: int
