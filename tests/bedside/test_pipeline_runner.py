"""Frame runners on an engine process: the mask that segment-cine gives, states, and sources that share nothing."""

import dataclasses
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from bedside.frames import Frame
from bedside.pipeline import FramePipeline
from bedside.pipeline_runner import PipelineRunners
from cinert.backends import Engine
from cinert.bundle import open_bundle
from cinert.data.nifti import Geometry, read_cine
from cinert.errors import BadInputError


def open_runners(bundle_folder: Path, *, budget_ms: float = 1e6, **named) -> PipelineRunners:
    return PipelineRunners(
        open_bundle(bundle_folder), device="cpu", threads=1, budget_ms=budget_ms, **{"hang_ms": 60_000, **named}
    )


@pytest.fixture(scope="module")
def runners(ort_bundle: Path):
    with open_runners(ort_bundle) as runners:
        yield runners


@pytest.fixture
def stream(ball) -> list[Frame]:
    image, affine = ball
    geometry, now = Geometry(image.shape[:3], affine), time.perf_counter_ns()
    return [Frame(image[..., phase], geometry, now) for phase in range(image.shape[3])]


def test_masks_are_those_of_the_pipeline(bundle_folder: Path, cine) -> None:
    read, now = read_cine(cine[0]), time.perf_counter_ns()
    stream = [Frame(read.image[..., phase], read.geometry, now) for phase in range(read.image.shape[3])]
    with open_runners(bundle_folder) as runners:
        runner = runners.open()
        answers = [runner.submit(frame) for frame in stream]
        runner.close()

    with FramePipeline.from_bundle(open_bundle(bundle_folder), device="cpu", threads=1) as pipeline:
        for frame, answer in zip(stream, answers, strict=True):
            pipeline.bind(frame.geometry)
            np.testing.assert_array_equal(answer.mask, pipeline.segment(frame.image).mask)
    assert {answer.state for answer in answers} == {"live"}
    assert any(answer.mask.any() for answer in answers)


def test_a_mask_that_cannot_be_a_heart_is_sent_as_unsure(nonsense_bundle: Path, stream) -> None:
    with open_runners(nonsense_bundle) as runners:
        answer = runners.open().submit(stream[0])

    assert (answer.state, answer.quality) == ("unsure", None)
    assert answer.reason == "not plausible: RV was not found; MYO was not found"
    assert answer.mask is not None
    assert answer.mask.any()


def test_a_single_slice_is_not_asked_for_what_it_cannot_show(nonsense_bundle: Path, ball) -> None:
    image, affine = ball
    slice_ = np.ascontiguousarray(image[:, :, 4:5, 0])
    with open_runners(nonsense_bundle) as runners:
        answer = runners.open().submit(Frame(slice_, Geometry(slice_.shape, affine), time.perf_counter_ns()))

    assert (answer.state, answer.reason) == ("live", "")


def test_a_mask_is_kept_while_the_next_frame_is_computed(runners, stream) -> None:
    runner = runners.open()
    first, _, _, other, *_ = stream
    mask = runner.submit(first).mask
    before = mask.copy()

    assert (runner.submit(other).mask != before).any()
    np.testing.assert_array_equal(mask, before)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<u2", ">i2", "<f8"])
def test_pixels_arrive_as_they_were(runners, stream, dtype: str, order: str) -> None:
    frame = stream[0]
    same = dataclasses.replace(frame, image=frame.image.astype(dtype, order=order))
    apart = dataclasses.replace(frame, image=np.repeat(frame.image, 2, axis=0)[::2])
    runner = runners.open()

    expected = runner.submit(frame).mask
    for each in (same, apart):
        np.testing.assert_array_equal(runner.submit(each).mask, expected)


def test_waiting_counts_and_makes_an_answer_late(ort_bundle: Path, stream) -> None:
    frame = stream[0]
    waited = Frame(frame.image, frame.geometry, time.perf_counter_ns() - 10**11)
    with open_runners(ort_bundle, budget_ms=9e4) as runners:
        answer = runners.open().submit(waited)

    assert answer.state == "late"
    assert answer.mask is not None
    assert answer.total_ms >= 100_000
    assert "the budget is 90000 ms" in answer.reason


def test_a_frame_on_another_grid_is_segmented_on_that_grid(runners, stream) -> None:
    runner = runners.open()
    frame = stream[0]
    thick = np.repeat(frame.image, 3, axis=2)
    others = [
        Frame(image, Geometry(image.shape, frame.geometry.affine), 0) for image in (frame.image[:, :, :-2], thick)
    ]

    assert [runner.submit(each).mask.shape for each in (frame, *others, frame)] == [
        each.image.shape for each in (frame, *others, frame)
    ]


