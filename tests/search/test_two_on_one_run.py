"""Two commands that would write one checkpoint: the second is refused at once, and takes over after a kill."""

import pytest
from click.testing import CliRunner

from bench.compare.cli import bench_compare
from cinert.arch import save_arch
from cinert.claim import CLAIM, claimed
from cinert.sampling import random_arch
from latency.cli import bench_ops
from search.cli import nas_search
from search.train_cli import train_arch


@pytest.fixture
def arch_path(tmp_path, tiny):
    save_arch(tmp_path / "arch.yaml", random_arch(tiny, 3, paths=1))
    return tmp_path / "arch.yaml"


@pytest.fixture
def commands(lut_path, patients, arch_path):
    """Command and its words, without the output."""
    return {
        "nas-search": (nas_search, ["--lut", lut_path, "--data", patients, "--epochs", 2]),
        "several seeds": (nas_search, ["--lut", lut_path, "--data", patients, "--epochs", 2, "--seeds", 2]),
        "train-arch": (train_arch, [arch_path, "--data", patients, "--epochs", 1, "--no-localiser"]),
        "five folds": (train_arch, [arch_path, "--data", patients, "--epochs", 1, "--fold", "each"]),
        "bench-compare": (
            bench_compare,
            ["--suite", "zeng2020-table2", "--data", patients, "--lut", lut_path, "--threads", 1],
        ),
    }


def invoke(command, words):
    return CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("nas-search", ""),
        ("several seeds", ""),
        ("several seeds", "seed-1"),
        ("train-arch", ""),
        ("five folds", "fold-3"),
        ("bench-compare", ""),
    ],
)
def test_the_second_on_one_run_is_refused(tmp_path, commands, content, name, inner):
    command, words = commands[name]
    folder = tmp_path / "run"
    with claimed(folder / inner, folder / inner / CLAIM, "train-arch"):
        before = content(folder)
        result = invoke(command, [*words, "-o", folder])
        assert content(folder) == before
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert f"{folder / inner} is being written by train-arch (pid " in result.stderr


@pytest.mark.parametrize("name", ["nas-search", "train-arch"])
def test_a_claim_that_a_killed_process_left_is_no_claim(tmp_path, commands, name):
    command, words = commands[name]
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / CLAIM).write_text("train-arch (pid 1 on bedside, since 2026-11-30 10:00)\n")
    assert invoke(command, [*words, "-o", folder]).exit_code == 0
    assert not (folder / CLAIM).exists()


@pytest.mark.parametrize("name", ["nas-search", "five folds"])
def test_a_refused_command_leaves_no_folder_for_its_claim(tmp_path, commands, name):
    command, words = commands[name]
    result = invoke(command, [*words, "--data", tmp_path / "nowhere", "-o", tmp_path / "new" / "run"])
    assert result.exit_code == 2
    assert not (tmp_path / "new").exists()


def test_one_table_is_measured_by_one_process(tmp_path):
    lut = tmp_path / "lut.json"
    with claimed(lut, tmp_path / ".lut.json.claim", "bench-ops"):
        result = invoke(bench_ops, ["--space", "demo", "--backend", "torch", "-o", lut])
    assert result.exit_code == 2
    assert f"{lut} is being written by bench-ops (pid " in result.stderr
    assert list(tmp_path.iterdir()) == []
