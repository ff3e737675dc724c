"""Measuring and computing keep apart, and a killed process keeps nobody out."""

import contextlib
import os
import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from cinert.cli import command, reserve, share, wait_option
from cinert.device_lock import DeviceLock, device_of, hold_device, lock_folder
from cinert.errors import BadInputError

HOLD = """
import sys, time
from cinert.device_lock import hold_device
with hold_device(*sys.argv[1:]):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def held(device, use, name):
    """Another process that holds a device; killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, device, use, name], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CINERT_LOCK_DIR", str(tmp_path / "locks"))
    return tmp_path / "locks"


def make_command(name, work):
    @command(name, examples=f"{name} --wait")
    @wait_option()
    def run(wait):
        work(wait)
        click.echo("worked")

    return run


measure = make_command("measure-it", lambda wait: reserve("cpu", "measure", wait=wait))
compute = make_command("compute-it", lambda wait: reserve("cpu", "compute", wait=wait))
show = make_command("show-it", lambda _: share("cpu"))


@pytest.mark.parametrize(
    ("first", "second", "free"),
    [
        ("compute", "compute", True),
        ("compute", "measure", False),
        ("measure", "compute", False),
        ("measure", "measure", False),
    ],
)
def test_computing_is_shared_and_measuring_is_not(first, second, free):
    holder, other = DeviceLock("cpu", first, "a"), DeviceLock("cpu", second, "b")
    assert holder.acquire()
    assert other.acquire() is free
    holder.release()
    assert other.acquire()
    other.release()


def test_devices_do_not_block_each_other():
    with (
        hold_device("cuda:0", "measure", "a"),
        hold_device("cuda:1", "measure", "b"),
        hold_device("cpu", "measure", "c"),
        pytest.raises(BadInputError, match="cuda:1 is being used"),
        hold_device("cuda:1", "measure", "d"),
    ):
        pass


def test_a_taken_device_is_one_line_that_names_the_holder():
    with held("cpu", "compute", "train-arch") as process:
        result = CliRunner().invoke(measure, [])
    assert result.exit_code == 2
    assert re.fullmatch(
        rf"measure-it: cpu is being used by train-arch \(pid {process.pid}, since \d\d:\d\d\): a latency measured now"
        r" would be wrong\. Hint: wait with --wait, or stop it\.\n",
        result.output,
    )


def test_all_that_compute_are_named_and_the_dead_are_not():
    with held("cpu", "compute", "nas-search"):
        pass
    with held("cpu", "compute", "train-arch") as first, held("cpu", "compute", "train-arch") as second:
        lock = DeviceLock("cpu", "measure", "bench-ops")
        assert not lock.acquire()
        assert [holder.pid for holder in lock.others()] == [first.pid, second.pid]
        assert "nas-search" not in lock.taken()
        lock.release()


def test_kill_9_frees_the_device():
    with held("cpu", "measure", "bench-ops") as process:
        assert "cpu is being measured by bench-ops" in CliRunner().invoke(compute, []).output
        process.kill()
        process.wait()
        assert CliRunner().invoke(compute, []).output == "worked\n"
        assert CliRunner().invoke(measure, []).output == "worked\n"


def test_waiting_says_for_whom_and_ends_when_the_device_is_free():
    said = []
    with held("cpu", "compute", "train-arch") as process:

        def on_wait(text):
            said.append(text)
            process.kill()
            process.wait()

        with hold_device("cpu", "measure", "bench-ops", on_wait=on_wait):
            pass
    assert len(said) == 1
    assert f"train-arch (pid {process.pid}" in said[0]


def test_the_waiting_command_says_so_once_where_nobody_watches(monkeypatch):
    with held("cpu", "compute", "train-arch") as process:
        naps = []

        def nap(seconds):
            naps.append(seconds)
            if len(naps) == 3:
                process.kill()
                process.wait()

        monkeypatch.setattr("cinert.device_lock.time.sleep", nap)
        result = CliRunner().invoke(measure, ["--wait"])
    assert result.exit_code == 0
    assert result.output.count("Waiting: cpu is being used by train-arch") == 1
    assert result.output.endswith("worked\n")


