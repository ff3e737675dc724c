"""The two commands from files to files, and bad input as one line."""

import json

import pytest
import torch
from click.testing import CliRunner

from cinert.arch import load_arch
from search.cli import nas_search
from search.loop import Search
from search.train_cli import train_arch
from search.training import Training


def invoke(command, *arguments, env=None):
    return CliRunner().invoke(command, [str(argument) for argument in arguments], env=env, catch_exceptions=False)


@pytest.fixture(scope="module")
def searched(tmp_path_factory, lut_path, patients):
    folder = tmp_path_factory.mktemp("run")
    result = invoke(nas_search, "--lut", lut_path, "--data", patients, "--epochs", 2, "-o", folder)
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_search_names_the_device_and_writes_the_architecture(searched, lut):
    folder, output = searched
    assert lut.device_name in output
    assert "ms estimated, within the budget of 50 ms" in output
    arch = load_arch(folder / "arch.yaml")
    assert arch.provenance["fold"] == 0
    assert len(arch.provenance["seen_patients"]) == 4


def test_owners_command_takes_data_from_the_environment(tmp_path, monkeypatch, lut_path, patients):
    monkeypatch.chdir(tmp_path)
    result = invoke(nas_search, "--lut", lut_path, "--epochs", 2, env={"CINERT_DATA": str(patients)})
    assert result.exit_code == 0, result.output
    assert (tmp_path / "runs" / "search" / "arch.yaml").is_file()


def test_the_same_command_again_continues(searched, lut_path, patients):
    folder, _ = searched
    result = invoke(nas_search, "--lut", lut_path, "--data", patients, "--epochs", 2, "-o", folder, "--budget-ms", 5)
    assert result.exit_code == 0
    assert "Continued after epoch 2 of 2" in result.output
    assert "within the budget of 5 ms" in result.output


METHODS = {
    "rtdnas": ["joint", "critical-path", "bounded", "full", "genetic"],
    "msnas": ["separate", "none", "weighted", "full", "dijkstra"],
    "cinert": ["joint", "union", "lagrangian", "sampled", "longest"],
}


@pytest.mark.parametrize(("method", "means"), METHODS.items())
def test_methods_are_presets(tmp_path, lut_path, patients, method, means):
    words = ["--lut", lut_path, "--data", patients, "--method", method, "--epochs", 2, "-o", tmp_path]
    result = invoke(nas_search, *words)
    assert result.exit_code == 0, result.output
    provenance = load_arch(tmp_path / "arch.yaml").provenance
    assert provenance["method"] == method
    assert [provenance[word] for word in ("relaxation", "latency_term", "loss", "mixture", "decoder")] == means


def test_what_is_named_replaces_what_the_method_brings(tmp_path, lut_path, patients):
    named = {"relaxation": "separate", "latency_term": "union", "decoder": "dijkstra", "mixture": "sampled"}
    words = [word for name, value in named.items() for word in (f"--{name.replace('_', '-')}", value)]
    words += ["--lut", lut_path, "--data", patients, "--method", "rtdnas", "--epochs", 2, "--paths", 3, "-o", tmp_path]
    result = invoke(nas_search, *words)
    assert result.exit_code == 0, result.output
    arch = load_arch(tmp_path / "arch.yaml")
    assert {name: arch.provenance[name] for name in named} == named
    assert arch.provenance["loss"] == "bounded"
    assert len(arch.paths) == 3


def test_a_missed_budget_is_exit_code_1(tmp_path, lut_path, patients):
    words = ["--lut", lut_path, "--data", patients, "--method", "msnas", "--epochs", 2, "--budget-ms", 3, "--paths", 4]
    result = invoke(nas_search, *words, "-o", tmp_path)
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert "over the budget of 3 ms" in said
    assert f"{tmp_path / 'arch.yaml'} misses the budget of 3 ms." in said
    assert load_arch(tmp_path / "arch.yaml").estimate["ms"] > 3


