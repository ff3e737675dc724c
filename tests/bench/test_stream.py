import threading

import pytest

from bench.stream import P99_FRAMES, Stream, WallClock, burst, cold, paced
from cinert.timing import sustained_fps


class FakeClock:
    """Time that passes only when told."""

    def __init__(self):
        self.time_ms = 1000.0
        self.slept_ms = []

    def now_ms(self):
        return self.time_ms

    def sleep_until_ms(self, moment_ms):
        if moment_ms > self.time_ms:
            self.slept_ms.append(moment_ms - self.time_ms)
            self.time_ms = moment_ms


def worker(clock, durations):
    def work(number):
        clock.time_ms += durations[number]

    return work


def test_burst_times_each_frame_alone():
    clock = FakeClock()
    seen = []
    stream = burst(worker(clock, [5, 70, 5]), 3, clock=clock, on_frame=lambda: seen.append(1))
    assert stream.latency_ms == [5, 70, 5]
    assert stream.misses(50) == 1
    assert len(seen) == 3


def test_a_slow_frame_delays_the_next_and_the_delay_counts():
    # 20 frames/s: due at 0, 50, 100, 150, 200 ms. Frame 1 takes 120 ms and is done at 170; frame 2, due at 100, waits
    # until 170 and takes 10 (80 late); frame 3, due at 150, starts at 180 (40); frame 4 finds all quiet.
    clock = FakeClock()
    stream = paced(worker(clock, [10, 120, 10, 10, 10]), 5, fps=20, clock=clock, on_frame=lambda: None)
    assert stream.latency_ms == pytest.approx([10, 120, 80, 40, 10])
    assert stream.misses(50) == 2
    # The same work back to back would show one late frame only.
    clock = FakeClock()
    assert burst(worker(clock, [10, 120, 10, 10, 10]), 5, clock=clock, on_frame=lambda: None).misses(50) == 1


def test_a_pipeline_that_is_too_slow_falls_further_and_further_behind():
    clock = FakeClock()
    stream = paced(worker(clock, [60] * 6), 6, fps=20, clock=clock, on_frame=lambda: None)
    assert stream.latency_ms == pytest.approx([60, 70, 80, 90, 100, 110])


def test_the_queue_holds_what_was_due_and_waited():
    # As above: when frame 1 is done at 170 ms, frames 2 and 3 (100 and 150 ms) wait; at 180 ms frame 3 does.
    assert Stream("paced", [10, 120, 80, 40, 10]).queue_depth(20) == {"p50": 0, "worst": 2}
    # There is no queue behind the last frame.
    assert Stream("paced", [10, 1000]).queue_depth(20) == {"p50": 0, "worst": 0}
    assert Stream("burst", [10, 1000]).queue_depth(20) is None


def test_paced_frames_are_due_at_absolute_times():
    clock = FakeClock()
    paced(worker(clock, [10, 30, 10, 10]), 4, fps=25, clock=clock, on_frame=lambda: None)
    assert clock.slept_ms == pytest.approx([30, 10, 30])
    assert clock.time_ms == pytest.approx(1000 + 3 * 40 + 10)


def test_time_spent_between_frames_does_not_move_the_schedule():
    clock = FakeClock()

    def on_frame():
        clock.time_ms += 5

    stream = paced(worker(clock, [10, 10, 10]), 3, fps=20, clock=clock, on_frame=on_frame)
    assert stream.latency_ms == pytest.approx([10, 10, 10])


def test_cold_idles_before_every_frame_and_does_not_count_it():
    clock = FakeClock()
    stream = cold(worker(clock, [30, 20]), 2, idle_s=2, clock=clock, on_frame=lambda: None)
    assert stream.latency_ms == pytest.approx([30, 20])
    assert clock.slept_ms == pytest.approx([2000, 2000])


def test_figures_of_a_stream():
    document = Stream("paced", [float(value) for value in range(1, 101)]).to_dict(90)
    assert document["frames"] == 100
    assert document["p50_ms"] == pytest.approx(50.5)
    assert document["worst_ms"] == 100
    assert document["misses"] == 10
    assert document["p99_supported"] is False
    assert Stream("burst", [1.0] * P99_FRAMES).to_dict(50)["p99_supported"] is True
    # The number is the smallest that gives 99 % confidence.
    assert 0.99**P99_FRAMES < 0.01 < 0.99 ** (P99_FRAMES - 1)


def test_the_wall_clock_does_not_wake_early():
    clock = WallClock()
    moment = clock.now_ms() + 3
    clock.sleep_until_ms(moment)
    assert clock.now_ms() >= moment


def test_frames_overlap_and_each_is_sent_once():
    # Both lanes have to be inside at once for either to leave: without overlap this would never end.
    barrier = threading.Barrier(2, timeout=20)
    numbers = []

    def lane(number):
        barrier.wait()
        numbers.append(number)

    assert sustained_fps([lane, lane], 10) > 0
    assert sorted(numbers) == list(range(10))


def test_a_lane_that_fails_is_heard():
    def broken(number):
        raise ValueError("no engine")

    with pytest.raises(ValueError, match="no engine"):
        sustained_fps([broken, broken], 4)
