"""A sweep's journal whose last line was cut short, by a kill, a full disk or a network file system."""

import pytest
from optuna.trial import TrialState

from cinert.errors import BadInputError
from search.sweep_study import JOURNAL, SweepStudy, check_storage, open_storage

NUL = b"\0"


def study(folder):
    return SweepStudy(open_storage(None, folder), folder, identity="x", objective="pareto", seed=0)


def work(sweep, count=100):
    trial, claim = sweep.next(count)
    sweep.finish(trial, dice=0.5, ms=10.0, budget_met=True)
    claim.release()
    return trial.number


def complete(sweep):
    return [trial.number for trial in sweep.trials() if trial.state == TrialState.COMPLETE]


@pytest.fixture
def journal(tmp_path):
    """A journal of three complete trials."""
    sweep = study(tmp_path)
    for _ in range(3):
        work(sweep)
    return tmp_path / JOURNAL


@pytest.mark.parametrize("cut", [1, 2, 20, 100, "all but one"])
def test_what_a_kill_left_of_the_last_line_is_cut_off_and_its_trial_is_taken_up_again(journal, capsys, cut):
    *whole, last = journal.read_bytes().splitlines(keepends=True)
    cut = len(last) - 1 if cut == "all but one" else cut
    journal.write_bytes(journal.read_bytes()[:-cut])
    sweep = study(journal.parent)
    assert journal.read_bytes().startswith(b"".join(whole) + b'{"op_code":')
    (said,) = capsys.readouterr().err.splitlines()
    assert f"Note: the last line of {journal} is not whole" in said
    assert f"it is cut off ({len(last) - cut} B)" in said
    # The record that was lost said that trial 2 is complete.
    assert complete(sweep) == [0, 1]
    assert [work(sweep), work(sweep)] == [2, 3]
    assert complete(study(journal.parent)) == [0, 1, 2, 3]
    assert not capsys.readouterr().err


@pytest.mark.parametrize("left", [b'{"op_co', NUL * 4096])
def test_a_line_that_another_process_leaves_while_the_sweep_runs_is_cut_off_before_the_next_record(journal, left):
    sweep = study(journal.parent)
    before = journal.read_bytes()
    with journal.open("ab") as stream:
        stream.write(left)
    assert work(sweep) == 3
    assert journal.read_bytes().startswith(before + b'{"op_code":')
    assert complete(study(journal.parent)) == [0, 1, 2, 3]


@pytest.mark.parametrize("half", [b'{"op_code":5,"worker', NUL * 100])
def test_a_record_that_ran_into_a_half_line_is_cut_off_with_it(journal, half):
    *whole, last = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(whole) + half + last)
    sweep = study(journal.parent)
    assert complete(sweep) == [0, 1]
    assert work(sweep) == 2


def test_half_of_the_first_line_is_an_empty_record(tmp_path):
    (tmp_path / JOURNAL).write_bytes(b'{"op_code":0,"wor')
    assert work(study(tmp_path)) == 0


def test_a_line_that_is_spoiled_amid_others_is_one_line_and_stays(journal):
    lines = journal.read_bytes().splitlines(keepends=True)
    spoiled = b"".join([*lines[:4], lines[4][:10], *lines[5:]])
    journal.write_bytes(spoiled)
    with pytest.raises(BadInputError, match=r"cannot use the storage .*sweep.journal: "):
        study(journal.parent)
    assert journal.read_bytes() == spoiled


@pytest.mark.parametrize("content", [b'{"dice": 0.9}', b"notes of mine", b"[1, 2"])
def test_a_file_of_something_else_is_not_cut(tmp_path, content):
    file = tmp_path / "mine.json"
    file.write_bytes(content)
    with pytest.raises(BadInputError, match="it is no record of trials"):
        open_storage(str(file), tmp_path)
    assert file.read_bytes() == content


@pytest.mark.parametrize("name", [None, "FOLDER/other.journal", "sqlite:///FOLDER/trials.db"])
def test_checking_a_storage_makes_none(tmp_path, name):
    name = name and name.replace("FOLDER", str(tmp_path))
    check_storage(name, tmp_path / "run")
    assert not list(tmp_path.iterdir())
