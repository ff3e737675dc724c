"""One process works on a run folder at one time, a killed one keeps nobody out, and a refused one leaves nothing."""

import os
import signal
import subprocess
import sys

import pytest

from cinert.claim import CLAIM, Claim, claimed
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


def test_a_full_disk_does_not_keep_it_from_being_held(tmp_path, full_disk):
    full_disk(0)
    with claimed(tmp_path, tmp_path / CLAIM, "train-arch"), Claim(tmp_path / CLAIM) as other:
        assert not other.acquire()
        assert other.holder() == ""
