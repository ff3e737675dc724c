"""The program beside a measurement ends with it, and its children too, however the measurement ends."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from bench.co_load import check_command, co_load
from bench.memory import FEWEST_SAMPLES, MemoryTrack
from cinert.errors import BadInputError

# A parent whose child has a session of its own, and prints its number.
FAMILY = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True);"
    "open(sys.argv[1], 'w').write(str(child.pid) + '\\n'); time.sleep(600)"
)


def wait_for(path):
    for _ in range(600):
        if path.exists() and path.read_text().endswith("\n"):
            return int(path.read_text())
        time.sleep(0.1)
    raise AssertionError("the child did not start")


def gone(pid):
    for _ in range(100):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("failure", [None, RuntimeError, KeyboardInterrupt])
def test_it_ends_with_its_children_also_on_failure(tmp_path, failure):
    pids = []

    def measure():
        with co_load([sys.executable, "-c", FAMILY, str(tmp_path / "pid")], settle_s=0.0) as load:
            pids.append(wait_for(tmp_path / "pid"))
            load.check()
            if failure is not None:
                raise failure

    if failure is None:
        measure()
    else:
        with pytest.raises(failure):
            measure()
    assert gone(pids[0])


def test_it_ends_when_the_measurement_is_terminated(tmp_path):
    code = (
        "import sys, time; from bench.co_load import co_load\n"
        "with co_load([sys.executable, '-c', sys.argv[1], sys.argv[2]], settle_s=0.0): time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, FAMILY, str(tmp_path / "pid")])
    child = wait_for(tmp_path / "pid")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert gone(child)


def test_a_program_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.processes._PATIENCE_S", 0.3)
    stubborn = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "open(sys.argv[1], 'w').write('0\\n'); time.sleep(600)"
    )
    with co_load([sys.executable, "-c", stubborn, str(tmp_path / "pid")], settle_s=0.0) as load:
        wait_for(tmp_path / "pid")
        pid = load._process.pid
    assert gone(pid)


def test_one_that_ends_early_is_no_load(tmp_path):
    words = [sys.executable, "-c", "import sys; sys.exit('no scan to reconstruct')"]
    with (
        pytest.raises(BadInputError, match=r"ended with exit code 1 before .*: no scan to reconstruct"),
        co_load(words, settle_s=60.0),
    ):
        raise AssertionError("it was taken for a load")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("no-such-program --fast", "no program 'no-such-program'"),
        ("", "no program ''"),
        ("sh -c 'a", "No closing quotation"),
    ],
)
def test_a_command_that_cannot_run_is_refused_before_anything_is_measured(command, says):
    with pytest.raises(BadInputError, match=says):
        check_command(command)


def test_memory_that_grows_is_seen_and_memory_that_does_not_is_flat(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("bench.memory.time.monotonic", lambda: now[0])
    resident = iter(range(100, 100 + 2 * FEWEST_SAMPLES))
    track = MemoryTrack()
    monkeypatch.setattr(track, "_resident", lambda: next(resident) * 2.0**20)
    for _ in range(FEWEST_SAMPLES):
        track.note()
        track.note()  # too early, and free
        now[0] += 60.0
    told = track.to_dict()
    assert (told["start_mib"], told["end_mib"], told["samples"]) == (100, 109, FEWEST_SAMPLES)
    assert told["slope_mib_per_h"] == pytest.approx(60)
    few = MemoryTrack()
    few.note()
    assert few.to_dict()["slope_mib_per_h"] is None
    assert MemoryTrack().to_dict() is None


def test_a_day_of_notes_takes_no_more_room(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("bench.memory.time.monotonic", lambda: now[0])
    track = MemoryTrack()
    monkeypatch.setattr(track, "_resident", lambda: 2.0**30)
    for _ in range(86400):
        track.note()
        now[0] += 1.0
    told = track.to_dict()
    assert told["samples"] <= 1024
    assert told["slope_mib_per_h"] == 0
