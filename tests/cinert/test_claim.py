"""One process works on a run folder at one time, a killed one keeps nobody out, and a refused one leaves nothing."""

import errno
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from cinert.claim import CLAIM, Claim, claimed
from cinert.cli import claim_run, command
from cinert.errors import BadInputError

HOLDER = """
import sys, time
from pathlib import Path
from cinert.claim import CLAIM, claimed
folder = Path(sys.argv[1])
with claimed(folder, folder / CLAIM, "nas-search"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def held(tmp_path):
    """A run folder that another process holds, and that process."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield tmp_path / "run", process
        process.kill()


def work(folder):
    with claimed(folder, folder / CLAIM, "train-arch"):
        (folder / "checkpoint").write_text("")


def test_the_second_is_refused_and_the_first_is_named(held, content):
    folder, process = held
    before = content(folder)
    with pytest.raises(BadInputError) as error:
        work(folder)
    assert f"{folder} is being written by nas-search (pid {process.pid} on " in error.value.message
    assert "-o" in error.value.hint
    assert content(folder) == before


def test_what_a_killed_process_left_keeps_nobody_out(held):
    folder, process = held
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (folder / CLAIM).exists()
    work(folder)
    assert [each.name for each in folder.iterdir()] == ["checkpoint"]


def test_it_is_free_again_also_after_an_error(tmp_path):
    def fail():
        with claimed(tmp_path / "run", tmp_path / "run" / CLAIM, "train-arch"):
            raise BadInputError("no data given.")

    for _ in range(2):
        with pytest.raises(BadInputError, match="no data given"):
            fail()
        # Neither the claim nor the folder that was made for it.
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    with pytest.raises(BadInputError, match="no data given"):
        fail()
    assert (tmp_path / "run").is_dir()


@pytest.mark.parametrize("text", ["", "nas-search (pid 1 on bedside, since 2026-11-30 10:00)\n"])
def test_a_refused_command_leaves_the_claim_of_a_killed_one_as_it_is(tmp_path, text):
    (tmp_path / CLAIM).write_text(text)

    def fail():
        with claimed(tmp_path, tmp_path / CLAIM, "train-arch"):
            assert "train-arch" in (tmp_path / CLAIM).read_text()
            raise BadInputError("no data given.")

    with pytest.raises(BadInputError, match="no data given"):
        fail()
    assert (tmp_path / CLAIM).read_text() == text


def test_a_claim_that_was_removed_by_its_holder_is_taken_anew(tmp_path):
    """Opened before it was removed: its lock would keep nobody out."""
    late = Claim(tmp_path / CLAIM)
    (tmp_path / CLAIM).unlink()
    assert late.acquire()
    other = Claim(tmp_path / CLAIM)
    assert not other.acquire()
    late.release()
    assert other.acquire()
    other.release()


def test_without_locks_a_command_goes_on_with_a_note_and_leaves_nothing(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    def work():
        """Work."""
        claim_run(tmp_path / "run")
        click.echo("done")

    monkeypatch.setattr("cinert.claim.fcntl", SimpleNamespace(flock=flock, LOCK_EX=2, LOCK_NB=4))
    result = CliRunner().invoke(command("train-arch", examples="train-arch")(work), [])
    assert result.exit_code == 0, result.output
    assert result.stdout == "done\n"
    (said,) = result.stderr.splitlines()
    assert said.startswith(f"Note: cannot lock {tmp_path / 'run' / CLAIM}: No locks available.")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_does_not_keep_it_from_being_held(tmp_path, full_disk):
    full_disk(0)
    with claimed(tmp_path, tmp_path / CLAIM, "train-arch"), Claim(tmp_path / CLAIM) as other:
        assert not other.acquire()
        assert other.words == ""
