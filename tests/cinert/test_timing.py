import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from cinert.errors import ExitCode
from cinert.quiet import MachineBusyError
from cinert.timing import (
    Protocol,
    Visit,
    anchor_floor,
    is_tight,
    measure_interleaved,
    percentiles_ms,
    quiet_medians,
    sample,
    summarise,
)

QUICK = Protocol(min_passes=3, max_passes=6, visit_ms=0.0, warmup=0, anchor_limit=0.1, patience_s=10.0)


def quiet(*rows, anchor_ms=0.0):
    """Undisturbed visits with these samples."""
    return [Visit(list(row), anchor_ms, False) for row in rows]


class FakeWatch:
    """Finds windows disturbed or not in the given order, and quiet ones after that."""

    def __init__(self, *reasons):
        self.reasons = iter(reasons)
        self.begun = 0

    def begin(self):
        self.begun += 1

    def disturbance(self):
        return next(self.reasons, None)


@pytest.fixture
def now(monkeypatch):
    """Seconds of a clock that only work and sleep move, as `now.s`."""
    clock = SimpleNamespace(s=100.0)

    def sleep(seconds):
        clock.s += seconds

    monkeypatch.setattr("cinert.timing.time", SimpleNamespace(perf_counter=lambda: clock.s, sleep=sleep))
    return clock


def work(now, ms):
    """A clock that takes 10 ms of the fake time and says `ms`, or the next of them."""
    values = iter(ms) if isinstance(ms, (list, itertools.chain)) else itertools.repeat(ms)

    def run():
        now.s += 0.01
        return next(values)

    return run


def test_quiet_time_survives_a_busy_spell():
    """A row that is slowed in half of its passes keeps its quiet time; the user's p50 does not."""
    visits = quiet([1.0, 1.02], [3.0, 3.1], [1.01, 1.0], [3.2, 3.0], [1.0, 1.0], [3.0, 3.0])
    stats = summarise(visits, QUICK, 0.0)
    assert stats.quiet_ms == pytest.approx(1.0, abs=0.01)
    # Medians 1.0, 1.005 and 1.01 are the lowest three.
    assert stats.spread == pytest.approx(0.01)
    assert stats.p50_ms > 1.01
    assert stats.noisy
    assert stats.n == 12


def test_a_row_stops_when_its_quietest_passes_agree():
    assert not is_tight(quiet([1.0], [1.0]), QUICK, 0.0)
    assert is_tight(quiet([1.0], [1.0], [1.0]), QUICK, 0.0)
    assert not is_tight(quiet([1.0], [1.1], [1.2]), QUICK, 0.0)
    assert is_tight(quiet([1.0], [5.0], [1.01], [1.005]), QUICK, 0.0)
    assert is_tight(quiet([1.0], [2.0], [3.0], [4.0], [5.0], [6.0]), QUICK, 0.0)


def test_a_slow_row_stops_when_it_has_had_its_time():
    protocol = dataclasses.replace(QUICK, row_s=6.0)
    assert not is_tight(quiet([1900.0], [1990.0], [2080.0]), protocol, 0.0)
    assert is_tight(quiet([1900.0], [2000.0], [2100.0]), protocol, 0.0)
    assert not is_tight(quiet([4000.0], [5000.0]), protocol, 0.0)


def test_only_quiet_visits_count_by_hand():
    """What was disturbed, or beside an anchor more than a tenth slow, is in p50 and p99, not in the quiet time."""
    visits = [
        Visit([2.0, 2.2], 1.0, False),
        Visit([0.5], 1.0, True),
        Visit([0.6], 1.11, False),
        Visit([2.3], 1.09, False),
    ]
    assert quiet_medians(visits, QUICK, 1.0) == pytest.approx([2.1, 2.3])
    assert not is_tight(visits, QUICK, 1.0)
    stats = summarise(visits, QUICK, 1.0)
    assert stats.quiet_ms == pytest.approx(2.1)
    assert (stats.n, stats.p50_ms) == (5, 2.0)
    tolerant = Protocol(min_passes=3, max_passes=4, tolerant=True)
    assert quiet_medians(visits, tolerant, 1.0) == pytest.approx([0.5, 0.6, 2.1, 2.3])
    assert is_tight(visits, tolerant, 1.0)


