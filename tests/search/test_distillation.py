"""Distillation: what the loss is, what the result has seen, and which teachers are refused."""

import dataclasses
import json

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.functional import log_softmax, softmax

from cinert.arch import save_arch
from cinert.baselines.kinds import design
from cinert.errors import BadInputError
from cinert.network import build_network, load_weights
from search.distillation import build_teacher, distillation_loss
from search.source import read_source
from search.sources import Sources
from search.train_cli import train_arch
from search.train_run import run_training
from search.training import Training, TrainingSettings

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(epochs=2, batch_size=5)
ELSEWHERE = {"id": "elsewhere", "digest": "e" * 64}


@pytest.fixture(scope="module")
def small(tiny):
    return design("unet3d", tiny, (3, 4))


def train(arch, fold, folder, settings=SETTINGS, **more):
    return run_training(arch, fold, settings, folder=folder, device=CPU, validate_every=2, **more)


@pytest.fixture(scope="module")
def large(tmp_path_factory, tiny, fold):
    """A trained 2D network, whose search saw a patient of another folder."""
    folder = tmp_path_factory.mktemp("large")
    arch = design("unet2d", tiny, (8, 12))
    train(dataclasses.replace(arch, provenance={"seen_patients": [ELSEWHERE]}), fold, folder)
    return folder


@pytest.fixture(scope="module")
def sources(large):
    return Sources(teacher=read_source(large / "weights.safetensors"))


def test_a_teacher_says_what_its_network_says(large, sources, tiny):
    teacher = build_teacher(sources.teacher)
    network = build_network(sources.teacher.arch)
    load_weights(network, large / "weights.safetensors")
    image = torch.randn(2, 1, *tiny.input_shape_DHW)
    with torch.no_grad():
        torch.testing.assert_close(teacher(image), network.eval()(image), rtol=1e-4, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_the_loss_by_hand():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 4, 1, 2, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    p, q = softmax(teacher / 3, dim=1), softmax(student / 3, dim=1)
    torch.testing.assert_close(distillation_loss(student, teacher, 3.0), 9 * (p * (p / q).log()).sum())
    assert float(distillation_loss(teacher, teacher, 3.0)) == pytest.approx(0, abs=1e-12)


def test_the_gradient_keeps_its_size_at_any_temperature():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(1, 4, 1, 8, 8, generator=generator) for _ in range(2))
    norms = []
    for temperature in (10.0, 100.0):
        logits = student.clone().requires_grad_()
        norms.append(float(torch.autograd.grad(distillation_loss(logits, teacher, temperature), logits)[0].norm()))
    assert norms[0] == pytest.approx(norms[1], rel=0.2)


def test_a_step_adds_the_mean_over_the_voxels_of_the_augmented_images(small, fold, sources):
    settings = TrainingSettings(epochs=1, batch_size=10, teacher="digest", teacher_weight=0.5, teacher_temperature=3.0)
    training = Training(small, fold, settings, CPU, sources=sources)
    network = build_network(small)
    network.load_state_dict(training.network.state_dict())
    read, found = [], {}
    augment = training._augment
    training._augment = lambda *given: read.append(augment(*given)) or read[-1]
    training.precision.step = lambda optimizer, largest_norm: found.update(
        {name: each.grad.clone() for name, each in training.network.named_parameters()}
    )
    training.run_epoch()

    images, labels = read[0]
    logits = network(images)
    with torch.no_grad():
        taught = build_teacher(sources.teacher)(images)
    softened = softmax(taught / 3, dim=1)
    divergence = (softened * (softened.log() - log_softmax(logits / 3, dim=1))).sum(1).mean()
    (training._loss(logits, labels[:, None]) + 0.5 * 9 * divergence).backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5)


def test_a_killed_training_continues_to_the_same_weights_and_names_the_teachers_patients(
    tmp_path, small, fold, sources
):
    settings = dataclasses.replace(SETTINGS, teacher=sources.teacher.digest)
    fewer = dataclasses.replace(fold, seen=fold.seen[:1])

    def kill(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small, fewer, tmp_path / "killed", settings, sources=sources, on_epoch=kill)
    with pytest.raises(BadInputError, match=f"teacher '{sources.teacher.digest}' there, None now"):
        train(small, fewer, tmp_path / "killed")
    assert train(small, fewer, tmp_path / "killed", settings, sources=sources).resumed_at == 1
    metrics = train(small, fewer, tmp_path / "whole", settings, sources=sources).metrics
    killed, whole = (load_file(tmp_path / name / "weights.safetensors") for name in ("killed", "whole"))
    assert set(whole) == set(build_network(small).state_dict())
    for name, tensor in whole.items():
        assert torch.equal(killed[name], tensor), name
    assert metrics["settings"]["teacher"] == sources.teacher.digest
    with safe_open(tmp_path / "whole" / "weights.safetensors", framework="pt") as stream:
        seen = json.loads(stream.metadata()["cinert"])["seen_patients"]
    assert seen == sorted([ELSEWHERE, *(record.to_dict() for record in fold.seen)], key=lambda each: each["id"])


