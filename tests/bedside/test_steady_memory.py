"""Nothing grows while frames go through: the hot path keeps nothing, and its buffers are made once."""

import gc
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from bedside.frame_memory import FrameMemory, Layout
from bedside.frames import Frame
from bedside.pipeline import FramePipeline
from bedside.pipeline_runner import PipelineRunners
from cinert.bundle import open_bundle
from cinert.data.nifti import Geometry
from tests.bedside.moving_heart import GEOMETRY, SPEC, Bedside, Errs, heart

FEW_BYTES = 200 * 48
"""Per frame less than the smallest array or tuple; a frame of these has 26 kB."""


@pytest.fixture
def stream(ball) -> list[Frame]:
    image, affine = ball
    geometry = Geometry(image.shape[:3], affine)
    return [Frame(image[..., phase], geometry, time.perf_counter_ns()) for phase in range(image.shape[3])]


def growth_bytes(work) -> int:
    """What is held after 500 frames and was not after 300: libraries fill small caches of their own at first."""
    tracemalloc.start()
    try:
        held = []
        for _ in range(5):
            for number in range(100):
                work(number)
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    return held[4] - held[2]


def test_a_pipeline_keeps_nothing_of_its_frames(ort_bundle: Path, stream) -> None:
    mask = np.zeros(stream[0].image.shape, np.uint8, order="F")
    with FramePipeline.from_bundle(open_bundle(ort_bundle), device="cpu", threads=1) as pipeline:
        pipeline.bind(stream[0].geometry)

        grown = growth_bytes(lambda number: pipeline.segment(stream[number % 6].image, out=mask))

    assert grown < FEW_BYTES
    assert mask.any()


def test_a_frame_takes_no_memory_that_it_gives_back() -> None:
    """Fresh pages cost more than what is computed in them: all that is large is kept from frame to frame."""
    shown = Bedside(Errs())
    labels = [heart((10, -5), beat=0.5 - 0.5 * np.cos(2 * np.pi * number / 10)) for number in range(10)]
    for label in labels:
        shown.show(label)
    logits = [shown.engine.logits(label) for label in labels]
    frames = [np.asfortranarray(300 * label.astype(np.uint16)) for label in labels]
    mask = np.zeros(GEOMETRY.shape, np.uint8, order="F")
    most = 0
    for number in range(30):
        shown.engine.run = lambda _, number=number: logits[number % 10]
        if number == 20:
            tracemalloc.start()
        if number >= 20:
            tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        result = shown.pipeline.segment(frames[number % 10], out=mask)
        most = max(most, tracemalloc.get_traced_memory()[1] - before)
        assert not result.implausible
    tracemalloc.stop()
    # Of some small ones at once; the network's image alone has more.
    assert most < 128 * 1024 < 4 * np.prod(SPEC.shape_DHW)


def test_a_runner_keeps_nothing_of_its_frames(ort_bundle: Path, stream) -> None:
    with PipelineRunners(open_bundle(ort_bundle), device="cpu", threads=1, budget_ms=1e6, hang_ms=60_000) as runners:
        runner = runners.open()
        wrong = []

        def work(number: int) -> None:
            if runner.submit(stream[number % 6]).state != "live":
                wrong.append(number)

        grown = growth_bytes(work)

    assert grown < FEW_BYTES
    assert not wrong


def test_the_pipeline_writes_where_it_is_told(ort_bundle: Path, stream) -> None:
    mask = np.full(stream[0].image.shape, 9, np.uint8, order="F")
    with FramePipeline.from_bundle(open_bundle(ort_bundle), device="cpu", threads=1) as pipeline:
        pipeline.bind(stream[0].geometry)
        expected = pipeline.segment(stream[0].image).mask
        result = pipeline.segment(stream[0].image, out=mask)

        assert np.shares_memory(result.mask, mask)
        np.testing.assert_array_equal(mask, expected)
        with pytest.raises(ValueError, match="does not lie on the grid"):
            pipeline.segment(stream[0].image, out=mask[1:])


def test_frames_of_one_size_lie_in_one_place(stream) -> None:
    memory = FrameMemory()
    layout = Layout.of(stream[0].image)
    image, mask = memory.arrays(layout)
    other = FrameMemory(memory.descriptor)
    again, mask_again = other.arrays(layout)

    image[:] = stream[0].image
    mask[:] = 7

    np.testing.assert_array_equal(again, stream[0].image)
    assert (mask_again == 7).all()
    assert memory.arrays(layout)[0].ctypes.data == image.ctypes.data
    assert not np.shares_memory(image, mask)
    other.beat()
    assert memory.beats == 1


def test_the_memory_grows_with_the_frames_and_keeps_the_sign_of_life() -> None:
    memory = FrameMemory()
    memory.beat()
    small, large = Layout((4, 4, 4), "<u2", "C"), Layout((64, 64, 64), "<f8", "F")
    memory.arrays(small)
    image, _ = memory.arrays(large)
    image[:] = 1.5
    other = FrameMemory(memory.descriptor)

    assert (other.arrays(large)[0] == 1.5).all()
    assert other.beats == 1
