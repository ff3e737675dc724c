"""Trainings that begin with other weights: what is taken, whom the result has seen, and what is refused."""

import dataclasses
import json

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cinert.arch import save_arch
from cinert.baselines.kinds import design
from cinert.errors import BadInputError
from cinert.network import build_network
from search.data import load_fold
from search.initial import matching, require_match
from search.methods import RELAXED
from search.problem import RunContext, SearchProblem
from search.run import run_search
from search.source import find_source, read_source, refuse_source_that_saw
from search.sources import Sources
from search.train_cli import train_arch
from search.train_run import run_training
from search.training import Training, TrainingSettings

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(epochs=2, batch_size=5)
BOTH = ("weights.safetensors", "supernet.safetensors")
ELSEWHERE = {"id": "elsewhere", "digest": "e" * 64}


@pytest.fixture(scope="module")
def unet(tiny):
    return design("unet3d", tiny, (4, 8))


def train(arch, fold, folder, settings=SETTINGS, **more):
    return run_training(arch, fold, settings, folder=folder, device=CPU, validate_every=2, **more)


@pytest.fixture(scope="module")
def run(tmp_path_factory, unet, fold):
    """A training whose network was searched on a patient of another folder."""
    folder = tmp_path_factory.mktemp("first")
    train(dataclasses.replace(unet, provenance={"seen_patients": [ELSEWHERE]}), fold, folder)
    return folder


@pytest.fixture(scope="module")
def source(run):
    return read_source(run / "weights.safetensors")


def test_the_same_network_begins_with_all_of_it(unet, fold, source):
    training = Training(unet, fold, SETTINGS, CPU, sources=Sources(initial=source))
    assert str(matching(training.network, source.tensors)).endswith(
        "match by name and shape, 100.0 % of the parameters"
    )
    for state in (training.network.state_dict(), training.average.state):
        assert state.keys() == source.tensors.keys()
        for name, tensor in source.tensors.items():
            if tensor.is_floating_point():
                assert torch.equal(state[name], tensor), name


def test_of_another_network_only_exact_shapes_are_taken(tiny, fold, source):
    wider = design("unet3d", tiny, (4, 10))
    plain, begun = (Training(wider, fold, SETTINGS, CPU, sources=Sources(initial=given)) for given in (None, source))
    taken = require_match(begun.network, source)
    own = {name: each for name, each in begun.network.state_dict().items() if each.is_floating_point()}
    same = {name for name, each in own.items() if source.tensors[name].shape == each.shape}
    assert taken.names == same
    assert 0 < len(same) < len(own) == taken.of_tensors
    sizes = {name: each.numel() for name, each in begun.network.named_parameters()}
    assert taken.share == sum(size for name, size in sizes.items() if name in same) / sum(sizes.values())
    # The others have their first channels in common, and stay as they were.
    for name, each in begun.network.state_dict().items():
        if each.is_floating_point():
            expected = source.tensors[name] if name in same else plain.network.state_dict()[name]
            assert torch.equal(each, expected), name


