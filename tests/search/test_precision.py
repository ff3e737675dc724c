"""Mixed precision: what `auto` means, that it learns the same, and that fp16 leaves out a step that overflows."""

import dataclasses

import pytest
import torch

from cinert.errors import BackendUnavailableError, BadInputError
from cinert.sampling import random_arch
from latency.cost import SpaceCosts
from search.loop import Search
from search.methods import RELAXED
from search.precision import MixedPrecision, resolve_amp
from search.train_run import run_training
from search.training import Training, TrainingSettings

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("amp", "device", "has_bf16", "means"),
    [
        ("auto", CPU, False, "off"),
        ("bf16", CPU, False, "bf16"),
        ("auto", GPU, True, "bf16"),
        ("auto", GPU, False, "fp16"),
        ("off", GPU, True, "off"),
        ("fp16", GPU, True, "fp16"),
    ],
)
def test_what_auto_means(monkeypatch, amp, device, has_bf16, means):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert resolve_amp(amp, device) == means


def test_bf16_is_refused_where_it_is_not(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla V100")
    with pytest.raises(BackendUnavailableError, match="Tesla V100 has no units for it"):
        resolve_amp("bf16", GPU)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_a_training_in_lower_precision_is_nearly_the_same(tiny, fold, amp):
    losses = {}
    for name in ("off", amp):
        settings = TrainingSettings(epochs=4, batch_size=5, amp=name)
        training = Training(random_arch(tiny, 3, paths=2), fold, settings, CPU)
        losses[name] = [training.run_epoch() for _ in range(4)]
        assert all(parameter.dtype == torch.float32 for parameter in training.network.parameters())
    assert losses[amp] != losses["off"]
    assert losses[amp] == pytest.approx(losses["off"], abs=0.05)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_a_search_in_lower_precision_is_nearly_the_same(tiny, lut, fold, amp):
    betas = {}
    for name in ("off", amp):
        settings = dataclasses.replace(
            RELAXED["zeng2020"], epochs=2, arch_optimizer="sgd", latency_weight=0.1
        ).settings(budget_ms=50.0, batch_size=5, amp=name)
        search = Search(tiny, SpaceCosts.from_lut(lut, tiny), fold.train, settings, CPU)
        for _ in range(2):
            search.run_epoch()
        betas[name] = search.architecture.beta.detach()
    moved = betas["off"].abs().max()
    assert moved > 0
    assert 0 < (betas[amp] - betas["off"]).abs().max() < 0.05 * moved


def test_fp16_leaves_out_a_step_that_overflows_and_lowers_its_scale():
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    precision = MixedPrecision("fp16", CPU)
    scale = precision.state()["scale"]
    for slope, expected in ((float("inf"), 1.0), (1.0, 0.9)):
        optimizer.zero_grad()
        precision.scaled((weight * slope).sum()).backward()
        precision.step(optimizer, largest_norm=10.0)
        assert float(weight.detach()) == pytest.approx(expected)
    assert precision.state()["scale"] == scale / 2
    other = MixedPrecision("fp16", CPU)
    other.load(precision.state())
    assert other.state() == precision.state()


def test_a_killed_fp16_training_continues_to_the_same_weights(tmp_path, tiny, fold):
    arch = random_arch(tiny, 3, paths=2)
    settings = TrainingSettings(epochs=3, batch_size=5, amp="fp16")

    def train(folder, **more):
        return run_training(arch, fold, settings, folder=folder, device=CPU, validate_every=3, **more)

    def stop(epochs_done):
        if epochs_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", on_epoch=stop)
    assert train(tmp_path / "killed").resumed_at == 2
    metrics = train(tmp_path / "whole").metrics
    assert metrics["mixed_precision"] == "fp16"
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("killed", "whole")]
    assert weights[0] == weights[1]


def test_the_precision_is_part_of_what_a_run_is(tmp_path, tiny, fold):
    arch = random_arch(tiny, 3, paths=1)
    settings = TrainingSettings(epochs=1, batch_size=5, amp="bf16")
    run_training(arch, fold, settings, folder=tmp_path, device=CPU, validate_every=1)
    with pytest.raises(BadInputError, match="amp 'bf16' there, 'off' now"):
        run_training(
            arch, fold, dataclasses.replace(settings, amp="off"), folder=tmp_path, device=CPU, validate_every=1
        )
