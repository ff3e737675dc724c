"""The GPU run book: what a stage writes, that it is not done twice, and that its commands exist."""

import json
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture
def book(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks" / "gpu"))
    return import_module("run")


def python(program):
    return [sys.executable, "-c", program]


def test_a_stage_writes_what_its_commands_said(book, tmp_path):
    status = book.run_stage("0-test", [python("print('first'); print('last')"), python("exit(0)")], tmp_path, 60)
    document = json.loads((tmp_path / "0-test.json").read_text())
    assert status == document["status"] == "done"
    assert [outcome["exit_code"] for outcome in document["commands"]] == [0, 0]
    assert document["commands"][0]["last_lines"] == ["first", "last"]
    assert book.is_done(tmp_path, "0-test")


def test_a_crash_is_no_verdict_though_python_ends_with_1_too(book, tmp_path):
    assert book.run_stage("0-program", [python("exit(1)")], tmp_path, 60) == "failed"
    script = tmp_path / "bench-something"
    script.write_text("#!/bin/sh\necho 'FAILED budget'; exit 1\n")
    script.chmod(0o755)
    assert book.run_stage("1-verdict", [[str(script)]], tmp_path, 60) == "done"
    lines = "".join(f"  File {number}\\n" for number in range(40))
    script.write_text(f"#!/bin/sh\nprintf 'Traceback (most recent call last):\\n{lines}ValueError\\n'; exit 1\n")
    assert book.run_stage("2-crash", [[str(script)]], tmp_path, 60) == "failed"


def test_a_back_end_that_is_not_here_is_a_result_on_a_gpu_and_a_fault_on_the_cpu(book, tmp_path):
    script = tmp_path / "bench-something"
    script.write_text("#!/bin/sh\nexit 3\n")
    script.chmod(0o755)
    assert book.run_stage("0-test", [[str(script)]], tmp_path, 60) == "done"
    assert book.run_stage("0-test", [[str(script)]], tmp_path, 60, book.RESULTS - {3}) == "failed"


def test_bad_input_fails_a_stage_and_the_next_command_is_run(book, tmp_path):
    assert book.run_stage("0-test", [python("exit(2)"), python("print('on')")], tmp_path, 60) == "failed"
    assert len(json.loads((tmp_path / "0-test.json").read_text())["commands"]) == 2
    assert not book.is_done(tmp_path, "0-test")


def test_a_stage_ends_with_its_time(book, tmp_path):
    commands = [python("import time; print('begun', flush=True); time.sleep(60)"), python("print('never')")]
    assert book.run_stage("0-test", commands, tmp_path, 1) == "out of time"
    (outcome,) = json.loads((tmp_path / "0-test.json").read_text())["commands"]
    assert outcome["exit_code"] is None


@pytest.mark.parametrize(("tiny", "flavour"), [(True, "trt"), (False, "trt"), (False, "trt-rtx")])
def test_every_command_of_every_stage_is_there(book, tiny, flavour, tmp_path):
    stages = import_module("stages")
    shared = stages.Book(folder=tmp_path, data=tmp_path, tiny=tiny, flavour=flavour)
    for stage in stages.STAGES:
        commands = stage(shared)
        assert commands, stage.__name__
        for command in commands:
            assert Path(command[0]).is_file(), command[0]
            script = command[1]
            assert not script.endswith(".py") or Path(script).is_file(), script


@pytest.mark.parametrize(
    ("runs", "flavour"), [(("trt", "trt-rtx"), "trt"), (("trt-rtx",), "trt-rtx"), ((), "trt")], ids=str
)
def test_the_tensorrt_that_runs_is_measured(book, monkeypatch, runs, flavour):
    stages = import_module("stages")

    def backend(name):
        return SimpleNamespace(available=lambda device: SimpleNamespace(ok=name in runs))

    monkeypatch.setattr(stages, "get_backend", backend)
    assert stages.probe_flavour() == flavour


def test_an_engine_is_priced_by_the_lut_of_its_precision_alone(book, tmp_path):
    stages = import_module("stages")
    shared = stages.Book(folder=tmp_path, data=tmp_path, tiny=False, flavour="trt")
    exports = [command for command in stages.engines(shared) if command[0].endswith("export-engine")]
    luts = {
        command[command.index("--precision") + 1]: command[command.index("--lut") + 1]
        for command in exports
        if "--lut" in command
    }
    assert luts == {name: str(tmp_path / f"lut-trt-{name}.json") for name in ("fp32", "fp16")}
