"""Training: learns, resumes to the same result, and writes what its readers need."""

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open

from cinert.arch import Arch, NodeEdge, load_arch
from cinert.errors import BadInputError
from cinert.network import Network, load_weights
from cinert.sampling import random_arch
from search.average import WeightAverage
from search.checkpoint import load_checkpoint, load_optimizer_tensors, optimizer_tensors
from search.scores import dice_per_class, mean_dice
from search.train_run import run_training
from search.training import TrainingSettings

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(epochs=4, batch_size=4)


@pytest.fixture(scope="module")
def arch(tiny):
    found = random_arch(tiny, 3, paths=2)
    return dataclasses.replace(found, provenance={"seen_patients": [{"id": "patient100", "digest": "f" * 64}]})


def train(arch, fold, folder, *, settings=SETTINGS, **more):
    return run_training(arch, fold, settings, folder=folder, device=CPU, validate_every=2, **more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, arch, fold):
    folder = tmp_path_factory.mktemp("training")
    train(arch, fold, folder)
    return folder


class KilledError(Exception):
    pass


def kill_after(epoch):
    def on_epoch(done):
        if done == epoch:
            raise KilledError

    return on_epoch


def test_a_killed_training_continues_to_the_same_weights(tmp_path, arch, fold, finished):
    with pytest.raises(KilledError):
        train(arch, fold, tmp_path, on_epoch=kill_after(3))
    assert not (tmp_path / "weights.safetensors").exists()
    assert train(arch, fold, tmp_path).resumed_at == 3
    assert (tmp_path / "weights.safetensors").read_bytes() == (finished / "weights.safetensors").read_bytes()
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (finished, tmp_path))
    assert first["epochs"] == second["epochs"]
    assert first["validation"] == second["validation"]


def test_another_seed_gives_other_weights(tmp_path, arch, fold, finished):
    train(arch, fold, tmp_path, settings=dataclasses.replace(SETTINGS, seed=1))
    assert (tmp_path / "weights.safetensors").read_bytes() != (finished / "weights.safetensors").read_bytes()


def test_it_learns(tmp_path, tiny, fold):
    cell = ((NodeEdge(0, "conv"),), (NodeEdge(1, "conv"),))
    plain = Arch(space=tiny, cells={"ct": cell, "ns": cell, "ep": cell}, paths=(("ct", "ep", "ns"),))
    metrics = train(
        plain, fold, tmp_path, settings=TrainingSettings(epochs=25, batch_size=2, learning_rate=0.02)
    ).metrics
    assert metrics["epochs"][-1]["loss"] < 0.5 * metrics["epochs"][0]["loss"]
    assert metrics["validation"]["mean"]["mean"] > 0.6


def test_run_folder(arch, fold, finished):
    assert {path.name for path in finished.iterdir()} == {
        "arch.yaml", "checkpoint.safetensors", "metrics.json", "tensorboard", "training.log", "training.png",
        "weights.safetensors",
    }  # fmt: skip
    assert load_arch(finished / "arch.yaml").digest == arch.digest
    metrics = json.loads((finished / "metrics.json").read_text())
    assert (metrics["schema"], metrics["version"], metrics["grid"]) == ("cinert.metrics", 1, "network")
    assert [record["epoch"] for record in metrics["epochs"]] == [1, 2, 3, 4]
    assert ["dice" in record for record in metrics["epochs"]] == [False, True, False, True]
    assert metrics["epochs"][-1]["dice"] == metrics["validation"]["mean"]
    assert len(metrics["validation"]["frames"]) == 4
    assert metrics["kept_share"] == {"mean": 1.0, "worst": 1.0}


def test_weights_load_into_the_network_and_name_all_patients_seen(arch, fold, finished):
    network = Network(arch).eval()
    metadata = json.loads(load_weights(network, finished / "weights.safetensors")["cinert"])
    assert metadata["schema"] == "cinert.weights"
    assert metadata["arch_digest"] == arch.digest
    assert metadata["classes"] == ["background", "rv", "myo", "lv"]
    assert metadata["seen_patients"] == [
        *(record.to_dict() for record in fold.seen),
        {"id": "patient100", "digest": "f" * 64},
    ]
    # They are the averaged weights that were validated.
    images = torch.stack([torch.from_numpy(sample.x_DHW)[None] for sample in fold.validation])
    labels = torch.stack([torch.from_numpy(sample.y_DHW) for sample in fold.validation])
    with torch.no_grad():
        dice = dice_per_class(network(images).argmax(1), labels.long()).mean()
    assert float(dice) == pytest.approx(
        json.loads((finished / "metrics.json").read_text())["validation"]["mean"]["mean"], abs=1e-3
    )


