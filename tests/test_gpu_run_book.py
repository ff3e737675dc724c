"""The GPU run book: what a stage writes, that it is not done twice, and that its commands exist."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest


@pytest.fixture
def book(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks" / "gpu"))
    return import_module("run")


def python(program):
    return [sys.executable, "-c", program]


def test_a_stage_writes_what_its_commands_said(book, tmp_path):
    status = book.run_stage("0-test", [python("print('first'); print('last')"), python("exit(1)")], tmp_path, 60)
    document = json.loads((tmp_path / "0-test.json").read_text())
    assert status == document["status"] == "done"
    assert [outcome["exit_code"] for outcome in document["commands"]] == [0, 1]
    assert document["commands"][0]["last_lines"] == ["first", "last"]
    assert book.is_done(tmp_path, "0-test")


def test_bad_input_fails_a_stage_and_the_next_command_is_run(book, tmp_path):
    assert book.run_stage("0-test", [python("exit(2)"), python("print('on')")], tmp_path, 60) == "failed"
    assert len(json.loads((tmp_path / "0-test.json").read_text())["commands"]) == 2
    assert not book.is_done(tmp_path, "0-test")


def test_a_stage_ends_with_its_time(book, tmp_path):
    commands = [python("import time; print('begun', flush=True); time.sleep(60)"), python("print('never')")]
    assert book.run_stage("0-test", commands, tmp_path, 1) == "out of time"
    (outcome,) = json.loads((tmp_path / "0-test.json").read_text())["commands"]
    assert outcome["exit_code"] is None


@pytest.mark.parametrize("tiny", [True, False])
def test_every_command_of_every_stage_is_there(book, tiny, tmp_path):
    stages = import_module("stages")
    shared = stages.Book(folder=tmp_path, data=tmp_path, tiny=tiny)
    for stage in stages.STAGES:
        commands = stage(shared)
        assert commands, stage.__name__
        for command in commands:
            assert Path(command[0]).is_file(), command[0]
            script = command[1]
            assert not script.endswith(".py") or Path(script).is_file(), script
