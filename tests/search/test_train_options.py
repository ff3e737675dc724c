"""The recipe's options reach the training, and values that mean nothing are one line."""

import json

import pytest
import torch
from click.testing import CliRunner

from cinert.arch import save_arch
from cinert.baselines.kinds import design
from search.checkpoint import load_checkpoint
from search.train_cli import train_arch
from search.training import TrainingSettings


@pytest.fixture
def command(tmp_path, tiny, patients):
    def run_command(*words):
        save_arch(tmp_path / "arch.yaml", design("unet3d", tiny, (3, 4)))
        given = [tmp_path / "arch.yaml", "--data", patients, "--epochs", 2, "--device", "cpu", "--no-localiser"]
        return CliRunner().invoke(train_arch, [str(word) for word in [*given, *words]])

    return run_command


def test_they_reach_the_training(command, tmp_path):
    words = ("--warmup-steps", 7, "--weight-decay", 0.02, "--average-decay", 0.5, "--learning-rate", 0.003)
    result = command(*words)
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    names = ("warmup_steps", "weight_decay", "average_decay", "learning_rate")
    assert [metrics["settings"][name] for name in names] == [7, 0.02, 0.5, 0.003]
    # In the fourth of seven steps of the warm-up, three quarters down the cosine.
    assert metrics["epochs"][-1]["learning_rate"] == pytest.approx(0.003 * 4 / 7 * 0.5 * (1 + -(0.5**0.5)))


def test_an_average_that_forgets_all_keeps_the_last_weights(command, tmp_path):
    assert command("--average-decay", 0).exit_code == 0
    kept = load_checkpoint(tmp_path / "checkpoint.safetensors", schema="cinert.training", version=1)
    last = kept.part("network")
    for name, tensor in kept.part("average").items():
        assert torch.equal(tensor, last[name]), name


def test_what_the_command_takes_unless_told_is_what_a_training_takes():
    told = {parameter.name: parameter.default for parameter in train_arch.params}
    settings = TrainingSettings().to_dict()
    differing = {name: value for name, value in settings.items() if told.get(name) != value}
    # They are digests of what the options name.
    assert set(differing) <= {"init", "teacher"}


@pytest.mark.parametrize(
    "words",
    [
        ("--warmup-steps", 0),
        ("--weight-decay", -0.1),
        ("--weight-decay", "nan"),
        ("--average-decay", 1),
        ("--average-decay", -0.5),
        ("--teacher-weight", 0),
        ("--teacher-temperature", 0),
        ("--teacher-temperature", "inf"),
    ],
)
def test_values_that_mean_nothing_are_one_line(command, words):
    result = command(*words)
    assert result.exit_code == 2
    assert len(result.output.splitlines()) == 1
    assert words[0] in result.output
