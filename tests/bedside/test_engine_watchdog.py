"""What becomes of frames, processes and memory when an engine or its server is killed, hangs or cannot start."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from bedside import watchdog
from bedside.engine_process import EngineGoneError, EngineLoadError
from bedside.frames import Answer, Frame
from bedside.pipeline_runner import PipelineRunners
from bedside.watchdog import Watchdog
from cinert.bundle import open_bundle
from cinert.data.nifti import Geometry
from cinert.errors import BackendUnavailableError


@pytest.fixture
def frame(ball) -> Frame:
    image, affine = ball
    return Frame(image[..., 0], Geometry(image.shape[:3], affine), time.perf_counter_ns())


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def runners(ort_bundle: Path, lines):
    with PipelineRunners(
        open_bundle(ort_bundle), device="cpu", threads=1, budget_ms=1e6, hang_ms=60_000, log=lines.append
    ) as runners:
        yield runners


def masked(runner, frame: Frame) -> tuple[Answer, list[Answer]]:
    """Submit a frame until it gets a mask: that answer, and those before it."""
    failed, deadline = [], time.monotonic() + 120
    while (answer := runner.submit(frame)).mask is None:
        failed.append(answer)
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
    return answer, failed


def wait_for(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestAKilledEngine:
    def test_fails_a_frame_says_why_and_is_back(self, runners, frame, lines) -> None:
        runner = runners.open()
        mask = runner.submit(frame).mask
        killed = runners.pid
        os.kill(killed, signal.SIGKILL)

        answer, failed = masked(runner, frame)

        assert failed[0].state == "failed"
        assert failed[0].reason.startswith("the engine was ended by SIGKILL")
        assert "no mask for" in failed[0].reason
        assert (answer.state, (answer.mask == mask).all()) == ("live", True)
        assert runners.pid != killed
        wait_for(lambda: runners.outages)
        (outage,) = runners.outages
        assert outage.cause == "was ended by SIGKILL"
        assert outage.down_s > 0
        assert outage.frames == len(failed)
        assert "ready again after" in lines[-1]

    def test_in_the_middle_of_a_frame_fails_that_frame(self, runners, frame) -> None:
        runner = runners.open()
        runner.submit(frame)
        # Stopped, it has the frame and cannot answer; so the kill meets it there.
        engine = psutil.Process(runners.pid)
        engine.suspend()
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(runner.submit(frame)))
        waiting.start()
        engine.kill()
        waiting.join()

        assert [answer.state for answer in answers] == ["failed"]
        assert masked(runner, frame)[0].state == "live"

    def test_keeps_the_masks_of_every_source(self, runners, frame) -> None:
        one, other = runners.open(), runners.open()
        expected = one.submit(frame).mask
        other.submit(frame)
        os.kill(runners.pid, signal.SIGKILL)

        for runner in (one, other):
            assert (masked(runner, frame)[0].mask == expected).all()


def test_an_engine_that_hangs_is_killed_and_replaced(ort_bundle: Path, frame, lines) -> None:
    with PipelineRunners(
        open_bundle(ort_bundle), device="cpu", threads=1, budget_ms=1e6, hang_ms=3000, log=lines.append
    ) as runners:
        runner = runners.open()
        runner.submit(frame)
        os.kill(runners.pid, signal.SIGSTOP)

        answer = runner.submit(frame)
        again, _ = masked(runner, frame)

    assert answer.state == "failed"
    assert "gave no sign of life for 3 s and was killed" in answer.reason
    assert again.state == "live"
    assert runners.outages[0].down_s >= 3


def test_an_idle_engine_that_hangs_is_replaced_before_a_frame_needs_it(ort_bundle: Path, frame) -> None:
    with PipelineRunners(open_bundle(ort_bundle), device="cpu", threads=1, budget_ms=1e6, hang_ms=3000) as runners:
        os.kill(runners.pid, signal.SIGSTOP)
        wait_for(lambda: runners.outages)

        assert runners.open().submit(frame).state == "live"
        assert runners.outages[0].frames == 0


SERVER = """
import sys, time
from pathlib import Path
from bedside.pipeline_runner import PipelineRunners
from cinert.bundle import open_bundle
with PipelineRunners(open_bundle(Path(sys.argv[1])), device="cpu", threads=1, budget_ms=1e6) as runners:
    print(runners.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("hanging", [False, True])
def test_a_killed_server_leaves_no_process_and_no_memory(ort_bundle: Path, tmp_path: Path, hanging: bool) -> None:
    shared = set(Path("/dev/shm").iterdir())
    (tmp_path / "server.py").write_text(SERVER)
    server = psutil.Popen(
        [sys.executable, tmp_path / "server.py", ort_bundle],
        stdout=-1,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    engine = psutil.Process(int(server.stdout.readline()))
    if hanging:
        engine.suspend()

    server.kill()
    server.communicate()

    psutil.wait_procs([engine], timeout=60)
    assert not engine.is_running()
    assert set(Path("/dev/shm").iterdir()) <= shared


class Dying:
    """Stands for an engine process: it is ready if it is told so, and ends when it is told so."""

    def __init__(self, ready: bool) -> None:
        self.ready, self.beats, self.ended = ready, 0, threading.Event()

    def wait_until_ready(self, timeout_s: float) -> None:
        if not self.ready:
            raise BackendUnavailableError("the engine ended with exit code 9 while it was loaded.")

    def wait(self, timeout_s: float) -> bool:
        self.beats += 1
        return self.ended.wait(timeout_s)

    def ending(self) -> str:
        return "was ended by SIGSEGV"

    def close(self) -> None:
        pass


class TestBackOff:
    def test_gives_up_with_a_reason_and_stays_up(self, monkeypatch, lines) -> None:
        monkeypatch.setattr(watchdog, "DELAYS_S", (0.0, 0.0, 0.0))
        started = []

        def start() -> Dying:
            started.append(Dying(ready=not started))
            return started[-1]

        with Watchdog(start, hang_s=60, log=lines.append) as dog:
            started[0].ended.set()
            wait_for(lambda: any("given up" in line for line in lines))
            with pytest.raises(EngineGoneError, match="exit code 9 while it was loaded; it was given up after 3 tries"):
                dog.engine()

        assert len(started) == 4

    @pytest.mark.parametrize(
        ("error", "told", "logged"),
        [
            (
                EngineLoadError("the engine cannot be loaded: KeyError: 'bias'."),
                "cannot be loaded;",
                "KeyError: 'bias'",
            ),
            (OSError(12, "Cannot allocate memory"), "cannot be started, Cannot allocate memory;", "Errno 12"),
        ],
    )
    def test_clients_are_told_no_words_of_an_engine(self, monkeypatch, lines, error, told: str, logged: str) -> None:
        monkeypatch.setattr(watchdog, "DELAYS_S", (0.0, 0.0))
        started = []

        def start() -> Dying:
            started.append(Dying(ready=True))
            if len(started) > 1:
                raise error
            return started[-1]

        with Watchdog(start, hang_s=60, log=lines.append) as dog:
            started[0].ended.set()
            wait_for(lambda: any("given up" in line for line in lines))
            with pytest.raises(EngineGoneError, match=f"^{told} it was given up after 2 tries"):
                dog.engine()

        assert any(logged in line for line in lines)

    def test_begins_anew_when_an_engine_lasted(self, monkeypatch, lines) -> None:
        monkeypatch.setattr(watchdog, "DELAYS_S", (0.0, 600.0))
        monkeypatch.setattr(watchdog, "SETTLED_S", 0.0)
        started = []

        def start() -> Dying:
            started.append(Dying(ready=True))
            return started[-1]

        with Watchdog(start, hang_s=60, log=lines.append) as dog:
            for _ in range(4):
                before = len(dog.outages)
                started[-1].ended.set()
                wait_for(lambda before=before: len(dog.outages) == before + 1)

        assert len(started) == 5

    def test_waits_longer_from_crash_to_crash(self, monkeypatch, lines) -> None:
        monkeypatch.setattr(watchdog, "DELAYS_S", (0.0, 600.0))
        started = []

        def start() -> Dying:
            started.append(Dying(ready=True))
            started[-1].ended.set()
            return started[-1]

        with Watchdog(start, hang_s=60, log=lines.append) as dog:
            wait_for(lambda: any("try 2 of 2" in line for line in lines))
            wait_for(lambda: dog.outages)
            with pytest.raises(EngineGoneError, match="was ended by SIGSEGV; it is being started again"):
                dog.engine()

        assert len(started) == 2

    def test_a_first_start_that_fails_is_the_callers(self, lines) -> None:
        with (
            pytest.raises(BackendUnavailableError, match="while it was loaded"),
            Watchdog(lambda: Dying(ready=False), hang_s=60, log=lines.append),
        ):
            pass

        assert lines == []
