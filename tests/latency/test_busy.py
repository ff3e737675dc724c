"""bench-ops on a machine that something else uses: it says so, writes no LUT, and goes on later from where it was."""

import functools
import json
from contextlib import nullcontext

import pytest
import yaml
from click.testing import CliRunner

from cinert.spaces import load_space
from cinert.timing import Protocol
from latency import profile
from latency.cli import bench_ops
from latency.lut import load_lut
from latency.roofline import MATRIX_SIZE

CHECKPOINT, NEIGHBOUR = ".lut.json.partial", "other processes use 1.4 CPU cores"


class FakeWatch:
    """Finds so many quiet windows, and others' work after that."""

    def __init__(self, quiet_windows):
        self.quiet_windows = quiet_windows

    def begin(self):
        self.quiet_windows -= 1

    def disturbance(self):
        return None if self.quiet_windows >= 0 else NEIGHBOUR


@pytest.fixture
def words(tmp_path):
    document = load_space("demo").to_dict()
    document.update(name="tiny", input_shape_DHW=[4, 8, 8], strides=[[2, 2, 2]], widths=[4, 8], layers=3)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(document))
    words = ["--space", tmp_path / "tiny.yaml", "--backend", "torch", "--networks", 12, "--threads", 1, "--no-plot"]
    return [*words, "-o", tmp_path / "run" / "lut.json"]


@pytest.fixture
def run(monkeypatch, words):
    """Runs bench-ops with a short protocol where some windows are quiet, and then none."""
    # What the tests beside this one do to the anchor does not matter here.
    short = functools.partial(
        Protocol, warmup=0, min_passes=2, max_passes=3, visit_ms=0.0, window_s=0.05, patience_s=0.2
    )
    monkeypatch.setitem(MATRIX_SIZE, "cpu", 64)
    monkeypatch.setattr("latency.roofline.COPY_MIB", 1)

    def run(*more, quiet_windows, anchor_limit=1e9):
        monkeypatch.setattr("latency.cli.Protocol", functools.partial(short, anchor_limit=anchor_limit))
        monkeypatch.setattr("latency.profile.MachineWatch", lambda **_: FakeWatch(quiet_windows))
        return CliRunner().invoke(bench_ops, [str(word) for word in (*words, *more)])

    return run


def visits(folder):
    return json.loads((folder / CHECKPOINT).read_text())["visits"]


def test_a_load_that_never_pauses_is_told_and_the_samples_stay(run, tmp_path):
    folder = tmp_path / "run"
    result = run(quiet_windows=0)
    assert result.exit_code == 3
    line = result.stderr.splitlines()[-1]
    assert line.startswith("bench-ops: the machine has been busy for ")
    assert NEIGHBOUR in line
    assert "Nothing is written. Hint: " in line
    assert [path.name for path in folder.iterdir()] == [CHECKPOINT]
    first = visits(folder)
    assert all(disturbed for row in first.values() for *_, disturbed in row)

    # A pause is used, and what the first run measured is still there.
    result = run(quiet_windows=1)
    assert result.exit_code == 3
    assert [path.name for path in folder.iterdir()] == [CHECKPOINT]
    second = visits(folder)
    assert all(second[label][: len(row)] == row for label, row in first.items())
    assert any(not disturbed for row in second.values() for *_, disturbed in row)

    result = run(quiet_windows=10**6)
    assert result.exit_code == 0, result.output
    assert [path.name for path in folder.iterdir()] == ["lut.json"]
    lut = load_lut(folder / "lut.json")
    samples = {label: sum(len(row[0]) for row in rows) for label, rows in second.items()}
    assert all(row.timing["n"] >= samples.get(row.key.label, 0) for row in lut.rows)
    assert lut.load.disturbed == 0
    assert lut.protocol["tolerant"] is False


def test_parts_are_timed_again_if_networks_show_that_the_machine_was_slow(run, monkeypatch, tmp_path):
    """The anchor takes twice its time until the first network is loaded."""
    anchor, load = {"ms": 20.0}, profile.host_to_host
    monkeypatch.setattr("latency.profile.anchored", lambda *_: nullcontext(lambda: anchor["ms"]))
    monkeypatch.setattr("latency.profile.host_to_host", lambda runner: anchor.update(ms=10.0) or load(runner))
    stages = []
    monkeypatch.setattr(
        "latency.profile.measure_models",
        lambda *words, stage, measure=profile.measure_models, **more: (
            stages.append(stage) or measure(*words, stage=stage, **more)
        ),
    )
    result = run(quiet_windows=10**6, anchor_limit=0.1)
    assert result.exit_code == 0, result.output
    assert stages[:3] == ["parts alone", "networks whole", "parts alone"]
    assert all(row.timing["n"] >= 4 for row in load_lut(tmp_path / "run" / "lut.json").rows)


def test_allow_busy_measures_all_the_same_and_says_so(run, tmp_path):
    result = run("--allow-busy", quiet_windows=0)
    assert result.exit_code == 0, result.output
    lut = load_lut(tmp_path / "run" / "lut.json")
    assert lut.protocol["tolerant"] is True
    assert lut.load.disturbed == 1


def test_what_was_begun_on_a_busy_machine_is_not_gone_on_with_as_if_it_had_been_quiet(run, tmp_path, monkeypatch):
    monkeypatch.setattr("latency.profile.measure_overlap", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run("--allow-busy", quiet_windows=0).exit_code != 0
    result = run(quiet_windows=10**6)
    assert result.exit_code == 2
    assert "was begun with other settings: protocol.tolerant True there, False now. Hint: " in result.stderr
    assert "{" not in result.stderr


def test_allow_busy_after_a_run_that_was_refused_begins_afresh_as_that_run_advised(run, tmp_path):
    folder = tmp_path / "run"
    refused = run(quiet_windows=0)
    assert refused.exit_code == 3
    assert "--allow-busy measures anyway" in refused.stderr
    before = visits(folder)
    result = run("--allow-busy", quiet_windows=0)
    assert result.exit_code == 0, result.output
    assert "was begun without --allow-busy; with it the measurement begins afresh" in result.stderr
    # Three passes at most, and none of the samples of before.
    lut = load_lut(folder / "lut.json")
    assert lut.protocol["tolerant"] is True
    assert max(len(row) for row in before.values()) > 3
    assert all(row.timing["n"] <= 3 for row in lut.rows)


def test_allow_busy_after_another_measurement_is_refused_by_what_differs(run, content, tmp_path):
    assert run(quiet_windows=0).exit_code == 3
    before = content(tmp_path / "run")
    result = run("--allow-busy", "--seed", 3, quiet_windows=0)
    assert result.exit_code == 2
    line = result.stderr.splitlines()[-1]
    assert "was begun with other settings: seed 0 there, 3 now. Hint: " in line
    assert content(tmp_path / "run") == before