def test_weights_of_another_architecture_do_not_fit(tiny, finished):
    with pytest.raises(BadInputError, match=r"do not fit arch.*tensors differ"):
        load_weights(Network(random_arch(tiny, 8, paths=1)), finished / "weights.safetensors")


def test_other_settings_and_other_architectures_are_refused(tiny, arch, fold, finished):
    with pytest.raises(BadInputError, match=r"begun with other settings: learning_rate 0.01 there, 0.5 now"):
        train(arch, fold, finished, settings=dataclasses.replace(SETTINGS, learning_rate=0.5))
    with pytest.raises(BadInputError, match="holds another architecture"):
        train(random_arch(tiny, 8, paths=1), fold, finished)


def test_without_held_out_patients_there_is_no_validation(tmp_path, arch, fold):
    everyone = dataclasses.replace(fold, fold=None, validation=[])
    metrics = train(arch, everyone, tmp_path, settings=TrainingSettings(epochs=1, batch_size=8)).metrics
    assert metrics["validation"] == {"mean": None, "frames": []}
    assert metrics["settings"]["fold"] == "all"


def test_dice_by_hand():
    labels = torch.tensor([[0, 1, 1, 3], [0, 0, 0, 2]]).view(2, 1, 1, 4)
    predicted = torch.tensor([[1, 1, 0, 3], [0, 0, 0, 0]]).view(2, 1, 1, 4)
    found = dice_per_class(predicted, labels)
    nan = torch.nan
    torch.testing.assert_close(found, torch.tensor([[0.5, nan, 1.0], [nan, 0.0, nan]]), equal_nan=True)
    # What is neither there nor found leaves the means, and lets them stand.
    assert mean_dice(found.tolist()) == {"rv": 0.5, "myo": 0.0, "lv": 1.0, "mean": 0.5}
    assert mean_dice([[nan, 0.5, nan]]) == {"rv": None, "myo": 0.5, "lv": None, "mean": 0.5}


def test_average_by_hand():
    module = torch.nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(1.0)
    average = WeightAverage(module, decay=0.15)
    module.weight.data.fill_(0.0)
    average.update(module)  # decay bounded by 0.15, below (1 + 1) / (10 + 1)
    torch.testing.assert_close(average.state["weight"], torch.tensor([[0.15]]))


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_optimizer_state_survives_as_tensors(kind):
    def make():
        torch.manual_seed(0)
        module = torch.nn.Linear(3, 2)
        if kind == "sgd":
            return module, torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
        return module, torch.optim.AdamW(module.parameters(), lr=0.1)

    def step(module, optimizer):
        optimizer.zero_grad()
        module(torch.ones(1, 3)).pow(2).sum().backward()
        optimizer.step()

    module, optimizer = make()
    step(module, optimizer)
    other, restored = make()
    other.load_state_dict(module.state_dict())
    load_optimizer_tensors(restored, {name: value.clone() for name, value in optimizer_tensors(optimizer).items()})
    step(module, optimizer)
    step(other, restored)
    assert torch.equal(module.weight, other.weight)


def test_a_broken_checkpoint_is_one_line(tmp_path, finished):
    whole = (finished / "checkpoint.safetensors").read_bytes()
    broken = tmp_path / "checkpoint.safetensors"
    broken.write_bytes(whole[:200])
    with pytest.raises(BadInputError, match=r"checkpoint .* cannot be read"):
        load_checkpoint(broken, schema="cinert.training", version=1)
    with safe_open(finished / "checkpoint.safetensors", framework="pt") as stream:
        assert json.loads(stream.metadata()["cinert"])["next_epoch"] == 4
    with pytest.raises(BadInputError, match=r"'cinert.training' version 1, expected 'cinert.supernet' version 1"):
        load_checkpoint(finished / "checkpoint.safetensors", schema="cinert.supernet", version=1)
