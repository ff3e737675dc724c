import numpy as np
import pytest

from cinert.timing import Protocol, is_tight, measure_interleaved, percentiles_ms, summarise

QUICK = Protocol(min_passes=3, max_passes=6, visit_ms=0.0)


def test_quiet_time_survives_a_busy_spell():
    """A row that is slowed in half of its passes keeps its quiet time; the user's p50 does not."""
    visits = [[1.0, 1.02], [3.0, 3.1], [1.01, 1.0], [3.2, 3.0], [1.0, 1.0], [3.0, 3.0]]
    stats = summarise(visits, QUICK)
    assert stats.quiet_ms == pytest.approx(1.0, abs=0.01)
    assert stats.p50_ms > 1.01
    assert stats.noisy
    assert stats.n == 12


def test_a_row_stops_when_its_quietest_passes_agree():
    assert not is_tight([[1.0]] * 2, QUICK)
    assert is_tight([[1.0]] * 3, QUICK)
    assert not is_tight([[1.0], [1.1], [1.2]], QUICK)
    assert is_tight([[1.0], [5.0], [1.01], [1.005]], QUICK)
    assert is_tight([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]], QUICK)


def test_rows_are_interleaved_in_another_order_each_pass():
    calls = []

    def clock(name):
        def run():
            calls.append(name)
            return 1.0

        return run

    protocol = Protocol(min_passes=4, max_passes=4, visit_ms=0.0, warmup=0)
    visits = measure_interleaved({name: clock(name) for name in "abcdef"}, protocol, seed=0)
    passes = [calls[start : start + 6] for start in range(0, 24, 6)]
    assert all(sorted(order) == list("abcdef") for order in passes)
    assert len({tuple(order) for order in passes}) > 1
    assert {name: len(rows) for name, rows in visits.items()} == dict.fromkeys("abcdef", 4)


def test_an_interrupted_measurement_goes_on():
    earlier = {"a": [[1.0]] * 3, "b": [[1.0]]}
    seen = []
    measure_interleaved(
        {"a": lambda: pytest.fail("a is finished"), "b": lambda: seen.append(1) or 1.0},
        Protocol(min_passes=3, max_passes=6, visit_ms=0.0, warmup=0),
        seed=0,
        visits=earlier,
    )
    assert len(seen) == 2
    assert len(earlier["b"]) == 3


def test_percentiles_by_hand():
    figures = percentiles_ms(np.arange(1, 1001, dtype=float).tolist())
    assert figures["p50_ms"] == pytest.approx(500.5)
    assert figures["p99_ms"] == pytest.approx(990.01)
    assert figures["worst_ms"] == 1000
