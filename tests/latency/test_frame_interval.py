import threading
import time

import pytest

from latency.profile import frame_interval


class Sleeper:
    """A runner that takes a given time, wherever it runs."""

    input_shapes = ((1,),)

    def __init__(self, seconds):
        self.seconds = seconds
        self.runs = 0
        self.threads = set()

    def run(self, image):
        time.sleep(self.seconds)
        self.runs += 1
        self.threads.add(threading.get_ident())
        return image


@pytest.mark.parametrize("ms", [19, 28, 36, 50, 84, 300])
def test_no_lane_is_left_idle_at_the_end(ms):
    lanes = [Sleeper(ms / 1000), Sleeper(ms / 1000)]
    clock = frame_interval(*lanes)
    before = sum(lane.runs for lane in lanes)
    interval_ms = clock()
    frames = sum(lane.runs for lane in lanes) - before

    assert frames >= 4
    assert frames % 2 == 0
    assert interval_ms >= ms / 2
    assert len(lanes[1].threads) == 1


def test_one_lane_takes_as_long_as_its_frames():
    lane = Sleeper(0.02)
    assert frame_interval(lane)() >= 20
