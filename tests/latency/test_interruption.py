"""A LUT that is killed and begun again measures no finished row twice, and no other LUT writes over its samples."""

import json
import shutil
import signal
import time

import pytest
import yaml
from click.testing import CliRunner

from cinert.device_lock import hold_device
from cinert.spaces import load_space
from cinert.timing import Protocol, Visit, is_tight, summarise
from latency.cli import bench_ops
from latency.lut import load_lut

CHECKPOINT = ".lut.json.partial"
TOLERANT = Protocol(tolerant=True)
"""As --allow-busy has it; the anchor does not matter then."""


def run(*words):
    return CliRunner().invoke(bench_ops, [str(word) for word in words])


def write_space(folder, **changes):
    document = load_space("demo").to_dict()
    document.update(name="tiny", input_shape_DHW=[4, 8, 8], strides=[[2, 2, 2]], widths=[4, 8], layers=3)
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**document, **changes}))
    return path


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    space = write_space(tmp_path_factory.mktemp("space"))
    return ["--space", space, "--backend", "torch", "--networks", 12, "--threads", 1, "--allow-busy"]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, start, words):
    """The folder of a run that was killed when every part was timed alone, and not yet every network."""
    folder = tmp_path_factory.mktemp("interrupted")
    process = start("bench-ops", *words, "-o", folder / "lut.json")
    deadline = time.monotonic() + 900
    while not (folder / CHECKPOINT).exists() or not finished(folder):
        assert process.poll() is None, f"it ended before it could be killed: {process.communicate()[0]}"
        assert time.monotonic() < deadline, "no finished row after a quarter of an hour"
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "lut.json").exists()
    return folder


def finished(folder):
    """Visits to the rows that need no more, by label."""
    visits = json.loads((folder / CHECKPOINT).read_text())["visits"]
    rows = {label: [Visit(*visit) for visit in row] for label, row in visits.items()}
    return {label: row for label, row in rows.items() if is_tight(row, TOLERANT, 0.0)}


@pytest.fixture
def folder(tmp_path, interrupted):
    shutil.copytree(interrupted, tmp_path / "run")
    return tmp_path / "run"


def test_finished_rows_are_not_measured_again(folder, words):
    before = finished(folder)
    assert before
    result = run(*words, "-o", folder / "lut.json")
    assert result.exit_code == 0, result.output
    lut = load_lut(folder / "lut.json")
    rows = {row.key.label: row.timing for row in lut.rows}
    assert set(rows) == set(lut.prices.parts)
    alone = [label for label in before if label in rows]
    assert alone
    for label in alone:
        assert rows[label] == summarise(before[label], TOLERANT, 0.0).to_dict(), label
    assert len(lut.prices.report["networks"]) == 12
    assert not (folder / CHECKPOINT).exists()


def other_device(document):
    document["header"]["fingerprint"]["device"]["name"] = "Bedside CPU"


def other_library(document):
    document["header"]["fingerprint"]["libraries"]["torch"] = "1.0"


def other_program(document):
    document.clear()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--seed", 1], "seed 0 there, 1 now"),
        (["--networks", 14], "networks '12 "),
        (["--threads", 2], "threads: 1 there, 2 here"),
        (["--backend", "ort"], "backend: 'torch' there, 'ort' here"),
        (["--precision", "bf16"], "precision: 'fp32' there, 'bf16' here"),
    ],
)
def test_another_setting_is_refused(folder, content, words, more, says):
    refused(folder, content, [*words, *more], says)


def test_another_space_is_refused(folder, content, words, tmp_path):
    other = write_space(tmp_path, name="other", widths=[4, 4])
    refused(folder, content, [*words, "--space", other], "space 'tiny ", "'other ")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (other_device, "was begun on another device: device.name: 'Bedside CPU' there"),
        (other_library, "was begun on another device: libraries.torch: '1.0' there"),
        (other_program, "is no checkpoint of bench-ops"),
    ],
)
def test_a_checkpoint_of_another_device_is_refused(folder, content, words, change, says):
    document = json.loads((folder / CHECKPOINT).read_text())
    change(document)
    (folder / CHECKPOINT).write_text(json.dumps(document))
    refused(folder, content, words, says)


def test_a_checkpoint_that_was_cut_short_is_refused_and_restart_begins_anew(folder, content, words):
    text = (folder / CHECKPOINT).read_text()
    (folder / CHECKPOINT).write_text(text[: len(text) // 2])
    refused(folder, content, words, str(folder / CHECKPOINT), "is not JSON")
    result = run(*words, "--restart", "-o", folder / "lut.json")
    assert result.exit_code == 0, result.output
    assert load_lut(folder / "lut.json")


def refused(folder, content, words, *says):
    before = content(folder)
    result = run(*words, "-o", folder / "lut.json")
    assert result.exit_code == 2, result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("bench-ops: ")
    for word in (*says, "--restart"):
        assert word in line
    assert content(folder) == before


def test_a_full_disk_leaves_the_samples(folder, content, words, full_disk):
    before = content(folder)
    full_disk((folder / CHECKPOINT).stat().st_size)
    result = run(*words, "-o", folder / "lut.json")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(f"bench-ops: cannot write {folder / CHECKPOINT}: File too large")
    assert content(folder) == before


@pytest.mark.parametrize("use", ["measure", "compute"])
def test_a_device_in_use_is_not_measured(tmp_path, words, use):
    with hold_device("cpu", use, "train-arch"):
        result = run(*words, "-o", tmp_path / "lut.json")
    assert result.exit_code == 2
    assert "cpu is being used by" in result.stderr
    assert len(result.output.splitlines()) == 1
    assert not list(tmp_path.iterdir())
