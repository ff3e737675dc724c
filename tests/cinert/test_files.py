import os
import time

import pytest

from cinert.errors import BadInputError
from cinert.files import atomic_folder, atomic_path, read_json, write_json


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.json"
    write_json(path, {"a": 1})

    def fail():
        with atomic_path(path) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert read_json(path, "the file") == {"a": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["out.json"]


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "out.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "bundle"
    with atomic_folder(target) as partial:
        (partial / "old").write_text("1")
    with atomic_folder(target) as partial:
        (partial / "new").write_text("2")
    assert [item.name for item in target.iterdir()] == ["new"]
    assert [item.name for item in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_cannot_take_the_place_of_a_file(tmp_path):
    (tmp_path / "bundle").write_text("mine")
    with pytest.raises(BadInputError, match="a file of that name"), atomic_folder(tmp_path / "bundle"):
        pass
    assert (tmp_path / "bundle").read_text() == "mine"


def test_an_output_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot write"):
        write_json(tmp_path / "file" / "out.json", {})


@pytest.mark.parametrize(("text", "says"), [("{", "is not JSON"), ("[1]", "holds list"), (None, "No such file")])
def test_unreadable_json_names_the_file(tmp_path, text, says):
    path = tmp_path / "lut.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInputError, match=says) as error:
        read_json(path, "the LUT")
    assert str(path) in str(error.value)


KILLED = """
import os, signal, sys
from pathlib import Path
from cinert.files import atomic_path
with atomic_path(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def age(folder):
    past = time.time() - 3600
    os.utime(folder, (past, past))


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, run_python):
    path = tmp_path / "out.json"
    run_python(KILLED, path)
    (left,) = tmp_path.iterdir()
    assert (left / "out.json").read_text() == "half"
    write_json(path, {})
    assert left.exists(), "it is young, and could be of a process that is just about to lock it"
    age(left)
    write_json(path, {})
    assert list(tmp_path.iterdir()) == [path]


def test_what_others_are_writing_is_left_alone(tmp_path):
    with atomic_path(tmp_path / "slow.json") as slow:
        slow.write_text("{}")
        age(slow.parent)
        write_json(tmp_path / "quick.json", {})
        assert slow.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["quick.json", "slow.json"]


def test_a_folder_that_was_being_replaced_is_not_removed(tmp_path):
    previous = tmp_path / ".partial-abc" / "previous"
    previous.mkdir(parents=True)
    age(previous.parent)
    write_json(tmp_path / "out.json", {})
    assert previous.exists()
