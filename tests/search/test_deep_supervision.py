"""Deep supervision: which features are watched, what the loss is, and that nothing of it is kept."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch.nn.functional import conv3d

from cinert.arch import Arch, NodeEdge, save_arch
from cinert.baselines.kinds import KINDS, design
from cinert.errors import BadInputError
from cinert.network import build_network, load_weights
from cinert.spaces import load_any_space
from cinert.ushape.choices import random_ushape
from search.checkpoint import load_checkpoint
from search.deep_supervision import SideHeads, coarser_labels
from search.train_cli import train_arch
from search.train_run import run_training
from search.training import Training, TrainingSettings

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(epochs=3, batch_size=4, deep_supervision=0.3)


@pytest.fixture(scope="module")
def deep(tiny):
    """A space of three scales on the grid of `fold`."""
    return dataclasses.replace(tiny, layers=4, strides=((1, 2, 2), (1, 2, 2)), widths=(4, 6, 8))


@pytest.fixture(scope="module")
def unet(deep):
    return design("unet3d", deep, (4, 6, 8))


def searched(space, *paths):
    cell = ((NodeEdge(0, "conv"),), (NodeEdge(1, "conv"),))
    return Arch(space=space, cells={"ct": cell, "ns": cell, "ep": cell}, paths=paths)


def train(arch, fold, folder, settings=SETTINGS, **more):
    return run_training(arch, fold, settings, folder=folder, device=CPU, validate_every=3, **more)


def side_logits(arch, batch):
    network = build_network(arch)
    side = SideHeads(network)
    with side.watching() as features:
        network(torch.randn(batch, 1, *arch.grid.input_shape_DHW))
    return side.logits(features, batch)


@pytest.mark.parametrize("batch", [2, 0])
@pytest.mark.parametrize("kind", KINDS)
def test_designed_networks_of_three_levels_have_one_between(deep, kind, batch):
    (found,) = side_logits(design(kind, deep, (4, 6, 8)), batch)
    # The grid of aniso-unet is its own, and its stem halves it.
    height = 24 if kind == "aniso-unet" else 8
    assert found.shape == (batch, 4, 4, height, height)


def test_the_two_middle_levels_of_four(deep):
    arch = design("aniso-unet", deep, (4, 5, 6, 7))
    assert [tuple(each.shape) for each in side_logits(arch, 1)] == [(1, 4, 4, 24, 24), (1, 4, 4, 12, 12)]


def test_the_middle_levels_of_a_searched_u_shape():
    arch = random_ushape(load_any_space("cardiac-small"), np.random.default_rng(0))
    sizes = arch.shape.shapes_DHW(arch.input_shape_DHW)[1:-1]
    assert len(sizes) == len(arch.shape.widths) - 2 > 0
    assert [tuple(each.shape) for each in side_logits(arch, 1)] == [(1, 4, *size) for size in sizes]


def test_the_last_vertex_between_the_scales_of_a_searched_network(deep):
    arch = searched(deep, ("ct", "ct", "ep", "ep"), ("ct", "ns", "ep", "skip"))
    network = build_network(arch)
    assert network.side_outputs() == [network.cells["l3_s1_ep"].preprocessing[2]]
    assert [tuple(each.shape) for each in side_logits(arch, 2)] == [(2, 4, 4, 8, 8)]


def test_networks_without_such_a_level_have_none(deep):
    assert build_network(searched(deep, ("ct", "ns", "ns", "ep"))).side_outputs() == []
    assert build_network(searched(deep, ("ns", "ns", "ns", "ns"))).side_outputs() == []
    assert build_network(design("unet2d", deep, (4, 6))).side_outputs() == []


def test_labels_are_those_of_the_voxels_nearest_to_the_centres():
    labels = torch.arange(12).view(1, 1, 2, 6)
    # Centres of three voxels lie on a voxel; between two the later one counts.
    assert coarser_labels(labels, (1, 1, 2)).tolist() == [[[[[7, 10]]]]]
    assert coarser_labels(labels, (1, 2, 3)).tolist() == [[[[[1, 3, 5], [7, 9, 11]]]]]


def gradients_of_first_step(training):
    """Gradients as they are before they are clipped."""
    found = {}

    def keep(optimizer, largest_norm):
        found.update({name: each.grad.clone() for name, each in training.network.named_parameters()})

    training.precision.step = keep
    training.run_epoch()
    return found


@pytest.mark.parametrize("kind", ["unet3d", "unet2d"])
def test_the_loss_is_the_sum_by_hand(deep, fold, kind):
    arch = design(kind, deep, (4, 6, 8))
    settings = TrainingSettings(epochs=1, batch_size=10, deep_supervision=0.3)
    training = Training(arch, fold, settings, CPU)
    network = build_network(arch)
    network.load_state_dict(copy.deepcopy(training.network.state_dict()))
    (head,) = training.side.heads
    weight, bias = head.weight.detach().clone(), head.bias.detach().clone()
    read = []
    augment = training._augment
    training._augment = lambda *given: read.append(augment(*given)) or read[-1]
    found = gradients_of_first_step(training)

    (images, labels), features = read[0], []
    network.body.up[1].register_forward_hook(lambda _module, _inputs, output: features.append(output))
    logits = network(images)
    (middle,) = features
    if kind == "unet2d":
        middle = middle.view(10, 4, *middle.shape[1:]).transpose(1, 2)
    coarse = labels[:, :, 1::2, 1::2]
    total = training._loss(logits, labels[:, None])
    total = total + 0.3 * training._loss(conv3d(middle, weight, bias), coarse[:, None])
    total.backward()

    assert len(found) == len(list(network.parameters()))
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5)


class KilledError(Exception):
    pass


def test_a_killed_training_continues_to_the_same_weights_which_are_the_network_alone(tmp_path, unet, fold):
    def kill(done):
        if done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        train(unet, fold, tmp_path / "killed", on_epoch=kill)
    assert train(unet, fold, tmp_path / "killed").resumed_at == 2
    train(unet, fold, tmp_path / "whole")
    killed, whole = (load_file(tmp_path / name / "weights.safetensors") for name in ("killed", "whole"))
    assert set(killed) == set(whole) == set(build_network(unet).state_dict())
    for name, tensor in whole.items():
        assert torch.equal(killed[name], tensor), name
    load_weights(build_network(unet), tmp_path / "whole" / "weights.safetensors")
    metrics = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    assert metrics["settings"]["deep_supervision"] == 0.3
    assert metrics["parameters"] == sum(each.numel() for each in build_network(unet).parameters())
    kept = load_checkpoint(tmp_path / "killed" / "checkpoint.safetensors", schema="cinert.training", version=1)
    assert {name: tuple(each.shape) for name, each in kept.part("side").items()} == {
        "0.weight": (4, 6, 1, 1, 1),
        "0.bias": (4,),
    }


def test_it_changes_what_is_learnt_but_not_where_it_begins(unet, fold):
    plain, deep = (
        Training(unet, fold, dataclasses.replace(SETTINGS, deep_supervision=weight), CPU) for weight in (0.0, 0.3)
    )
    for first, second in zip(plain.network.parameters(), deep.network.parameters(), strict=True):
        assert torch.equal(first, second)
    assert plain.average.state.keys() == deep.average.state.keys()
    for first, second in zip(plain.average.state.values(), deep.average.state.values(), strict=True):
        assert torch.equal(first, second)
    plain.run_epoch()
    deep.run_epoch()
    assert not torch.equal(plain.network.head.weight, deep.network.head.weight)


def test_bf16_is_nearly_the_same(unet, fold):
    losses = []
    for amp in ("off", "bf16"):
        training = Training(unet, fold, dataclasses.replace(SETTINGS, amp=amp), CPU)
        losses.append([training.run_epoch() for _ in range(3)])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)


def test_a_training_from_before_the_switch_continues_without_it_alone(tmp_path, unet, fold):
    from search import train_run

    plain = dataclasses.replace(SETTINGS, deep_supervision=0.0)
    identity = train_run.training_identity(unet, fold, plain)
    older = {key: value for key, value in identity.items() if key != "deep_supervision"}
    training = Training(unet, fold, plain, CPU)
    training.save(tmp_path / "checkpoint.safetensors", older, {"epochs": [], "seconds": 0.0, "cpu_seconds": 0.0})
    assert train_run.prepare_training(tmp_path, unet, identity, restart=False) is not None
    with pytest.raises(BadInputError, match=r"deep_supervision 0.0 there, 0.3 now"):
        train(unet, fold, tmp_path)


@pytest.mark.parametrize(("widths", "says"), [((4, 6), True), ((4, 6, 8), False)])
def test_the_command_says_when_it_has_no_effect(tmp_path, deep, patients, widths, says):
    save_arch(tmp_path / "arch.yaml", design("unet2d", deep, widths))
    words = [tmp_path / "arch.yaml", "--data", patients, "--epochs", 1, "--device", "cpu", "--no-localiser"]
    result = CliRunner().invoke(train_arch, [str(word) for word in [*words, "--deep-supervision", 0.3]])
    assert result.exit_code == 0, result.output
    assert ("--deep-supervision has no effect" in result.output) == says


@pytest.mark.parametrize("weight", ["-0.1", "nan", "inf"])
def test_a_weight_that_is_none_is_refused(tmp_path, unet, weight):
    save_arch(tmp_path / "arch.yaml", unet)
    result = CliRunner().invoke(train_arch, [str(tmp_path / "arch.yaml"), "--deep-supervision", weight])
    assert result.exit_code == 2
    assert "--deep-supervision" in result.output