def test_bf16_is_nearly_the_same(small, fold, sources):
    losses = []
    for amp in ("off", "bf16"):
        settings = dataclasses.replace(SETTINGS, amp=amp, teacher="digest")
        training = Training(small, fold, settings, CPU, sources=sources)
        losses.append([training.run_epoch() for _ in range(2)])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)


# The command.


@pytest.fixture
def command(tmp_path, small, patients):
    def run_command(*words, arch=small):
        output = tmp_path / "output"
        output.mkdir(exist_ok=True)
        save_arch(tmp_path / "arch.yaml", arch)
        given = [tmp_path / "arch.yaml", "--data", patients, "--epochs", 1, "--device", "cpu", "--no-localiser"]
        result = CliRunner().invoke(train_arch, [str(word) for word in [*given, "-o", output, *words]])
        return result, output

    return run_command


def refused(outcome, *says):
    result, output = outcome
    assert result.exit_code == 2, result.output
    lines = [line for line in result.output.splitlines() if not line.startswith("Note:")]
    assert len(lines) == 1, result.output
    for word in says:
        assert word in lines[0]
    assert list(output.iterdir()) == []


@pytest.fixture
def copied(tmp_path, large):
    """A copy of the teacher's folder with another record."""

    def copy(arch=None, **changes):
        folder = tmp_path / "copied"
        folder.mkdir()
        with safe_open(large / "weights.safetensors", framework="pt") as stream:
            record = json.loads(stream.metadata()["cinert"])
        record = {**record, **changes}
        save_file(
            load_file(large / "weights.safetensors"), folder / "weights.safetensors", {"cinert": json.dumps(record)}
        )
        if arch is None:
            (folder / "arch.yaml").write_bytes((large / "arch.yaml").read_bytes())
        else:
            save_arch(folder / "arch.yaml", arch)
        return folder

    return copy


def test_the_command_learns_from_it(command, large):
    result, output = command("--teacher", large, "--teacher-weight", 0.5, "--teacher-temperature", 4)
    assert result.exit_code == 0, result.output
    settings = json.loads((output / "metrics.json").read_text())["settings"]
    digest = read_source(large / "weights.safetensors").digest
    found = tuple(settings[name] for name in ("teacher", "teacher_weight", "teacher_temperature"))
    assert found == (digest, 0.5, 4.0)
    assert ELSEWHERE in read_source(output / "weights.safetensors").seen


def test_a_teacher_on_another_grid_is_refused(command, large, tiny):
    coarser = dataclasses.replace(tiny, input_shape_DHW=(4, 8, 8), spacing_mm=(10.0, 12.0, 12.0))
    outcome = command("--teacher", large, arch=design("unet3d", coarser, (3, 4)))
    refused(outcome, "the grid 4x16x16 at 10x6x6 mm", "reads 4x8x8 at 10x12x12 mm")


def test_a_teacher_of_other_classes_is_refused(command, copied):
    refused(command("--teacher", copied(classes=["background", "scar"])), "are of classes ['background', 'scar']")


def test_a_teacher_that_saw_held_out_patients_is_refused(command, copied):
    everyone = [{"id": f"patient{number}", "digest": "0" * 64} for number in range(901, 907)]
    refused(command("--teacher", copied(seen_patients=everyone)), "of the held-out patients: patient90")


def test_a_folder_that_is_no_trained_network_is_refused(command, copied, large, tmp_path, tiny):
    refused(command("--teacher", tmp_path / "nowhere"), "do not exist")
    (tmp_path / "empty").mkdir()
    refused(command("--teacher", tmp_path / "empty"), "holds no weights.safetensors.")
    folder = copied(arch=design("unet2d", tiny, (8, 14)))
    refused(command("--teacher", folder), "no arch.yaml of the network that weights", "lies beside them")
    (folder / "arch.yaml").unlink()
    refused(command("--teacher", folder), "no arch.yaml of the network that weights", "lies beside them")


def test_tensors_that_do_not_fit_the_teachers_network_are_refused(command, copied, tiny):
    other = design("unet2d", tiny, (8, 14))
    refused(command("--teacher", copied(arch=other, arch_digest=other.digest)), "do not fit", "tensors differ")


@pytest.mark.parametrize("words", [("--teacher-weight", 0.5), ("--teacher-temperature", 2.0)])
def test_options_of_a_teacher_mean_nothing_without_one(command, words):
    refused(command(*words), f"{words[0]} {words[1]} means nothing without a teacher")
