"""Frame runners on one engine: the mask that segment-cine gives, states, and sources that share nothing."""

import time
from pathlib import Path

import numpy as np
import pytest

from bedside.frames import Frame
from bedside.pipeline import FramePipeline
from bedside.pipeline_runner import PipelineRunners
from cinert.bundle import open_bundle
from cinert.data.nifti import Geometry, read_cine


@pytest.fixture
def runners(make_bundle):
    with PipelineRunners(open_bundle(make_bundle("ort")), device="cpu", threads=1, budget_ms=1e6) as runners:
        yield runners


def frames(path: Path) -> list[Frame]:
    cine = read_cine(path)
    now = time.perf_counter_ns()
    return [Frame(cine.image[..., phase], cine.geometry, now) for phase in range(cine.image.shape[3])]


def test_masks_are_those_of_the_pipeline(bundle_folder: Path, cine) -> None:
    bundle = open_bundle(bundle_folder)
    with PipelineRunners(bundle, device="cpu", threads=1, budget_ms=1e6) as runners:
        runner = runners.open()
        answers = [runner.submit(frame) for frame in frames(cine[0])]
        runner.close()

    with FramePipeline.from_bundle(bundle, device="cpu", threads=1) as pipeline:
        for frame, answer in zip(frames(cine[0]), answers, strict=True):
            pipeline.bind(frame.geometry)
            np.testing.assert_array_equal(answer.mask, pipeline.segment(frame.image).mask)
    assert {answer.state for answer in answers} == {"live"}


def test_waiting_counts_and_makes_an_answer_late(make_bundle, cine) -> None:
    frame = frames(cine[0])[0]
    waited = Frame(frame.image, frame.geometry, time.perf_counter_ns() - 10**10)
    with PipelineRunners(open_bundle(make_bundle("ort")), device="cpu", threads=1, budget_ms=9e3) as runners:
        answer = runners.open().submit(waited)

    assert answer.state == "late"
    assert answer.mask is not None
    assert answer.total_ms >= 10_000
    assert "the budget is 9000 ms" in answer.reason


def test_a_frame_on_another_grid_is_segmented_on_that_grid(runners, cine) -> None:
    runner = runners.open()
    frame = frames(cine[0])[0]
    part = Frame(
        frame.image[:, :, :-2], Geometry((*frame.image.shape[:2], frame.image.shape[2] - 2), frame.geometry.affine), 0
    )

    assert [runner.submit(each).mask.shape for each in (frame, part, frame)] == [
        each.image.shape for each in (frame, part, frame)
    ]


def test_an_engine_that_fails_answers_and_goes_on(runners, cine, monkeypatch) -> None:
    runner = runners.open()
    frame = frames(cine[0])[0]
    with monkeypatch.context() as broken:
        broken.setattr(runner.pipeline, "segment", lambda _: 1 / 0)
        answer = runner.submit(frame)

    assert (answer.state, answer.mask, answer.reason) == ("failed", None, "ZeroDivisionError: division by zero")
    assert runner.submit(frame).state == "live"


def test_a_source_that_leaves_takes_nothing_with_it(runners, cine) -> None:
    one, other = runners.open(), runners.open()
    frame = frames(cine[0])[0]
    one.submit(frame)
    one.close()

    np.testing.assert_array_equal(other.submit(frame).mask, runners.open().submit(frame).mask)
