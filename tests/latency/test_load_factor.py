import dataclasses
import json

import pytest

from cinert.errors import BadInputError
from cinert.timing import Visit
from latency.load_factor import LoadFactor, measure_load


def test_by_hand():
    """Times over the quiet times 2 and 10 are 1, 1, 2 and 1, 3."""
    rows = {
        "a": [Visit([2.0, 2.0], 0.0, False), Visit([4.0], 0.0, True)],
        "b": [Visit([10.0, 30.0], 0.0, False)],
        "c": [],
    }
    load = measure_load(rows, {"a": 2.0, "b": 10.0})
    assert load.p50 == 1.0
    assert load.p99 == pytest.approx(2.96)
    assert load.disturbed == pytest.approx(1 / 3)


def test_the_interval_is_of_visits_not_of_samples():
    """Two visits of many samples: drawn again they are both of the one, one of each, or both of the other."""
    rows = {"a": [Visit([1.0] * 100, 0.0, False), Visit([3.0] * 100, 0.0, False)]}
    load = measure_load(rows, {"a": 1.0})
    assert load.p50 == 2.0
    assert load.p50_interval == (1.0, 3.0)
    assert load.p99_interval == (1.0, 3.0)


def test_a_quiet_machine_has_a_narrow_interval_around_one():
    rows = {"a": [Visit([1.0, 1.01, 1.02], 0.0, False)] * 9}
    load = measure_load(rows, {"a": 1.0})
    assert load.p50_interval == pytest.approx((load.p50, load.p50))
    assert (load.p50, load.disturbed) == (1.01, 0.0)


def test_round_trip():
    load = measure_load({"a": [Visit([1.0, 1.5], 0.0, True), Visit([1.1], 0.0, False)]}, {"a": 1.0})
    assert LoadFactor.from_dict(json.loads(json.dumps(load.to_dict())), source="lut.json") == load


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"p50": float("nan")}, "p50 is nan"),
        ({"p99": -1.0}, "p99 is -1.0"),
        ({"p99_interval": [1.0, float("inf")]}, "p99_interval is inf"),
        ({"surprise": 1.0}, "unknown key surprise"),
    ],
)
def test_what_cannot_be_a_factor_is_refused(change, says):
    load = LoadFactor(p50=1.0, p50_interval=(1.0, 1.0), p99=1.0, p99_interval=(1.0, 1.0), disturbed=0.0)
    with pytest.raises(BadInputError, match=says) as error:
        LoadFactor.from_dict({**dataclasses.asdict(load), **change}, source="lut.json: load")
    assert "lut.json: load" in str(error.value)
