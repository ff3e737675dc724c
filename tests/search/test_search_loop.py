"""The two phases, the same result for the same seed, and resumption to the same result."""

import dataclasses
import json
from collections import Counter
from typing import get_args

import pytest
import torch

from cinert.arch import load_arch
from cinert.errors import BadInputError
from latency.cost import SpaceCosts
from latency.estimate import estimate
from search.checkpoint import load_checkpoint
from search.data import epoch_batches, halve_patients
from search.loop import Search
from search.methods import RELAXED
from search.problem import RunContext, SearchProblem
from search.run import run_search
from search.words import ActivationCheckpointing

CPU = torch.device("cpu")
SETTINGS = dataclasses.replace(RELAXED["zeng2020"], epochs=4).settings(budget_ms=50.0, batch_size=4)


def run(tiny, lut, fold, folder, *, settings=SETTINGS, budget_ms=1000.0, **more):
    problem = SearchProblem(space=tiny, lut=lut, data=fold, budget_ms=budget_ms)
    on_epoch = more.pop("on_epoch", None)
    return run_search(problem, settings, RunContext(folder=folder, device=CPU, **more), on_epoch=on_epoch)


class KilledError(Exception):
    pass


def kill_after(epoch):
    def on_epoch(report):
        if report.epoch + 1 == epoch:
            raise KilledError

    return on_epoch


def assert_same_state(first, second):
    states = [
        load_checkpoint(folder / "supernet.safetensors", schema="cinert.supernet", version=1)
        for folder in (first, second)
    ]
    assert states[0].values == states[1].values
    assert states[0].tensors.keys() == states[1].tensors.keys()
    for name, tensor in states[0].tensors.items():
        assert torch.equal(tensor, states[1].tensors[name]), name


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny, lut, fold):
    folder = tmp_path_factory.mktemp("finished")
    run(tiny, lut, fold, folder)
    return folder


def test_same_seed_same_result_and_another_seed_another(tmp_path, tiny, lut, fold, finished):
    run(tiny, lut, fold, tmp_path / "again")
    assert_same_state(finished, tmp_path / "again")
    assert (finished / "arch.yaml").read_bytes() == (tmp_path / "again" / "arch.yaml").read_bytes()
    run(tiny, lut, fold, tmp_path / "other", settings=dataclasses.replace(SETTINGS, seed=1))
    one, other = (
        load_checkpoint(folder / "supernet.safetensors", schema="cinert.supernet", version=1).tensors
        for folder in (finished, tmp_path / "other")
    )
    assert one.keys() == other.keys()
    assert not torch.equal(one["architecture.beta"], other["architecture.beta"])


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_killed_search_continues_to_the_same_result(tmp_path, tiny, lut, fold, finished, epoch):
    """Killed in phase 1, and in phase 2."""
    with pytest.raises(KilledError):
        run(tiny, lut, fold, tmp_path, on_epoch=kill_after(epoch))
    assert not (tmp_path / "arch.yaml").exists()
    result = run(tiny, lut, fold, tmp_path)
    assert result.resumed_at == epoch
    assert_same_state(finished, tmp_path)
    assert load_arch(finished / "arch.yaml").to_dict() == load_arch(tmp_path / "arch.yaml").to_dict()


def test_a_search_may_continue_with_other_activation_checkpointing(tmp_path, tiny, lut, fold, finished):
    """As after running out of memory: what is computed again is the same."""
    with pytest.raises(KilledError):
        run(tiny, lut, fold, tmp_path, on_epoch=kill_after(1))
    run(tiny, lut, fold, tmp_path, settings=dataclasses.replace(SETTINGS, activation_checkpointing="off"))
    assert_same_state(finished, tmp_path)


@pytest.mark.parametrize(("mixture", "like"), [("full", "on"), ("sampled", "off"), ("sampled-ops", "off")])
def test_cells_are_run_again_where_that_is_asked_for(tiny, costs, fold, mixture, like):
    runs = Counter()
    for choice in get_args(ActivationCheckpointing):
        settings = dataclasses.replace(SETTINGS, mixture=mixture, activation_checkpointing=choice)
        search = Search(tiny, costs, fold.train, settings, CPU)
        for cell in search.supernet.cells.values():
            cell.register_forward_pre_hook(lambda *_, choice=choice: runs.update([choice]))
        search.run_epoch()
    assert runs["on"] == 2 * runs["off"] > 0
    assert runs["auto"] == runs[like]


def test_run_folder(tiny, lut, fold, finished):
    assert {"arch.png", "arch.yaml", "config.json", "search.log", "supernet.safetensors", "tensorboard"} == {
        path.name for path in finished.iterdir()
    }
    arch = load_arch(finished / "arch.yaml")
    assert arch.space.digest == tiny.digest
    assert arch.estimate["lut"] == lut.id
    assert arch.estimate["device"] == lut.device_name
    assert arch.estimate["ms"] == pytest.approx(estimate(arch, lut).ms, abs=1e-3)
    assert arch.provenance["method"] == "zeng2020"
    assert arch.provenance["seen_patients"] == [record.to_dict() for record in fold.seen]
    assert arch.provenance["lambda"] == 1e-4
    config = json.loads((finished / "config.json").read_text())
    assert not set(config["weight_patients"]) & set(config["arch_patients"])
    assert sorted(config["weight_patients"] + config["arch_patients"]) == [record.id for record in fold.seen]
    assert (finished / "arch.png").read_bytes().startswith(b"\x89PNG")