def test_the_floor_of_the_anchor_by_hand():
    """A tenth of eleven windows lies below the second; two rows of one window are one window."""
    rows = {
        "a": [Visit([9.0], float(ms), False) for ms in range(11, 0, -1)],
        "b": [Visit([9.0], 1.0, False)] * 30,
    }
    assert anchor_floor(rows) == pytest.approx(2.0)
    assert anchor_floor({}) == 0
    assert anchor_floor({"a": quiet([1.0])}) == 0


@pytest.mark.parametrize(("ms", "runs"), [(1.0, 4), (20.0, 3)])
def test_a_long_run_warms_up_once(now, ms, runs):
    """Runs that take 10 ms of the clock: two samples in a visit of 15 ms, after two runs to warm up or one."""
    calls = []
    clock = work(now, ms)
    samples = sample(lambda: calls.append(1) or clock(), Protocol(warmup=2, visit_ms=15.0))
    assert samples == [ms, ms]
    assert len(calls) == runs


def test_rows_are_interleaved_in_another_order_each_pass():
    calls = []

    def clock(name):
        def run():
            calls.append(name)
            return 1.0

        return run

    protocol = Protocol(min_passes=4, max_passes=4, visit_ms=0.0, warmup=0, window_s=0.0)
    visits = measure_interleaved({name: clock(name) for name in "abcdef"}, protocol, seed=0, watch=FakeWatch())
    passes = [calls[start : start + 6] for start in range(0, 24, 6)]
    assert all(sorted(order) == list("abcdef") for order in passes)
    assert len({tuple(order) for order in passes}) > 1
    assert {name: len(rows) for name, rows in visits.items()} == dict.fromkeys("abcdef", 4)


def test_an_interrupted_measurement_goes_on(now):
    earlier = {"a": quiet([1.0], [1.0], [1.0]), "b": quiet([1.0])}
    measure_interleaved(
        {"a": lambda: pytest.fail("a is finished"), "b": work(now, 1.0)},
        QUICK,
        seed=0,
        watch=FakeWatch(),
        visits=earlier,
    )
    assert len(earlier["b"]) == 3


def test_a_disturbed_window_is_repeated_and_its_samples_are_kept(now):
    """Both rows are visited in one window; the second one is disturbed, and is made up for."""
    watch, passes, windows = FakeWatch(None, "a neighbour"), [], []
    visits = measure_interleaved(
        {"a": work(now, [4.0, 1.0, 4.0, 4.0]), "b": work(now, 7.0)},
        QUICK,
        seed=0,
        watch=watch,
        on_window=lambda: windows.append(watch.begun),
        on_pass=lambda rows: passes.append(len(rows["a"])),
    )
    assert [visit.disturbed for visit in visits["a"]] == [False, True, False, False]
    assert [visit.samples_ms for visit in visits["a"]] == [[4.0], [1.0], [4.0], [4.0]]
    assert summarise(visits["a"], QUICK, 0.0).quiet_ms == 4.0
    assert len(visits["b"]) == 4
    assert passes == [1, 2, 3, 4]
    assert windows == [1, 2, 3, 4]


def test_a_window_in_which_the_anchor_is_slow_is_repeated(now):
    """Windows of 50 times the anchor; it is slow in the whole of the second."""
    anchor = itertools.chain([10.0] * 49, [14.0] * 49, itertools.repeat(10.0))
    visits = measure_interleaved({"a": work(now, 3.0)}, QUICK, seed=0, watch=FakeWatch(), anchor=work(now, anchor))
    assert [visit.anchor_ms for visit in visits["a"]] == [10.0, 14.0, 10.0, 10.0]
    assert not any(visit.disturbed for visit in visits["a"])
    assert len(quiet_medians(visits["a"], QUICK, anchor_floor(visits))) == 3


@pytest.mark.parametrize("anchored", [False, True])
def test_a_window_is_long_enough_for_the_accounts_of_the_system(now, anchored):
    began = now.s
    anchor = work(now, 5.0) if anchored else None
    measure_interleaved({"a": work(now, 3.0)}, QUICK, seed=0, watch=FakeWatch(), anchor=anchor)
    assert now.s - began == pytest.approx(3 * QUICK.window_s, abs=0.05)