def test_a_killed_training_continues_to_the_same_weights_and_names_all_patients(tmp_path, unet, fold, source):
    settings = dataclasses.replace(SETTINGS, init=source.digest)
    other = dataclasses.replace(fold, seen=fold.seen[:3])

    def kill(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(unet, other, tmp_path / "killed", settings, sources=Sources(initial=source), on_epoch=kill)
    assert train(unet, other, tmp_path / "killed", settings, sources=Sources(initial=source)).resumed_at == 1
    metrics = train(unet, other, tmp_path / "whole", settings, sources=Sources(initial=source)).metrics
    killed, whole = (load_file(tmp_path / name / "weights.safetensors") for name in ("killed", "whole"))
    for name, tensor in whole.items():
        assert torch.equal(killed[name], tensor), name
    assert metrics["settings"]["init"] == source.digest
    with safe_open(tmp_path / "whole" / "weights.safetensors", framework="pt") as stream:
        seen = json.loads(stream.metadata()["cinert"])["seen_patients"]
    assert seen == sorted([ELSEWHERE, *(record.to_dict() for record in fold.seen)], key=lambda each: each["id"])
    assert "match by name and shape, 100.0 %" in (tmp_path / "whole" / "training.log").read_text()


def test_other_weights_are_another_training(tmp_path, unet, fold, source):
    def kill(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            unet,
            fold,
            tmp_path,
            dataclasses.replace(SETTINGS, init=source.digest),
            sources=Sources(initial=source),
            on_epoch=kill,
        )
    with pytest.raises(BadInputError, match=f"init '{source.digest}' there, None now"):
        train(unet, fold, tmp_path)


def test_a_search_gives_what_its_network_shares_with_it(tmp_path, tiny, lut, fold):
    settings = dataclasses.replace(RELAXED["zeng2020"], epochs=2).settings(budget_ms=1000.0, batch_size=5)
    problem = SearchProblem(space=tiny, lut=lut, data=fold, budget_ms=1000.0)
    found = run_search(problem, settings, RunContext(folder=tmp_path, device=CPU))
    arch = found.decoded.arch
    source = read_source(find_source(tmp_path, names=BOTH, written=[tmp_path / "weights.safetensors"]))
    assert source.seen == tuple(record.to_dict() for record in fold.seen)
    network = build_network(arch)
    names = require_match(network, source).names
    assert {"stem.0.weight", "stem.1.weight"} <= names
    cells = [name for name in network.state_dict() if ".preprocessing." in name and name.endswith("weight")]
    assert names & set(cells)
    assert not any(".ops." in name for name in names)
    begun = Training(arch, fold, SETTINGS, CPU, sources=Sources(initial=source)).network.state_dict()
    assert torch.equal(begun["stem.0.weight"], source.tensors["stem.0.weight"])


def test_what_a_folder_means(tmp_path):
    for name in BOTH:
        (tmp_path / name).touch()
    weights = tmp_path / "weights.safetensors"
    assert find_source(tmp_path, names=BOTH, written=[]) == weights
    # What the training itself writes is not meant: it was not there when the command was given first.
    assert find_source(tmp_path, names=BOTH, written=[weights]) == tmp_path / "supernet.safetensors"
    (tmp_path / "supernet.safetensors").unlink()
    for path in (tmp_path, weights):
        with pytest.raises(BadInputError, match="are what this training writes"):
            find_source(path, names=BOTH, written=[weights])


def test_held_out_patients_are_found_by_id_and_by_content(source):
    refuse_source_that_saw(source, {"other": "0" * 64 + "x"})
    with pytest.raises(BadInputError, match=r"saw 2 of the held-out patients: another name, patient001\."):
        refuse_source_that_saw(source, {"patient001": "f" * 64, "another name": f"{2:064d}", "other": "a" * 64})


# What the command refuses.


@pytest.fixture
def copied(tmp_path, run):
    """Copy the weights of `run` without its arch.yaml, with another record or other tensors."""

    def copy(change_record=lambda record: record, change_tensors=lambda tensors: tensors):
        with safe_open(run / "weights.safetensors", framework="pt") as stream:
            record = json.loads(stream.metadata()["cinert"])
        record = change_record(record)
        path = tmp_path / "copied.safetensors"
        metadata = None if record is None else {"cinert": record if isinstance(record, str) else json.dumps(record)}
        save_file(change_tensors(load_file(run / "weights.safetensors")), path, metadata)
        return path

    return copy


@pytest.fixture
def command(tmp_path, unet, patients):
    def run_command(init, *words, arch=unet):
        output = tmp_path / "output"
        output.mkdir(exist_ok=True)
        save_arch(tmp_path / "arch.yaml", arch)
        given = [tmp_path / "arch.yaml", "--data", patients, "--epochs", 1, "--device", "cpu", "--init", init]
        words = [*given, "--no-localiser", "-o", output, *words]
        return CliRunner().invoke(train_arch, [str(word) for word in words]), output

    return run_command


def refused(outcome, *says):
    result, output = outcome
    assert result.exit_code == 2, result.output
    lines = [line for line in result.output.splitlines() if not line.startswith("Note:")]
    assert len(lines) == 1, result.output
    for word in says:
        assert word in lines[0]
    assert list(output.iterdir()) == []


def test_the_command_begins_with_them_and_says_what_matched(command, run):
    result, output = command(run)
    assert result.exit_code == 0, result.output
    said = [line for line in result.output.splitlines() if line.startswith("Begins with")]
    assert len(said) == 1
    assert str(run / "weights.safetensors") in said[0]
    assert said[0].endswith("match by name and shape, 100.0 % of the parameters.")
    digest = read_source(run / "weights.safetensors").digest
    assert json.loads((output / "metrics.json").read_text())["settings"]["init"] == digest


def test_it_cannot_begin_with_what_it_writes(command, tmp_path, run):
    result, output = command(run)
    assert result.exit_code == 0
    again, _ = command(output)
    assert again.exit_code == 2
    assert "are what this training writes" in again.output


@pytest.mark.parametrize("kind", ["a 2D network", "other widths everywhere"])
def test_another_kind_is_refused(command, run, tiny, kind):
    arch = design("unet2d", tiny, (4, 8)) if kind == "a 2D network" else design("unet3d", tiny, (6, 10))
    refused(command(run, arch=arch), "are of another kind of network")


def test_another_grid_is_refused_wherever_the_weights_lie(command, run, copied, tiny):
    finer = dataclasses.replace(tiny, spacing_mm=(10.0, 3.0, 3.0))
    for path in (run, run / "weights.safetensors", copied()):
        outcome = command(path, arch=design("unet3d", finer, (4, 8)))
        refused(outcome, "the grid 4x16x16 at 10x6x6 mm", "reads 4x16x16 at 10x3x3 mm")


def test_weights_that_saw_held_out_patients_are_refused(command, copied, patients, tiny):
    held_out = sorted({sample.patient_id for sample in load_fold(patients, tiny, 0).validation})
    path = copied(lambda record: {**record, "seen_patients": [{"id": held_out[0], "digest": "0" * 64}]})
    refused(command(path), f"saw 1 of the held-out patients: {held_out[0]}.")
    result, output = command(path, "--fold", "all")
    assert result.exit_code == 0, result.output
    assert read_source(output / "weights.safetensors").seen.count({"id": held_out[0], "digest": "0" * 64}) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda record: None, "do not say which patients they have seen"),
        (lambda record: "{", "is not JSON"),
        (lambda record: "[1]", "do not say which patients they have seen"),
        (
            lambda record: {**record, "schema": "cinert.localiser"},
            "'cinert.localiser' version 1, which holds no weights",
        ),
        (lambda record: {**record, "version": 2}, "version 2, which holds no weights"),
        (lambda record: {**record, "classes": ["background", "lv"]}, "are of classes ['background', 'lv']"),
        (lambda record: {**record, "seen_patients": ["patient001"]}, "does not hold {id, digest} records"),
        (
            lambda record: {key: record[key] for key in record if key != "seen_patients"},
            "no arch.yaml beside them does",
        ),
        (lambda record: {**record, "provenance": {"grid": 5}}, "expected shape_DHW and spacing_mm"),
        (lambda record: {**record, "provenance": 5}, "provenance is 5, expected a mapping"),
    ],
)
def test_what_weights_say_about_themselves_is_checked(command, copied, change, says):
    refused(command(copied(change)), says)


def test_values_that_are_not_finite_are_refused(command, copied):
    def break_one(tensors):
        tensors["head.bias"][1] = float("nan")
        return tensors

    refused(command(copied(change_tensors=break_one)), "head.bias holds values that are not finite (1 tensors do)")


def test_files_that_are_none_are_refused(command, tmp_path, run):
    refused(command(tmp_path / "nowhere"), "do not exist")
    (tmp_path / "empty").mkdir()
    refused(command(tmp_path / "empty"), "holds no weights.safetensors and no inherited.safetensors and no supernet")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((run / "weights.safetensors").read_bytes()[:500])
    refused(command(cut), "cannot be read")
    refused(command(run / "checkpoint.safetensors"), "'cinert.training' version 1, which holds no weights")
