"""Figures of served frames by hand, and the client against a server whose engine is a stand-in."""

import math
import threading
import time

import numpy as np
import pytest

from bedside.frames import Answer
from bedside.mrd.limits import Limits
from bedside.mrd.server import Address, MrdServer
from bedside.mrd.session import Service
from bench.frames import FrameSource
from bench.mrd_client import PacedClient
from bench.served import FrameRecord, Served
from cinert.data.nifti import Geometry
from cinert.errors import BadInputError


def record(due, sent, answered=None, server=None, state="live"):
    return FrameRecord(due, sent, answered, state if answered else "", "" if server else "gone", server)


@pytest.fixture
def overloaded():
    """Due every 10 ms, 25 ms each: frames 1 and 3 are dropped when newer ones come, frame 5 gets no answer."""
    return Served(
        [
            record(0, 1, 30, 25),
            record(10, 11, 20.5, state="dropped"),
            record(20, 21, 58, 33),
            record(30, 31, 40.5, state="dropped"),
            record(40, 41, 90, 45),
            record(50, 51),
        ],
        None,
    )


def test_figures_by_hand(overloaded):
    told = overloaded.to_dict(budget_ms=40)
    assert (told["frames"], told["masks"], told["misses"], told["budget_met"]) == (6, 3, 4, False)
    assert told["states"] == {"dropped": 2, "live": 3, "unanswered": 1}
    assert told["frame_to_mask"]["worst_ms"] == 45
    assert told["round_trip"]["worst_ms"] == 50
    # 5, 5 and 5 ms on the way.
    assert told["transport"]["p50_ms"] == told["transport"]["worst_ms"] == 5
    assert told["longest_gap_ms"] == 32
    assert told["masks_per_s"] == pytest.approx(3 / 0.09)
    # Under way when a frame had been sent: 1; 2; 0, 2; 0, 2, 3 (1 is answered); ...
    assert overloaded.queue_depths() == [1, 2, 2, 2, 2, 3]
    assert told["p99_supported"] is False


def test_the_freshest_is_told_from_a_frame_that_was_overtaken(overloaded):
    assert overloaded.overtaken() == 0
    # The mask before frame 2 was here at 30 ms and took 5 ms, so the engine was free at 25 ms. Frame 3, sent by 19 ms,
    # takes 5 ms too, and was there.
    overloaded.frames[3].sent_ms = 19
    assert overloaded.overtaken() == 1
    overloaded.frames[3].sent_ms = 21
    assert overloaded.overtaken() == 0


def test_a_stream_without_a_mask_misses_everything():
    told = Served([record(0, 1, 5, state="failed"), record(10, 11)], None).to_dict(50)
    assert (told["misses"], told["budget_met"], told["frame_to_mask"], told["longest_gap_ms"]) == (2, False, None, None)


@pytest.mark.parametrize(("late", "met"), [(0, True), (1, False)])
def test_the_budget_is_held_against_the_servers_clock(late, met):
    frames = [record(0, 1, 200, 50.0) for _ in range(500 - late)] + [record(0, 1, 200, 50.1)] * late
    told = Served(frames, None).to_dict(50)
    assert (told["budget_met"], told["misses"], told["p99_supported"]) == (met, late, True)


class Slow:
    """A runner that takes its time, and counts."""

    def __init__(self, seconds):
        self.seconds, self.submitted = seconds, 0

    def submit(self, frame):
        self.submitted += 1
        time.sleep(self.seconds)
        total_ms = (time.perf_counter_ns() - frame.arrived_ns) / 1e6
        return Answer("live", np.zeros(frame.image.shape, np.uint8), total_ms)

    def close(self):
        pass


