"""A replayed cine: every frame answered or dropped once, in order, the freshest first."""

import threading

import numpy as np

from bedside.frames import Answer
from bedside.web.replay import Replay
from cinert.data.nifti import Cine, Geometry


def cine(phases: int = 4) -> Cine:
    image = np.zeros((4, 3, 2, phases), np.float32)
    image[:] = np.arange(phases)
    return Cine(image, Geometry((4, 3, 2), np.eye(4)), None, 40.0)


class Engine:
    """Says which phase it saw; waits where it is told to."""

    def __init__(self) -> None:
        self.seen = []
        self.go = threading.Event()
        self.go.set()

    def submit(self, frame) -> Answer:
        assert self.go.wait(60)
        self.seen.append(int(frame.image[0, 0, 0]))
        return Answer("live", np.zeros(frame.image.shape, np.uint8), 1.0)

    def close(self) -> None:
        pass


def test_every_frame_is_answered_or_dropped_once() -> None:
    engine, told = Engine(), []

    Replay(cine(), fps=200.0, passes=3, show=lambda *event: told.append(event)).run(engine)

    assert len(told) == 12
    masks = [answer for frame, answer in told if frame is not None]
    assert len(masks) == len(engine.seen)
    assert {answer.state for frame, answer in told if frame is None} <= {"dropped"}
    # The last frame has nothing newer to give way to.
    assert engine.seen[-1] == 3


def test_a_slow_engine_gets_the_newest_frame() -> None:
    engine, told = Engine(), []
    engine.go.clear()
    replay = Replay(cine(50), fps=500.0, passes=1, show=lambda *event: told.append(event))
    running = threading.Thread(target=replay.run, args=(engine,))
    running.start()
    while len(told) < 48:
        assert running.is_alive()
    engine.go.set()
    running.join(60)

    assert engine.seen[1:] == [49]
    assert len(told) == 50
    assert [answer.reason for frame, answer in told if frame is None] == ["a newer frame came before its turn"] * 48


def test_it_goes_on_until_it_is_stopped() -> None:
    engine = Engine()
    replay = Replay(cine(), fps=500.0, passes=None, show=lambda *_: len(engine.seen) > 10 and replay.stop())

    replay.run(engine)

    assert len(engine.seen) > 10
