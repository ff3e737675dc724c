"""One frame in, one mask out: localiser, preprocessing, engine, inverse mapping, score, each timed. Free of torch."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bedside.follow import LOOK_FRAMES, CropFollower
from bedside.plausibility import PlausibilityGate
from bedside.quality import Quality, QualityScorer, Scorer
from bedside.quality_features import found_box
from cinert.backends.base import Runner
from cinert.bundle import Bundle
from cinert.data.grid import PreprocessingSpec
from cinert.data.localiser import Localiser
from cinert.data.nifti import Geometry
from cinert.errors import BadInputError

STAGES = ("localise", "preprocess", "engine", "inverse", "quality")
"""Where a frame's time goes, in this order; what `total` has beyond them is a few microseconds."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FrameResult:
    """A segmented frame and where its time went."""

    mask: NDArray[np.uint8]
    """Stored axes and shape of the frame; 0 background, 1 RV, 2 MYO, 3 LV."""
    localise_ms: float
    """Moving the crop to the heart, and finding it there where the last mask does not say where it is."""
    preprocess_ms: float
    """Stored frame to the network's input."""
    engine_ms: float
    """Host to host: copies and inference."""
    inverse_ms: float
    """Logits to the mask on the stored grid."""
    quality_ms: float
    """Judging and scoring the mask, and learning from it where the heart is."""
    total_ms: float
    """Frame in to mask out, on the wall clock: what the budget is held against."""
    quality: Quality | None = None
    """How far the mask can be relied on; None without a scorer."""
    implausible: str = ""
    """Why no heart looks like that, or why the crop may have cut it off; empty where neither."""

    def stage_ms(self, stage: str) -> float:
        """Time of one of `STAGES`, or `total`."""
        value: float = getattr(self, f"{stage}_ms")
        return value


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

    With a localiser the crop follows the heart (`bedside.follow`); without one it is centred on the image. Numpy's BLAS
    is held to one thread from then on (`keep_blas_single_threaded`).

    Example:
        with FramePipeline.from_bundle(open_bundle(folder)).bind(geometry) as pipeline:
            mask = pipeline.segment(frame).mask
            pipeline.look(frame)  # once the mask is out, in the time to the next frame

    Args:
        runner: takes x_BCDHW, batch 1, one channel; gives logits_BCDHW.
        spec: the network's grid.
        localiser: finds the heart where no mask says where it is.
        scorer: says how far each mask can be relied on.
        gate: says which masks cannot be a heart.
        look_frames: frames from one look of the localiser in spare time to the next; 0 never looks.

    Raises:
        BadInputError: the runner does not take one image on that grid.
    """

    def __init__(
        self,
        runner: Runner,
        spec: PreprocessingSpec,
        localiser: Localiser | None = None,
        scorer: Scorer | None = None,
        gate: PlausibilityGate | None = None,
        look_frames: int = LOOK_FRAMES,
    ) -> None:
        if tuple(runner.input_shapes) != ((1, 1, *spec.shape_DHW),):
            raise BadInputError(
                f"the engine takes inputs of shape {tuple(runner.input_shapes)}; a cine frame gives one image of shape"
                f" {(1, 1, *spec.shape_DHW)}."
            )
        keep_blas_single_threaded()
        self.runner = runner
        self.spec = spec
        self.localiser = localiser
        self.scorer = scorer
        self.gate = gate
        self._follower = CropFollower(spec, localiser, look_frames)
        self._x_BCDHW = np.zeros((1, 1, *spec.shape_DHW), np.float32)

    @classmethod
    def from_bundle(
        cls, bundle: Bundle, *, device: str = "auto", threads: int | None = None, look_frames: int = LOOK_FRAMES
    ) -> Self:
        """Load the engines of an opened bundle; raises as `Bundle.load_runner` does."""
        localiser = bundle.load_localiser(device=device, threads=threads)
        return cls(
            bundle.load_runner(device=device, threads=threads),
            bundle.preprocessing,
            None if localiser is None else Localiser(localiser),
            None if bundle.quality is None else QualityScorer(bundle.quality, bundle.preprocessing.spacing_mm),
            PlausibilityGate(bundle.findable),
            look_frames,
        )

    def fork(self) -> Self:
        """A second pipeline on the same engines with buffers of its own, to overlap successive frames; not bound."""
        localiser = None if self.localiser is None else Localiser(self.localiser.runner.fork())
        scorer = None if self.scorer is None else self.scorer.fork()
        gate = None if self.gate is None else self.gate.fork()
        return type(self)(self.runner.fork(), self.spec, localiser, scorer, gate, self._follower.look_frames)

    def bind(self, geometry: Geometry) -> Self:
        """Build the map to the network's grid and back; every later frame has to lie on `geometry`."""
        self._follower.bind(geometry)
        if self.scorer is not None:
            self.scorer.bind(geometry)
        if self.gate is not None:
            self.gate.bind(geometry)
        return self

    def kept_share(self, label_stored: NDArray[np.uint8]) -> float:
        """Share of the labelled voxels that the latest frame's crop holds; what is outside cannot be found.

        Raises:
            RuntimeError: `bind` was not called.
        """
        return self._follower.grid.kept_share(label_stored)

    def segment(self, image_stored: NDArray[np.generic], *, out: NDArray[np.uint8] | None = None) -> FrameResult:
        """Segment one frame.

        Args:
            image_stored: stored axes, any real type, of the bound geometry's shape.
            out: where to write the mask, of the same shape; None makes an array.

        Raises:
            RuntimeError: `bind` was not called.
            ValueError: the frame does not lie on the bound geometry.
        """
        start = time.perf_counter_ns()
        grid = self._follower.find(image_stored)
        located = time.perf_counter_ns()
        grid.to_network(image_stored, out=self._x_BCDHW[0, 0])
        ready = time.perf_counter_ns()
        logits_BCDHW = self.runner.run(self._x_BCDHW)
        done = time.perf_counter_ns()
        mask = grid.logits_to_stored(logits_BCDHW[0], out=out)
        mapped = time.perf_counter_ns()
        box = found_box(mask, grid.field_of_view)
        implausible = "" if self.gate is None else self.gate.reason(mask, grid.field_of_view, box)
        implausible = self._follower.judge(mask, implausible, box) or implausible
        quality = None if self.scorer is None else self.scorer.score(logits_BCDHW[0], mask)
        end = time.perf_counter_ns()
        return FrameResult(
            mask=mask,
            localise_ms=(located - start) / 1e6,
            preprocess_ms=(ready - located) / 1e6,
            engine_ms=(done - ready) / 1e6,
            inverse_ms=(mapped - done) / 1e6,
            quality_ms=(end - mapped) / 1e6,
            total_ms=(end - start) / 1e6,
            quality=quality,
            implausible=implausible,
        )

    @property
    def look_is_due(self) -> bool:
        """Whether `look` would look."""
        return self._follower.look_is_due

    def look(self, image_stored: NDArray[np.generic], *, unchanged: Callable[[], bool] = lambda: True) -> None:
        """Look in spare time, where it is due, whether the heart of the latest frame is where its mask has it.

        Args:
            image_stored: the frame that was segmented last.
            unchanged: asked afterwards, whether it still was that frame.
        """
        if self._follower.look_is_due:
            self._follower.look(image_stored, unchanged)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()
        if self.localiser is not None:
            self.localiser.runner.close()
