"""One frame in, one mask out: preprocessing, engine, inverse mapping, each timed. Free of torch."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cinert.backends.base import Runner
from cinert.bundle import Bundle
from cinert.data.grid import GridMap, PreprocessingSpec
from cinert.data.nifti import Geometry
from cinert.errors import BadInputError


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """A segmented frame and where its time went."""

    mask: NDArray[np.uint8]
    """Stored axes and shape of the frame; 0 background, 1 RV, 2 MYO, 3 LV."""
    preprocess_ms: float
    """Stored frame to the network's input."""
    engine_ms: float
    """Host to host: copies and inference."""
    inverse_ms: float
    """Logits to the mask on the stored grid."""
    total_ms: float
    """Frame in to mask out, on the wall clock: what the budget is held against."""


@functools.cache
def keep_blas_single_threaded() -> None:
    """Hold numpy's BLAS to one thread for the rest of the process.

    The matrices of pre- and postprocessing are too small to gain from a second thread, and BLAS's threads fight the
    engine's for the cores: on 2 busy cores a frame took 230 ms instead of 30 ms.
    """
    limit: Any = threadpool_limits  # untyped
    limit(limits=1, user_api="blas")


class FramePipeline:
    """Segments frames of one geometry with one runner; used from one thread. A context manager that closes the runner.

    Numpy's BLAS is held to one thread from then on (`keep_blas_single_threaded`).

    Example:
        with FramePipeline.from_bundle(open_bundle(folder)).bind(geometry) as pipeline:
            mask = pipeline.segment(frame).mask

    Args:
        runner: takes x_BCDHW, batch 1, one channel; gives logits_BCDHW.
        spec: the network's grid.

    Raises:
        BadInputError: the runner does not take one image on that grid.
    """

    def __init__(self, runner: Runner, spec: PreprocessingSpec) -> None:
        if tuple(runner.input_shapes) != ((1, 1, *spec.shape_DHW),):
            raise BadInputError(
                f"the engine takes inputs of shape {tuple(runner.input_shapes)}; a cine frame gives one image of shape"
                f" {(1, 1, *spec.shape_DHW)}."
            )
        keep_blas_single_threaded()
        self.runner = runner
        self.spec = spec
        self._grid: GridMap | None = None

    @classmethod
    def from_bundle(cls, bundle: Bundle, *, device: str = "auto", threads: int | None = None) -> Self:
        """Load the engine of an opened bundle; raises as `Bundle.load_runner` does."""
        return cls(bundle.load_runner(device=device, threads=threads), bundle.preprocessing)

    def bind(self, geometry: Geometry) -> Self:
        """Build the map to the network's grid and back once; every later frame has to lie on `geometry`."""
        self._grid = GridMap(geometry, self.spec)
        return self

    def segment(self, image_stored: NDArray[np.generic]) -> FrameResult:
        """Segment one frame.

        Args:
            image_stored: stored axes, any real type, of the bound geometry's shape.

        Raises:
            RuntimeError: `bind` was not called.
            ValueError: the frame does not lie on the bound geometry.
        """
        if self._grid is None:
            raise RuntimeError("bind the pipeline to a geometry before segmenting frames")
        start = time.perf_counter_ns()
        x_DHW = self._grid.to_network(image_stored)
        ready = time.perf_counter_ns()
        logits_BCDHW = self.runner.run(x_DHW[None, None])
        done = time.perf_counter_ns()
        mask = self._grid.logits_to_stored(logits_BCDHW[0])
        end = time.perf_counter_ns()
        return FrameResult(mask, (ready - start) / 1e6, (done - ready) / 1e6, (end - done) / 1e6, (end - start) / 1e6)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()