def test_several_seeds_and_a_front_out_of_one_command(tmp_path, lut_path, patients, monkeypatch):
    monkeypatch.setattr("search.selection.SELECTION_EPOCHS", 1)
    words = ["--lut", lut_path, "--data", patients, "--method", "cinert", "--epochs", 2, "--budget-ms", 12]
    result = invoke(nas_search, *words, "--seeds", 2, "--pareto", 3, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "seed 0: " in said
    assert "seed 1: " in said
    assert "ms estimated and " in said
    assert "at most " in said
    assert "within the budget of 12 ms" in said
    arch = load_arch(tmp_path / "arch.yaml")
    assert arch.estimate["high_ms"] <= 12
    assert arch.provenance["seeds"] == 2
    assert list((tmp_path / "pareto").glob("*.yaml"))


def test_train_after_search(tmp_path, searched, patients):
    folder, _ = searched
    result = invoke(
        train_arch,
        folder / "arch.yaml",
        "--data",
        patients,
        "--epochs",
        2,
        "--localiser-steps",
        2,
        "-o",
        tmp_path / "t",
    )
    assert result.exit_code == 0, result.output
    assert "Dice on 2 held-out patients" in result.output
    assert (tmp_path / "t" / "weights.safetensors").is_file()
    assert json.loads((tmp_path / "t" / "metrics.json").read_text())["patients"] == {"train": 4, "validation": 2}


def test_training_on_another_fold_warns_of_patients_that_the_search_saw(tmp_path, searched, patients):
    folder, _ = searched
    result = invoke(
        train_arch,
        folder / "arch.yaml",
        "--data",
        patients,
        "--fold",
        1,
        "--epochs",
        1,
        "--no-localiser",
        "-o",
        tmp_path / "t",
    )
    assert result.exit_code == 0, result.output
    assert "saw 1 of the held-out patients" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no data given. Hint: name a folder"),
        (["--data", "nowhere"], "there is no data folder nowhere"),
        (["--data", "PATIENTS", "--paths", "999"], "999 paths asked for, but the space tiny has"),
        (["--data", "PATIENTS", "--decoder", "genetic", "--paths", "11"], "chooses from the 10 most probable"),
        (["--data", "PATIENTS", "--budget-ms", "0.1"], "no network of tiny stays within 0.1 ms"),
        (["--data", "PATIENTS", "--method", "cinert", "--budget-ms", "2.2"], "and at most 2.3"),
        (["--data", "PATIENTS", "--space", "small"], "lacks"),
        (["--data", "PATIENTS", "--space", "huge"], "space 'huge' is neither a preset nor a file"),
        (["--data", "PATIENTS", "--device", "tpu"], "unknown device 'tpu'"),
        (["--data", "PATIENTS", "-o", "/proc/nowhere"], "cannot write /proc/nowhere"),
        (["--data", "PATIENTS", "--lut", "none.json"], "cannot read the LUT none.json"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, lut_path, patients, arguments, message):
    monkeypatch.chdir(tmp_path)
    given = [str(patients) if argument == "PATIENTS" else argument for argument in arguments]
    result = invoke(nas_search, "--lut", lut_path, "--epochs", 2, *given, env={"CINERT_DATA": None})
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_missing_and_broken_architectures(tmp_path, patients):
    result = invoke(train_arch, tmp_path / "arch.yaml", "--data", patients)
    assert result.exit_code == 2
    assert "cannot read the architecture" in result.output
    (tmp_path / "arch.yaml").write_text("schema: cinert.arch\nversion: 9\n")
    result = invoke(train_arch, tmp_path / "arch.yaml", "--data", patients)
    assert result.exit_code == 2
    assert "version is 9" in result.output


def test_a_gpu_that_is_not_there_is_exit_3(tmp_path, lut_path, patients):
    result = invoke(nas_search, "--lut", lut_path, "--data", patients, "--device", "cuda:99", "-o", tmp_path / "r")
    assert result.exit_code == 3
    assert "not available because torch sees" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("command", "less"), [("nas-search", "--activation-checkpointing on"), ("train-arch", "a smaller --batch-size")]
)
def test_out_of_memory_is_one_line_with_what_takes_less(
    tmp_path, searched, lut_path, patients, monkeypatch, command, less
):
    for does in (Search, Training):
        monkeypatch.setattr(does, "run_epoch", lambda *_: torch.empty(2**50))
    if command == "nas-search":
        result = invoke(nas_search, "--lut", lut_path, "--data", patients, "--epochs", 2, "-o", tmp_path)
    else:
        words = ["--data", patients, "--epochs", 1, "--no-localiser", "-o", tmp_path]
        result = invoke(train_arch, searched[0] / "arch.yaml", *words)
    assert result.exit_code == 2
    assert f"{command}: out of memory on cpu: {2**52} bytes were asked for." in result.output
    assert less in " ".join(result.output.split())