def test_a_slow_anchor_makes_windows_longer(now):
    """Six runs of the anchor: 1.2 seconds hold twelve rows of 100 ms, where half a second held five or six."""

    def slow():
        now.s += 0.1
        return 1.0

    def anchor():
        now.s += 0.2
        return 200.0

    watch = FakeWatch()
    measure_interleaved(dict.fromkeys("abcdefghijkl", slow), QUICK, seed=0, watch=watch, anchor=anchor)
    # What the anchor takes is known from the first window on.
    assert watch.begun <= 2 + 1 + 1 + 1


def test_many_rows_are_judged_in_several_windows(now):
    """Ten rows of 100 ms need two windows a pass, and a disturbance spoils one alone."""

    def slow():
        now.s += 0.1
        return 1.0

    names = "abcdefghij"
    watch = FakeWatch("a neighbour")
    visits = measure_interleaved(dict.fromkeys(names, slow), QUICK, seed=0, watch=watch)
    disturbed = [name for name in names if any(visit.disturbed for visit in visits[name])]
    assert 4 <= len(disturbed) <= 6
    assert {len(visits[name]) for name in names if name not in disturbed} == {3}
    assert {len(visits[name]) for name in disturbed} == {4}


def test_a_load_that_never_pauses_is_told_after_the_patience(now):
    visits, began = {}, now.s
    with pytest.raises(MachineBusyError, match=r"other processes use 1\.4 CPU cores") as error:
        measure_interleaved(
            {"a": work(now, 3.0)},
            QUICK,
            seed=0,
            watch=FakeWatch(*["other processes use 1.4 CPU cores"] * 99),
            visits=visits,
        )
    assert error.value.exit_code == ExitCode.UNAVAILABLE
    assert "--allow-busy" in error.value.hint
    assert now.s - began == pytest.approx(QUICK.patience_s, abs=1.0)
    # What was measured is the caller's, to go on from.
    assert len(visits["a"]) >= 19
    assert all(visit.disturbed for visit in visits["a"])


def test_an_anchor_that_stays_slow_is_told_too(now):
    """The quietest tenth of windows of 10 and 20 ms lies at 11 ms; 20 ms is 1.8 times that."""
    anchor = itertools.chain([10.0] * 100, itertools.repeat(20.0))
    earlier = {"b": quiet(*[[1.0]] * 3, anchor_ms=10.0)}
    with pytest.raises(MachineBusyError, match=r"a reference network takes 1\.8 times as long as at rest"):
        measure_interleaved(
            {"a": work(now, [3.0, 4.0, *[5.0] * 99])},
            Protocol(min_passes=9, max_passes=9, visit_ms=0.0, warmup=0, patience_s=4.0),
            seed=0,
            watch=FakeWatch(),
            anchor=work(now, anchor),
            visits=earlier,
        )


def test_a_pause_renews_the_patience(now):
    """Eight seconds of load, a quiet window, and so on: 26 seconds in all with a patience of ten."""
    busy = ["a neighbour"] * 16
    visits = measure_interleaved(
        {"a": work(now, 3.0)}, QUICK, seed=0, watch=FakeWatch(*busy, None, *busy, None, *busy, None)
    )
    assert len(quiet_medians(visits["a"], QUICK, 0.0)) == 3
    assert len(visits["a"]) == 51


def test_tolerant_takes_whatever_comes(now):
    protocol = Protocol(min_passes=3, max_passes=3, visit_ms=0.0, warmup=0, patience_s=0.0, tolerant=True)
    watch = FakeWatch(*["a neighbour"] * 99)
    anchor = work(now, itertools.chain([1.0], itertools.repeat(50.0)))
    visits = measure_interleaved({"a": work(now, 3.0)}, protocol, seed=0, watch=watch, anchor=anchor)
    assert len(visits["a"]) == 3
    # It is still written down what was disturbed.
    assert all(visit.disturbed for visit in visits["a"])
    assert summarise(visits["a"], protocol, anchor_floor(visits)).quiet_ms == 3.0


def test_percentiles_by_hand():
    figures = percentiles_ms(np.arange(1, 1001, dtype=float).tolist())
    assert figures["p50_ms"] == pytest.approx(500.5)
    assert figures["p99_ms"] == pytest.approx(990.01)
    assert figures["worst_ms"] == 1000