def test_another_budget_decodes_the_finished_search_again(tmp_path, tiny, lut, fold):
    run(tiny, lut, fold, tmp_path)
    result = run(tiny, lut, fold, tmp_path, budget_ms=5.0)
    assert result.resumed_at == SETTINGS.epochs
    assert load_arch(tmp_path / "arch.yaml").provenance["budget_ms"] == 5.0
    assert estimate(result.decoded.arch, lut).ms <= 5.0


def test_another_number_of_paths_decodes_a_search_that_does_not_read_it(tmp_path, tiny, lut, fold):
    joint = dataclasses.replace(tiny, relaxation="joint")
    own = dataclasses.replace(RELAXED["rtdnas"], epochs=2, decoder="dijkstra").settings(
        budget_ms=1000.0, batch_size=8, paths=3
    )
    run(joint, lut, fold, tmp_path, settings=own)
    assert len(load_arch(tmp_path / "arch.yaml").paths) == 3
    result = run(joint, lut, fold, tmp_path, settings=dataclasses.replace(own, paths=5))
    assert result.resumed_at == 2
    arch = load_arch(tmp_path / "arch.yaml")
    assert len(arch.paths) == arch.provenance["paths"] == 5
    # The path-wise term reads it.
    begun = dataclasses.replace(RELAXED["zeng2020"], epochs=2).settings(budget_ms=50.0, batch_size=8, paths=2)
    run(tiny, lut, fold, tmp_path / "zeng", settings=begun)
    with pytest.raises(BadInputError, match="paths 2 there, 3 now"):
        run(tiny, lut, fold, tmp_path / "zeng", settings=dataclasses.replace(begun, paths=3))


def test_other_settings_are_refused_and_restart_begins_anew(tmp_path, tiny, lut, fold, finished):
    with pytest.raises(BadInputError, match=r"begun with other settings: seed 0 there, 7 now"):
        run(
            tiny,
            lut,
            fold,
            finished,
            settings=dataclasses.replace(RELAXED["zeng2020"], epochs=4).settings(budget_ms=50.0, batch_size=4, seed=7),
        )
    with pytest.raises(BadInputError, match="begun with other settings: lut"):
        run(tiny, dataclasses.replace(lut, created="2027-01-01"), fold, finished)
    short = dataclasses.replace(RELAXED["zeng2020"], epochs=2).settings(budget_ms=50.0, batch_size=8)
    run(tiny, lut, fold, tmp_path, settings=short)
    assert run(tiny, lut, fold, tmp_path, settings=SETTINGS, restart=True).resumed_at == 0


def test_phase_one_leaves_the_architecture_alone_and_phase_two_moves_it(either, costs, fold):
    search = Search(
        either,
        costs,
        fold.train,
        dataclasses.replace(RELAXED["zeng2020"], epochs=4).settings(budget_ms=50.0, batch_size=4),
        CPU,
    )
    for _ in range(2):
        assert search.run_epoch().latency_ms is None
        assert not any(parameter.any() for parameter in search.architecture.parameters())
    report = search.run_epoch()
    assert report.latency_ms > 0
    assert report.temperature == 5.0
    assert all(parameter.any() for parameter in search.architecture.parameters())
    assert search.run_epoch().temperature == pytest.approx(0.5)
    assert search.finished


def test_a_larger_lambda_finds_a_faster_network(tiny, lut, fold):
    def latency_after(weight):
        settings = dataclasses.replace(
            RELAXED["zeng2020"], epochs=6, latency_weight=weight, arch_learning_rate=0.1
        ).settings(budget_ms=50.0, batch_size=4)
        search = Search(tiny, SpaceCosts.from_lut(lut, tiny), fold.train, settings, CPU)
        while not search.finished:
            search.run_epoch()
        weights = search.architecture.relax().cells
        op_ms = search.costs.op_ms[0].float()
        return sum(float(cell.detach().sum(0) @ op_ms) for cell in weights.values())

    assert latency_after(1.0) < 0.8 * latency_after(0.0)


def test_halves_share_no_patient(fold):
    for seed in range(10):
        first, second = halve_patients(fold.train, seed)
        patients = [{sample.patient_id for sample in half} for half in (first, second)]
        assert not patients[0] & patients[1]
        assert len(patients[0]) == 3
        assert len(first) + len(second) == len(fold.train)
    with pytest.raises(BadInputError, match="different patients"):
        halve_patients(fold.train[:2], 0)


def test_batches_hold_each_frame_once_and_depend_on_the_numbers_alone():
    batches = epoch_batches(7, 3, 0, 5, 1)
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert batches == epoch_batches(7, 3, 0, 5, 1)
    assert batches != epoch_batches(7, 3, 0, 6, 1)
