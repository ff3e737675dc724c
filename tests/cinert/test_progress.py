"""What a log says of a command that takes long: a line a minute at least, with what is done and what there is."""

import io
import threading
from importlib.metadata import entry_points
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from rich.console import Console

from cinert import progress
from cinert.cli import command, reserve
from cinert.device_lock import DeviceLock
from cinert.errors import BadInputError
from cinert.progress import LINE_EVERY_S, doing, progress_bar, stage_bars

LONG = (
    "bench-compare",
    "bench-engine",
    "bench-model",
    "bench-ops",
    "bench-robustness",
    "calibrate-quality",
    "evaluate-bundle",
    "export-engine",
    "make-phantom",
    "nas-search",
    "nas-sweep",
    "segment-cine",
    "send-mrd",
    "train-arch",
)
SERVICES = ("serve-mrd", "view-cine")


class Log(io.StringIO):
    """Stands for stderr; `wait` returns when so many lines more have been written."""

    def __init__(self):
        super().__init__()
        self._written = threading.Condition()

    def write(self, text):
        with self._written:
            done = super().write(text)
            self._written.notify_all()
        return done

    @property
    def lines(self):
        return self.getvalue().splitlines()

    def wait(self, lines):
        with self._written:
            wanted = self.getvalue().count("\n") + lines
            assert self._written.wait_for(lambda: self.getvalue().count("\n") >= wanted, timeout=600)
            return self.lines[wanted - lines : wanted]


@pytest.fixture
def log(monkeypatch):
    found = Log()
    monkeypatch.setattr(progress, "errors", Console(file=found, soft_wrap=True, highlight=False))
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.01)
    return found


def run(work, **more):
    decorated = command("work-long", examples="work-long", **more)(work)
    result = CliRunner().invoke(decorated, [], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_lines_come_at_least_once_a_minute():
    assert LINE_EVERY_S < 60


def test_a_line_says_what_is_done_and_what_there_is(log):
    def work():
        """Work."""
        with progress_bar() as bar:
            task = bar.add_task("training", total=40)
            bar.update(task, completed=10)
            assert any(line.startswith("work-long: training: 10 of 40 (25%)") for line in log.wait(3))
            bar.update(task, completed=20)
            later = log.wait(3)
            assert any(": 20 of 40 (50%), about 0:00:0" in line for line in later), later
            assert all(" left; running for 0:0" in line for line in later[1:])
            other = bar.add_task("localiser", total=None)
            *_, both = log.wait(3)
            assert "training: 20 of 40 (50%)" in both
            assert "; localiser; running for" in both
            # What is finished is told no more.
            bar.update(task, completed=40)
            assert log.wait(3)[-1].startswith("work-long: localiser; running for ")
            bar.update(other, total=1, completed=1)
            assert log.wait(3)[-1].startswith("work-long: running for ")

    run(work)


def test_a_bar_that_shows_the_next_stage_forgets_the_last_one(log):
    def work():
        """Work."""
        with stage_bars() as report, progress_bar() as bar:
            task = bar.add_task("searching", total=100)
            bar.update(task, completed=50)
            log.wait(2)
            bar.update(task, description="training", completed=3, total=900)
            assert log.wait(3)[-1].startswith("work-long: training: 3 of 900 (0%); running")
            del report

    run(work)


def test_before_the_first_bar_and_after_the_last_it_says_that_it_runs(log):
    def work():
        """Work."""
        assert log.wait(2)[-1].startswith("work-long: running for 0:0")
        with doing(lambda: "waiting: cpu is being used"):
            assert log.wait(3)[-1].startswith("work-long: waiting: cpu is being used; running for")
        with progress_bar() as bar:
            bar.add_task("reading", total=None)
            assert log.wait(3)[-1].startswith("work-long: reading; running for")
        assert log.wait(3)[-1].startswith("work-long: running for")

    run(work)


def test_it_ends_with_the_command_also_with_one_that_fails(log):
    def fail():
        """Fail."""
        raise BadInputError("no data given.")

    before = threading.active_count()
    for _ in range(3):
        result = CliRunner().invoke(command("work-long", examples="work-long")(fail), [])
        assert result.exit_code == 2
    assert threading.active_count() == before


def test_a_process_that_leaves_talking_to_another_is_silent(log, monkeypatch):
    monkeypatch.setattr(progress, "console", SimpleNamespace(quiet=True))
    # Twenty times as long as a line takes.
    run(lambda: threading.Event().wait(0.2))
    assert log.lines == []


def test_where_somebody_watches_there_are_bars_and_no_lines(log, monkeypatch):
    monkeypatch.setattr(progress, "errors", Console(file=log, force_terminal=True))
    began = threading.active_count()
    run(lambda: None if threading.active_count() == began else pytest.fail("a thread"))
    assert log.lines == []


def test_waiting_for_a_device_is_told_again_and_again(log):
    def work():
        """Work."""
        holder = DeviceLock("cpu", "measure", "bench-ops")
        assert holder.acquire()

        def release_once_told():
            while not all("waiting: cpu is being measured by" in line for line in log.wait(3)):
                pass
            holder.release()

        releasing = threading.Thread(target=release_once_told)
        releasing.start()
        reserve("cpu", "compute", wait=True)
        releasing.join()

    run(work)


@pytest.mark.parametrize(("name", "beats"), [*((name, True) for name in LONG), *((name, False) for name in SERVICES)])
def test_every_long_command_has_lines_and_services_have_none(monkeypatch, name, beats):
    begun = []

    def heartbeat(command):
        begun.append(command)
        raise BlockingIOError

    monkeypatch.setattr("cinert.cli.heartbeat", heartbeat)
    (entry,) = entry_points(group="console_scripts", name=name)
    # A service begins, and fails for want of its arguments.
    with pytest.raises(BlockingIOError if beats else TypeError):
        entry.load().callback()
    assert begun == ([name] if beats else [])