def test_a_frame_of_one_slice_is_a_frame(runners, stream) -> None:
    frame = stream[0]
    affine = frame.geometry.affine.copy()
    affine[:3, 3] += 4 * affine[:3, 2]
    alone = Frame(frame.image[:, :, 4:5], Geometry((*frame.image.shape[:2], 1), affine), 0)

    mask = runners.open().submit(alone).mask

    assert mask.shape == (40, 36, 1)
    assert (mask[:, :, 0] == (frame.image[:, :, 4] > 750) * 3).mean() > 0.97


def test_a_frame_that_cannot_be_segmented_is_answered_and_the_next_is_served(runners, stream) -> None:
    runner = runners.open()
    frame = stream[0]
    elsewhere = Frame(frame.image[:-1], frame.geometry, frame.arrived_ns)

    answer = runner.submit(elsewhere)

    assert (answer.state, answer.mask) == ("failed", None)
    assert answer.reason.startswith("ValueError: an array of shape")
    assert runner.submit(frame).state == "live"
    assert runners.outages == ()


def test_an_error_in_its_own_words_is_for_the_log_and_logged_once(ort_bundle: Path, stream) -> None:
    lines = []
    with open_runners(ort_bundle, log=lines.append) as runners:
        runner = runners.open()
        answers = [runner.submit(dataclasses.replace(stream[0], image=stream[0].image[:-1])) for _ in range(3)]

    assert {answer.told for answer in answers} == {"the engine failed on this frame, the server's log says why"}
    assert [answer.raised for answer in answers] == [True] * 3
    (line,) = lines
    assert line == f"engine: failed on a frame: {answers[0].reason}"


def test_pixels_that_are_objects_are_refused(runners, stream) -> None:
    frame = stream[0]
    answer = runners.open().submit(dataclasses.replace(frame, image=frame.image.astype(object)))

    assert answer.state == "failed"
    assert "object" in answer.reason


def test_a_source_that_leaves_takes_nothing_with_it(runners, stream) -> None:
    one, other = runners.open(), runners.open()
    frame = stream[0]
    one.submit(frame)
    one.close()

    np.testing.assert_array_equal(other.submit(frame).mask, runners.open().submit(frame).mask)


def test_sources_side_by_side_get_their_own_masks(runners, stream) -> None:
    expected = [runners.open().submit(frame).mask for frame in stream]
    wrong = []

    def serve(start: int) -> None:
        runner = runners.open()
        for number in range(start, start + 12):
            mask = runner.submit(stream[number % len(stream)]).mask
            if mask is None or (mask != expected[number % len(stream)]).any():
                wrong.append(number)

    threads = [threading.Thread(target=serve, args=(start,)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong


def on_cpu_ns(pid: int) -> int:
    """Time on a CPU. The ticks of /proc/PID/stat miss what a timer wakes for less than a tick."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def test_an_idle_engine_is_kept_warm_and_still_serves(ort_bundle: Path, stream) -> None:
    frame = stream[0]
    with open_runners(ort_bundle, keep_warm_ms=1.0) as kept, open_runners(ort_bundle, keep_warm_ms=0) as cold:
        spent = []
        for runners in (kept, cold):
            runner = runners.open()
            mask = runner.submit(frame).mask
            before = on_cpu_ns(runners.pid)
            time.sleep(1.5)
            spent.append(on_cpu_ns(runners.pid) - before)
            np.testing.assert_array_equal(runner.submit(frame).mask, mask)

    # Frames of noise take computing; an idle engine takes next to none.
    assert spent[0] > 2 * spent[1]


def test_an_engine_that_cannot_be_loaded_is_said_at_once(ort_bundle: Path) -> None:
    bundle = open_bundle(ort_bundle)
    broken = dataclasses.replace(bundle, engine=Engine("ort", "fp32", {"onnx": b"no model"}))

    with pytest.raises(BadInputError, match="the engine cannot be loaded"):
        PipelineRunners(broken, device="cpu", threads=1, budget_ms=1.0)


def test_the_process_ends_with_its_runners(ort_bundle: Path) -> None:
    with open_runners(ort_bundle) as runners:
        process = psutil.Process(runners.pid)
        assert process.is_running()

    assert not process.is_running()
