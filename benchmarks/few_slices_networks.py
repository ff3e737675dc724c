"""The two ways of `few_slices.py` to a mask of fresh slices, and how long each takes on an engine."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.pipeline import FramePipeline
from bench.frames import synthetic_frames
from cinert.backends import get_backend
from cinert.backends.base import Model, Runner
from cinert.baselines.levels import SliceBaseline
from cinert.bundle import Bundle
from cinert.data.grid import GridMap, PreprocessingSpec
from cinert.data.nifti import Geometry
from cinert.environment import default_threads
from cinert.onnx import network_model
from cinert.segmenter import Segmenter
from cinert.timing import percentiles_ms

Mask = NDArray[np.uint8]
Centre = NDArray[np.float64] | None


class StackNetwork:
    """The bundle's 3D network on whole stacks; slices lie along the third axis."""

    def __init__(self, bundle: Bundle) -> None:
        self._pipeline = FramePipeline.from_bundle(bundle, device="cpu")
        self._affine = np.eye(4)
        self.centre_mm: Centre = None
        """Middle of the latest mask that holds something."""

    def bind(self, geometry: Geometry) -> None:
        """Take stacks of another patient."""
        self._pipeline.bind(geometry)
        self._affine = geometry.affine
        self.centre_mm = None

    def segment(self, stack: NDArray[Any]) -> Mask:
        """Segment a stack."""
        mask = self._pipeline.segment(stack).mask
        if np.count_nonzero(mask):
            middle = np.argwhere(mask).mean(axis=0)
            self.centre_mm = self._affine[:3, :3] @ middle + self._affine[:3, 3]
        return mask


class SliceNetwork:
    """A 2D network on the fresh slices alone; one engine for each number of them, since shapes are fixed."""

    def __init__(self, arch: SliceBaseline, network: Segmenter, backend: str) -> None:
        self._arch, self._network, self._backend = arch, network, backend
        self._runners: dict[int, Runner] = {}

    def segment(self, slices: NDArray[Any], geometry: Geometry, centre_mm: Centre) -> Mask:
        """Segment adjacent slices.

        Args:
            slices: (x, y, n).
            geometry: of them.
            centre_mm: where the heart was.
        """
        return self.frame_work(geometry, centre_mm)(slices)

    def frame_work(self, geometry: Geometry, centre_mm: Centre) -> Callable[[NDArray[Any]], Mask]:
        """What is done with every frame of such slices; the map to their grid is built here, once."""
        depth = geometry.shape[2]
        if depth not in self._runners:
            self._runners[depth] = self._engine(depth)
        runner = self._runners[depth]
        # One slice of the network is one slice of the stack: nothing is interpolated across slices.
        _, *in_plane_mm = self._arch.grid.spacing_mm
        _, *in_plane = self._arch.grid.input_shape_DHW
        spec = PreprocessingSpec(
            spacing_mm=(geometry.spacing_mm[2], in_plane_mm[0], in_plane_mm[1]),
            shape_DHW=(depth, in_plane[0], in_plane[1]),
        )
        grid = GridMap(geometry, spec, centre_mm)
        return lambda slices: grid.logits_to_stored(runner.run(grid.to_network(slices)[None, None])[0])

    def _engine(self, depth: int) -> Runner:
        _, height, width = self._arch.grid.input_shape_DHW
        arch = dataclasses.replace(self._arch, input_shape_DHW=(depth, height, width))
        return get_backend(self._backend).runner(network_model(arch, self._network), threads=default_threads())


def latencies_ms(
    backend: str, bundle: Bundle, arch: SliceBaseline, network: Segmenter, fresh: Sequence[int], *, repeats: int
) -> dict[str, Any]:
    """Frame in to mask out of both ways on one engine, in random order: {stack, slices_1, ...}, each percentiles in ms.

    Args:
        backend: engine.
        bundle: its ONNX is compiled for the engine.
        arch: of the 2D network.
        network: the 2D network.
        fresh: numbers of slices.
        repeats: frames of each.
    """
    source = synthetic_frames()
    onnx = (bundle.folder / "model.onnx").read_bytes()
    model = Model(name="stack", input_shapes=((1, 1, *bundle.preprocessing.shape_DHW),), make_onnx=lambda: onnx)
    runner = get_backend(backend).runner(model, threads=default_threads())
    pipeline = FramePipeline(runner, bundle.preprocessing).bind(source.geometry)
    ways: dict[str, Callable[[int], object]] = {"stack": lambda number: pipeline.segment(source.frame(number))}
    slices = SliceNetwork(arch, network, backend)
    for count in fresh:
        geometry = Geometry((*source.geometry.shape[:2], count), source.geometry.affine)
        work = slices.frame_work(geometry, None)
        ways[f"slices_{count}"] = lambda number, work=work, count=count: work(source.frame(number)[:, :, :count])
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for warm in range(3):
        for way in ways.values():
            way(warm)
    order = [name for name in ways for _ in range(repeats)]
    random.Random(0).shuffle(order)
    for number, name in enumerate(order):
        start = time.perf_counter_ns()
        ways[name](number)
        samples[name].append((time.perf_counter_ns() - start) / 1e6)
    return {name: percentiles_ms(values) for name, values in samples.items()}
