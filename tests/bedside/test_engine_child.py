"""The engine's process from the inside, with stand-ins for the engine: what it answers, and when it gives up."""

import threading
import time
from multiprocessing.connection import Pipe
from types import SimpleNamespace

import numpy as np
import pytest

from bedside.engine_child import WARMUP_FRAMES, Pipelines, serve
from bedside.engine_protocol import Expect, Forget, Segment, Start
from bedside.frame_memory import FrameMemory, Layout
from bedside.pipeline import FrameResult
from bedside.spare_time import SpareTime
from cinert.data.nifti import Geometry
from cinert.errors import BadInputError

LAYOUT = Layout((2, 2, 2), "<f4", "F")
GEOMETRY = Geometry((2, 2, 2), np.eye(4))


class Fake:
    """Stands for a pipeline: marks the voxels above 0, and fails where a voxel is 13."""

    spec = SimpleNamespace(shape_DHW=(2, 2, 2), spacing_mm=(1.0, 1.0, 1.0))

    def __init__(self, log: list, *, breaks: bool = False) -> None:
        self.log, self.breaks, self.broken = log, breaks, False
        self.localiser, self.look_is_due = None, False

    def fork(self) -> "Fake":
        self.log.append("fork")
        other = Fake(self.log, breaks=self.breaks)
        other.parent = self
        return other

    def bind(self, geometry: Geometry) -> None:
        self.log.append("bind")

    def segment(self, image, *, out=None) -> FrameResult:
        self.log.append("segment")
        if self.broken:
            raise RuntimeError("the device is lost")
        if (image == 13).any():
            self.parent.broken = self.breaks
            raise ValueError("13")
        if (image == 14).any():
            raise BadInputError("the frame has 14 corners.")
        if out is not None:
            out[:] = image > 0
        times = {"localise_ms": 1.0, "preprocess_ms": 2.0, "engine_ms": 3.0, "inverse_ms": 4.0, "quality_ms": 0.0}
        return FrameResult(mask=out, quality=None, total_ms=10.0, **times)

    def look(self, image, *, unchanged) -> None:
        self.log.append(f"look, {'the same' if unchanged() else 'another'} frame")

    def __exit__(self, *_: object) -> None:
        self.log.append("close")


class Served:
    """`serve` in a thread."""

    def __init__(self, load, keep_warm_s: float = 0) -> None:
        self.ours, theirs = Pipe()
        self.memory = FrameMemory()
        self.raised: list[BaseException] = []

        def run() -> None:
            try:
                serve(theirs, self.memory, Start(load, keep_warm_s))
            except BaseException as error:
                self.raised.append(error)
            theirs.close()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def segment(self, value: float, source: int = 1):
        image, mask = self.memory.arrays(LAYOUT)
        self.memory.begin_image()
        image[:] = value
        self.ours.send(Segment(source, GEOMETRY, LAYOUT))
        return self.ours.recv(), mask

    def end(self) -> BaseException:
        self.ours.close()
        self.thread.join(60)
        return self.raised[0]


def test_frames_are_answered_with_times_and_the_mask_in_the_memory() -> None:
    log = []
    served = Served(lambda: Fake(log))
    assert served.ours.recv() is None
    result, mask = served.segment(1)

    assert (result.total_ms, result.engine_ms, result.mask.size) == (10.0, 3.0, 0)
    assert (mask == 1).all()
    assert isinstance(served.end(), EOFError)


def test_sources_have_pipelines_that_are_made_ahead_and_released() -> None:
    log = []
    served = Served(lambda: Fake(log))
    served.ours.recv()
    log.clear()
    for word in (Expect(1), Expect(1), Forget(1), Forget(9)):
        served.ours.send(word)
    served.segment(1, source=2)
    served.segment(1, source=2)
    served.end()

    assert log == ["fork", "close", "fork", "bind", "segment", "segment"]


class Patient:
    """Spare time without end."""

    def holds(self, work_s: float) -> bool:
        return True