def test_what_only_shows_its_latency_notes_the_others_and_goes_on():
    assert CliRunner().invoke(show, []).output == "worked\n"
    for use, words in (("compute", "latencies are longer than alone"), ("measure", "would spoil its latencies")):
        with held("cpu", use, "somebody"):
            result = CliRunner().invoke(show, [])
        assert result.exit_code == 0
        note, worked = result.output.splitlines()
        assert note.startswith("Note: cpu is being")
        assert "somebody" in note
        assert words in note
        assert worked == "worked"


def test_the_device_is_free_when_the_command_is_over():
    for _ in range(2):
        assert CliRunner().invoke(measure, []).exit_code == 0
    failing = make_command("fail", lambda wait: (reserve("cpu", "measure", wait=wait), 1 / 0))
    assert isinstance(CliRunner().invoke(failing, []).exception, ZeroDivisionError)
    assert CliRunner().invoke(measure, []).exit_code == 0


@pytest.mark.parametrize("run", [measure, compute, show])
def test_where_nothing_can_be_locked_the_work_is_done_with_a_note(folder, run):
    folder.write_text("a file where the folder should be")
    result = CliRunner().invoke(run, [])
    assert result.exit_code == 0
    assert "cpu cannot be locked" in result.output
    assert "CINERT_LOCK_DIR" in result.output
    assert result.output.endswith("worked\n")


def test_a_file_system_without_locks_is_noted(monkeypatch):
    def flock(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("cinert.device_lock.fcntl.flock", flock)
    assert "cannot be locked (No locks available)" in CliRunner().invoke(measure, []).output


def test_a_link_in_the_folder_is_not_followed(folder, tmp_path):
    folder.mkdir()
    (tmp_path / "precious").write_text("mine")
    (folder / "cpu.lock").symlink_to(tmp_path / "precious")
    assert "cannot be locked" in CliRunner().invoke(measure, []).output
    assert (tmp_path / "precious").read_text() == "mine"


def test_the_same_card_has_one_lock_under_every_number(monkeypatch, folder):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    lock = DeviceLock("cuda:1", "measure", "a")
    assert lock.acquire()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert not DeviceLock("cuda:0", "measure", "b").acquire()
    assert {path.name for path in folder.iterdir()} == {"cuda-3.lock"}
    lock.release()


def test_folder_is_the_users_own(monkeypatch, tmp_path):
    monkeypatch.delenv("CINERT_LOCK_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert lock_folder() == tmp_path / "cinert"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert lock_folder().name == f"cinert-{os.getuid()}"


@pytest.mark.parametrize(
    ("kind", "given", "means"), [("cpu", "auto", "cpu"), ("cuda", "auto", "cuda:0"), ("cuda", "cuda:3", "cuda:3")]
)
def test_what_auto_means_is_asked_of_the_back_end(kind, given, means):
    class Engine:
        def fingerprint(self, device):
            assert device == given
            return {"device": {"kind": kind}}

    assert device_of(Engine(), given) == means


def test_a_mistyped_option_is_one_line():
    result = CliRunner().invoke(measure, ["--wiat"])
    assert result.exit_code == 2
    assert result.output.startswith("measure-it: No such option")
    assert len(result.output.splitlines()) == 1


def test_a_full_disk_is_one_line(tmp_path):
    def fill(_):
        raise OSError(28, "No space left on device", str(tmp_path / "log"))

    result = CliRunner().invoke(make_command("fill-it", fill), [])
    assert result.exit_code == 2
    assert result.output == f"fill-it: cannot write {tmp_path / 'log'}: No space left on device. Hint: make room.\n"
