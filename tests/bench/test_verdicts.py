"""The lines of verify.json's verdicts: which stream a rate is of, what is not judged, and what stands beside it."""

import re

import pytest

from bench.stream import paced_rate
from bench.verdicts import interval_half_width, interval_verdict, rate_of, verdict_lines

OTHERS = {"cpu_cores": 0.31, "worst_cpu_cores": 1.4, "of_cores": 2, "disturbing": True}
SAID = "other programs used 0.3 of 2 CPU cores, 1.4 in the worst second"


def document(*, mode="paced", latency_ms=None, share=0.1, within=True, busy=False, two_in_flight=60.0, **more):
    """As far as the lines read it."""
    latency_ms = latency_ms or [20.0] * 500
    return {
        "measured": {"quiet_ms": 10.0, "burst_p50_ms": 11.0, "throughput_fps": 90.0, "others": OTHERS},
        "frame_to_mask": {
            "mode": mode,
            "frames": len(latency_ms),
            "p99_ms": max(latency_ms),
            "misses": 0,
            "p99_supported": True,
            "throughput_fps": two_in_flight,
            "latency_ms": latency_ms,
            "others": OTHERS,
        },
        "estimate": {
            "ms": 10.0,
            "low_ms": max(0.0, 10 - 10 * share),
            "high_ms": 10 + 10 * share,
            "p50_ms": 11.0,
            "throughput_fps": 100.0,
        },
        "lut": {"busy": busy},
        "machine": None,
        "budget_ms": 50.0,
        "fps": 22.0,
        "within_interval": within,
        "budget_met": True,
        "fps_met": two_in_flight >= 22,
        **more,
    }


def behind(frames=500):
    """Latencies of a pipeline that takes 200 ms a frame at 22 frames/s."""
    return [200 + number * (200 - 1000 / 22) for number in range(frames)]


def lines_of(found):
    return {re.search(r"\[/\] (\w+):", line)[1]: line for line in verdict_lines(found)}


def test_no_paced_rate_passes_beside_a_paced_p99_of_seconds():
    """Two frames in flight would keep up, and that is another stream."""
    found = document(latency_ms=behind(), two_in_flight=25.0)
    line = lines_of(found)["rate"]
    # 500 frames in 499 intervals of 45.45 ms and the 77.3 s that the last one took: 200 ms each.
    assert "[red]FAILED[/] rate: 5.00 of 22 frames/s in the paced stream, its last mask 77318 ms after" in line
    assert paced_rate(behind(), 22.0) == pytest.approx(5.0)


def test_a_pace_that_is_kept_is_the_pace():
    assert paced_rate([20.0] * 500, 22.0) == 22.0
    # A late frame in between does not matter, and one that keeps the next waiting neither.
    assert paced_rate([20.0, 900.0, 20.0, 60.0], 22.0) == 22.0
    assert paced_rate([20.0, 20.0, 20.0, 100.0], 22.0) == pytest.approx(4 / (3 / 22 + 0.1))
    line = lines_of(document())["rate"]
    assert line.startswith("[green]PASSED[/] rate: 22 frames/s kept in the paced stream, its last mask 20 ms after")


@pytest.mark.parametrize("mode", ["burst", "cold"])
def test_in_other_modes_the_rate_is_that_of_two_frames_in_flight_and_says_so(mode):
    passed, failed = (document(mode=mode, two_in_flight=fps) for fps in (60.0, 21.0))
    assert "[green]PASSED[/] rate: 60.0 frames/s with two frames in flight, 22 wanted" in lines_of(passed)["rate"]
    assert "[red]FAILED[/] rate: 21.0 frames/s with two frames in flight, 22 wanted" in lines_of(failed)["rate"]


def test_what_the_file_says_of_its_rate_is_taken():
    rate = {"stream": "paced", "fps": 22.0, "last_ms": 61.0, "others": OTHERS}
    assert rate_of(document(latency_ms=behind(), rate=rate)) == rate
    assert "its last mask 61 ms after" in lines_of(document(rate=rate))["rate"]


@pytest.mark.parametrize(
    ("share", "within", "verdict", "says"),
    [
        (0.1, True, "[green]PASSED[/]", ""),
        (0.1, False, "[red]FAILED[/]", ""),
        (0.25, True, "[green]PASSED[/]", ", ± 25%, too wide to prove much"),
        (0.26, True, "[yellow]NOT JUDGED[/]", ", ± 26%, wider than the ± 25% up to which it is judged"),
        (0.71, False, "[yellow]NOT JUDGED[/]", ", ± 71%, wider than"),
        (1.71, True, "[yellow]NOT JUDGED[/]", ", ± 171%, wider than"),
    ],
)
def test_an_estimate_is_judged_by_an_interval_that_can_be_missed(share, within, verdict, says):
    found = document(share=share, within=within)
    line = lines_of(found)["estimate"]
    assert line.startswith(f"{verdict} estimate: ")
    assert says in line
    assert ("wider than" in line) == (share > 0.25)
    assert interval_half_width(found["estimate"]) == pytest.approx(share)
    assert interval_verdict(found) is (None if share > 0.25 else within)


def test_other_programs_stand_beside_every_verdict():
    machine = {"anchor_ms": 2.0, "lut_anchor_ms": 1.9, "drift": 0.05, "limit": 0.12, "changed": False}
    rate = {"stream": "two in flight", "fps": 60.0, "last_ms": None, "others": OTHERS}
    for changed in (False, True):
        found = document(mode="burst", machine={**machine, "changed": changed}, rate=rate)
        assert [SAID in line for line in verdict_lines(found)] == [True] * 4


def test_a_file_from_before_says_that_it_does_not_know():
    found = document()
    for part in ("measured", "frame_to_mask"):
        del found[part]["others"]
    assert all("not known" in line for line in verdict_lines(found)[:3])


def test_a_busy_lut_is_named_beside_what_rests_on_it():
    machine = {"anchor_ms": 2.0, "lut_anchor_ms": 1.9, "drift": 0.05, "limit": 0.12, "changed": False}
    busy = lines_of(document(busy=True, machine=machine))
    assert "by a LUT that was taken BUSY" in busy["estimate"]
    assert "by a LUT that was taken BUSY" in busy["machine"]
    assert "BUSY" not in "".join(verdict_lines(document(machine=machine)))