def pipelines_after_a_frame() -> tuple[Pipelines, list]:
    log = []
    pipelines = Pipelines(Fake(log))
    image, mask = np.ones((2, 2, 2)), np.zeros((2, 2, 2), np.uint8)
    pipelines.segment(Segment(1, GEOMETRY, LAYOUT), image, mask)
    pipelines._sources[1].pipeline.look_is_due = True
    log.clear()
    return pipelines, log


def test_it_looks_once_at_the_latest_frame_and_asks_whether_it_is_still_there() -> None:
    pipelines, log = pipelines_after_a_frame()
    pipelines.look(Patient(), lambda: False)
    pipelines.look(Patient(), lambda: True)
    assert log == ["look, another frame"]


def test_it_does_not_look_without_time_nor_at_the_frame_of_a_source_that_left() -> None:
    pipelines, log = pipelines_after_a_frame()
    pipelines.look_s = 1.0
    pipelines.look(SpareTime(), lambda: True)
    assert pipelines.look_s < 1.0
    pipelines, log_of_other = pipelines_after_a_frame()
    pipelines.forget(1)
    pipelines.look(Patient(), lambda: True)
    assert (log, log_of_other) == ([], ["close"])


def test_spare_time_is_the_shortest_that_there_was(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("bedside.spare_time.time.monotonic", lambda: now_s)
    spare = SpareTime()
    for idle_s in (0.03, 0.02, 0.04, 0.03):
        spare.requested()
        now_s += 0.02
        spare.answered()
        assert not spare.holds(0.001)
        now_s += idle_s
    spare.requested()
    assert spare.holds(0.019)
    assert not spare.holds(0.021)
    for _ in range(22):
        now_s += 0.02
        spare.answered()
        now_s += 0.03
        spare.requested()
    assert spare.holds(0.025)


def test_a_frame_that_fails_is_answered_and_the_engine_tried() -> None:
    log = []
    served = Served(lambda: Fake(log))
    served.ours.recv()
    error, _ = served.segment(13)
    result, mask = served.segment(1)
    served.end()

    assert (type(error), str(error)) == (RuntimeError, "ValueError: 13")
    assert isinstance(result, FrameResult)
    assert mask.all()
    # The frame that failed, noise to try the engine, the next frame.
    assert log[WARMUP_FRAMES + 1 :] == ["fork", "bind", "segment", "segment", "segment"]


def test_what_is_wrong_with_a_frame_is_told_in_its_own_words() -> None:
    served = Served(lambda: Fake([]))
    served.ours.recv()
    error, _ = served.segment(14)
    served.end()

    assert (type(error), error.message) == (BadInputError, "the frame has 14 corners.")


def test_an_engine_that_fails_on_noise_too_ends_its_process() -> None:
    served = Served(lambda: Fake([], breaks=True))
    served.ours.recv()
    error, _ = served.segment(13)
    served.thread.join(60)

    assert str(error) == "ValueError: 13"
    assert [str(error) for error in served.raised] == ["the device is lost"]


@pytest.mark.parametrize(
    ("raised", "expected", "words"),
    [
        (BadInputError("no plan.", hint="build it."), BadInputError, "no plan. Hint: build it."),
        (KeyError("bias"), RuntimeError, "KeyError: 'bias'"),
    ],
)
def test_what_keeps_it_from_loading_is_told(raised, expected, words) -> None:
    def load():
        raise raised

    served = Served(load)
    told = served.ours.recv()
    served.thread.join(60)

    assert (type(told), str(told)) == (expected, words)
    assert not served.raised


@pytest.mark.parametrize("keep_warm_s", [0, 0.01])
def test_noise_keeps_an_idle_engine_warm_and_signs_of_life_come_either_way(keep_warm_s: float) -> None:
    log = []
    served = Served(lambda: Fake(log), keep_warm_s)
    served.ours.recv()
    beats, warm = served.memory.beats, len(log)
    deadline = time.monotonic() + 60
    while served.memory.beats < beats + 8:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    served.end()

    assert (len(log) > warm) == bool(keep_warm_s)