@pytest.fixture
def serve():
    """A server on loopback with a stand-in for the engine; gives its address."""
    running = []
    limits = Limits(
        max_text_bytes=2**16,
        max_image_bytes=2**20,
        max_held_bytes=2**22,
        max_images_per_s=math.inf,
        max_slices=16,
        idle_s=60.0,
        stall_s=60.0,
    )

    def start(runner, **more):
        settings = {"limits": limits, "bundle": "0" * 64, "slices": None, "queue": 1, **more}
        service = Service(open_runner=lambda: runner, **settings)
        server = MrdServer(Address("127.0.0.1", 0), service, max_clients=1, log=lambda _: None, watch=lambda *_: None)
        running.append(server.__enter__())
        return server.address

    yield start
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture
def source():
    rng = np.random.default_rng(0)
    frames = tuple(rng.integers(0, 1000, (8, 6, 3)).astype(np.uint16) for _ in range(2))
    return FrameSource("noise", Geometry((8, 6, 3), np.diag([2.0, 2.0, 8.0, 1.0])), frames)


def test_every_frame_is_sent_at_its_time_and_gets_one_answer(serve, source):
    runner, seen = Slow(0.0), []
    client = PacedClient(serve(runner), source)
    frames = client.stream(20, fps=200, warmup=3, on_frame=lambda: seen.append(1))
    assert len(seen) == 23
    assert [frame.due_ms - frames[0].due_ms for frame in frames] == pytest.approx([5 * n for n in range(20)])
    assert all(frame.sent_ms >= frame.due_ms for frame in frames)
    assert all(frame.answered_ms > frame.sent_ms for frame in frames)
    masks = Served(frames, None).masks
    assert runner.submitted >= len(masks) > 0
    # What was slow here, and dropped for it, is declared, and not lost.
    assert all(frame.state in {"live", "dropped"} for frame in frames)


def test_frames_after_the_counter_of_repetitions_has_wrapped_get_their_own_answers(serve, source, monkeypatch):
    # Two frames in a repetition: the counter wraps after 10 frames, as it does after hours with its 16 bits.
    monkeypatch.setattr("bench.mrd_client._REPETITIONS", 5)
    frames = PacedClient(serve(Slow(0.0)), source).stream(30, fps=100, warmup=0, on_frame=lambda: None)
    assert all(frame.state in {"live", "dropped"} for frame in frames)
    assert all(frame.answered_ms > frame.sent_ms for frame in frames)


def test_while_the_engine_is_busy_frames_are_dropped_and_the_freshest_is_served(serve, source):
    at_engine, all_sent = threading.Event(), threading.Event()

    class Blocked(Slow):
        def submit(self, frame):
            at_engine.set()
            all_sent.wait(60)
            return super().submit(frame)

    runner, sent = Blocked(0.3), []

    def on_frame():
        sent.append(1)
        if len(sent) == 1:
            assert at_engine.wait(60)
        if len(sent) == 30:
            all_sent.set()

    frames = PacedClient(serve(runner), source).stream(30, fps=50, warmup=0, on_frame=on_frame)
    told = Served(frames, None).to_dict(10)
    # The first was at the engine when the others came; every drop is declared, and counted.
    assert [frames[place].state for place in (0, 1, -1)] == ["live", "dropped", "live"]
    assert told["states"] == {"dropped": 30 - runner.submitted, "live": runner.submitted}
    assert told["reasons"] == {"a newer frame came before its turn": told["states"]["dropped"]}


def test_a_server_that_refuses_is_quoted(serve, source):
    with pytest.raises(BadInputError, match=r"refused.*5 slices|refused.*are allowed"):
        PacedClient(serve(Slow(0.0), slices=99), source).stream(5, fps=100, warmup=0, on_frame=lambda: None)


def test_nobody_listens(source):
    with pytest.raises(BadInputError, match="no MRD server answers at 127"):
        PacedClient(Address("127.0.0.1", 1), source)


def test_no_thread_is_left(serve, source):
    before = set(threading.enumerate())
    PacedClient(serve(Slow(0.0)), source).stream(2, fps=100, warmup=0, on_frame=lambda: None)
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "mrd-answers"]
