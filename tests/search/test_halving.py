"""Searches that train candidates: within the budget, the best go on, nothing is trained twice."""

import dataclasses
import json

import pytest
import torch
from click.testing import CliRunner

from cinert.arch import load_arch
from cinert.errors import BadInputError
from latency.estimate import estimate
from search.candidate_run import run_candidate_search
from search.cli import nas_search
from search.halving import draw_candidates
from search.problem import RunContext, SearchProblem
from search.selection import search_and_select
from search.settings import HalvingSettings
from search.training import Training

CPU = torch.device("cpu")
SETTINGS = HalvingSettings(candidates=4, epochs=6, paths=2)


def search(tiny, lut, fold, folder, settings=SETTINGS, budget_ms=30.0, method="random", **more):
    problem = SearchProblem(space=tiny, lut=lut, data=fold, budget_ms=budget_ms)
    return run_candidate_search(problem, settings, RunContext(folder=folder, device=CPU, **more), method=method)


def test_rounds():
    assert HalvingSettings(candidates=18, epochs=24).rounds == ((18, 4), (6, 10), (2, 24))
    assert HalvingSettings(candidates=1, epochs=1).rounds == ((1, 1), (1, 1), (1, 1))


def test_candidates_fit_the_budget_and_use_it(tiny, lut):
    found = draw_candidates(tiny, SETTINGS, 4, budget_ms=30.0, estimate_ms=lambda arch: estimate(arch, lut).ms)
    assert len({arch.digest for arch in found}) == len(found) == 4
    assert all(18.0 <= estimate(arch, lut).ms <= 30.0 for arch in found)
    again = draw_candidates(tiny, SETTINGS, 4, budget_ms=30.0, estimate_ms=lambda arch: estimate(arch, lut).ms)
    assert [arch.digest for arch in found] == [arch.digest for arch in again]


def test_a_budget_that_nothing_fits(tiny, lut, monkeypatch):
    monkeypatch.setattr("search.halving._DRAWS", 20)
    with pytest.raises(BadInputError, match="0 of 20 random networks"):
        draw_candidates(tiny, SETTINGS, 4, budget_ms=0.1, estimate_ms=lambda arch: estimate(arch, lut).ms)


@pytest.mark.parametrize("method", ["random", "evolution"])
def test_it_trains_and_writes_what_train_arch_reads(tmp_path, tiny, lut, fold, method):
    said = []
    result = search(tiny, lut, fold, tmp_path, method=method, progress=lambda _, *counts: said.append(counts))
    arch = load_arch(tmp_path / "arch.yaml")
    assert arch.digest == result.arch.digest
    assert arch.provenance["method"] == method
    assert [record["id"] for record in arch.provenance["seen_patients"]] == [record.id for record in fold.seen]
    assert 0 <= result.score <= 1
    # Both methods spend the same epochs.
    assert said[-1] == (4 + 2 * 2 + 6, 4 + 2 * 2 + 6)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["identity"]["method"] == method
    assert set(config["weight_patients"]).isdisjoint(config["arch_patients"])
    record = json.loads((tmp_path / "candidates.json").read_text())
    assert [entry["epochs"] for entry in record["scores"]] == [1, 1, 1, 1, 2, 2, 6]


@pytest.mark.parametrize("method", ["random", "evolution"])
def test_the_best_go_on_and_a_killed_search_repeats_nothing(tmp_path, tiny, lut, fold, monkeypatch, method):
    calls = []

    def score(arch, halves, settings, **_):
        assert {s.patient_id for s in halves.train}.isdisjoint(s.patient_id for s in halves.validation)
        if len(calls) == 3:
            calls.append("killed")
            raise KeyboardInterrupt
        calls.append((arch.digest, settings.epochs))
        return int(arch.digest[:6], 16) / 16**6

    monkeypatch.setattr("search.halving.score_candidate", score)
    with pytest.raises(KeyboardInterrupt):
        search(tiny, lut, fold, tmp_path, method=method)
    result = search(tiny, lut, fold, tmp_path, method=method)
    calls.remove("killed")
    assert len(set(calls)) == len(calls) == 4 + 2 + 1
    first = [digest for digest, epochs in calls if epochs == 1]
    assert result.arch.digest == max(first)
    assert {digest for digest, epochs in calls if epochs == 2} == set(sorted(first)[-2:])


def test_a_training_that_is_killed_goes_on_after_its_last_epoch(tmp_path, tiny, lut, fold, monkeypatch):
    run_epoch, epochs = Training.run_epoch, []

    def killed_in_its_fourth_epoch(training):
        if training.next_epoch == 3 and "killed" not in epochs:
            epochs.append("killed")
            raise KeyboardInterrupt
        epochs.append(training.next_epoch)
        return run_epoch(training)

    undisturbed = search(tiny, lut, fold, tmp_path / "undisturbed")
    monkeypatch.setattr(Training, "run_epoch", killed_in_its_fourth_epoch)
    with pytest.raises(KeyboardInterrupt):
        search(tiny, lut, fold, tmp_path / "killed")
    assert (tmp_path / "killed" / "candidate.safetensors").exists()
    result = search(tiny, lut, fold, tmp_path / "killed")
    assert epochs == [0] * 4 + [0, 1] * 2 + [0, 1, 2, "killed", 3, 4, 5]
    assert (result.arch.digest, result.score) == (undisturbed.arch.digest, undisturbed.score)
    assert not (tmp_path / "killed" / "candidate.safetensors").exists()


def test_a_broken_checkpoint_costs_one_training_and_not_the_scores(tmp_path, tiny, lut, fold):
    scores = search(tiny, lut, fold, tmp_path).scored
    record = json.loads((tmp_path / "candidates.json").read_text())
    last = record["scores"].pop()
    (tmp_path / "candidates.json").write_text(json.dumps(record))
    (tmp_path / "candidate.safetensors").write_bytes(b"cut short")
    with pytest.raises(BadInputError, match=r"remove \S+candidate\.safetensors"):
        search(tiny, lut, fold, tmp_path)
    assert json.loads((tmp_path / "candidates.json").read_text()) == record
    (tmp_path / "candidate.safetensors").unlink()
    again = search(tiny, lut, fold, tmp_path).scored
    assert [(one.arch.digest, one.dice) for one in again] == [(one.arch.digest, one.dice) for one in scores]
    assert last == json.loads((tmp_path / "candidates.json").read_text())["scores"][-1]


def test_a_training_of_another_search_is_not_continued(tmp_path, tiny, lut, fold, monkeypatch):
    """A search that was killed in its first training has no scores yet that could be told apart."""
    monkeypatch.setattr(Training, "validate", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        search(tiny, lut, fold, tmp_path)
    monkeypatch.undo()
    result = search(tiny, lut, fold, tmp_path, budget_ms=29.0)
    undisturbed = search(tiny, lut, fold, tmp_path / "undisturbed", budget_ms=29.0)
    assert (result.arch.digest, result.score) == (undisturbed.arch.digest, undisturbed.score)


def test_a_run_of_another_search_is_refused(tmp_path, tiny, lut, fold, monkeypatch):
    monkeypatch.setattr("search.halving.score_candidate", lambda *_, **__: 0.5)
    search(tiny, lut, fold, tmp_path)
    before = (tmp_path / "candidates.json").read_bytes()
    with pytest.raises(BadInputError, match=r"budget_ms 30\.0 there, 29\.0 now"):
        search(tiny, lut, fold, tmp_path, budget_ms=29.0)
    assert (tmp_path / "candidates.json").read_bytes() == before
    search(tiny, lut, fold, tmp_path, budget_ms=29.0, restart=True)
    assert load_arch(tmp_path / "arch.yaml").provenance["budget_ms"] == 29.0


def test_candidates_that_are_cut_short_are_refused(tmp_path, tiny, lut, fold):
    (tmp_path / "candidates.json").write_text('{"schema": "cinert.candidates", "version": 1}')
    with pytest.raises(BadInputError, match=r"candidates\.json.*identity"):
        search(tiny, lut, fold, tmp_path)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--method", "random", "--lambda", "0.01"], "--lambda 0.01"),
        (["--method", "random", "--arch-learning-rate", "0.1"], "--arch-learning-rate 0.1"),
        (["--method", "evolution", "--relaxation", "joint"], "--relaxation joint"),
        (["--method", "random", "--latency-term", "none"], "--latency-term none"),
        (["--method", "random", "--decoder", "genetic"], "--decoder genetic"),
        (["--method", "evolution", "--mixture", "full"], "--mixture full"),
        (["--method", "random", "--seeds", "3"], "--seeds 3"),
        (["--method", "evolution", "--pareto", "3"], "--pareto 3"),
        (["--candidates", "4"], "--candidates 4"),
        (["--method", "cinert", "--least-share", "0.2"], "--least-share 0.2"),
        (["--method", "cinert", "--lambda", "0.1"], "--lambda 0.1"),
        (["--method", "msnas", "--lambda", "0.1"], "--lambda 0.1"),
        (["--method", "zeng2020", "--occurrence", "beta"], "--occurrence beta"),
        (["--method", "rtdnas", "--pareto", "3"], "--pareto 3"),
        (["--method", "cinert", "--decoder", "dijkstra", "--pareto", "3"], "--pareto 3"),
    ],
)
def test_an_option_that_nothing_reads_is_refused(tmp_path, lut_path, words, named):
    output = tmp_path / "run"
    result = CliRunner().invoke(nas_search, ["--lut", str(lut_path), "-o", str(output), *words])
    assert result.exit_code == 2
    assert f"{named} means nothing" in " ".join(result.output.split())
    assert not output.exists()


@pytest.mark.parametrize("option", ["--budget-ms", "--learning-rate"])
@pytest.mark.parametrize("number", ["nan", "inf"])
def test_what_is_no_finite_number_is_refused(tmp_path, lut_path, option, number):
    output = tmp_path / "run"
    result = CliRunner().invoke(nas_search, ["--lut", str(lut_path), "-o", str(output), option, number])
    assert result.exit_code == 2
    assert f"{number} is not a finite number" in " ".join(result.output.split())
    assert not output.exists()


def test_a_search_of_another_kind_is_refused_and_thrown_away_on_demand(tmp_path, tiny, lut, fold, ours, monkeypatch):
    """Nothing of the old search stays beside the new network."""
    monkeypatch.setattr("search.halving.score_candidate", lambda *_, **__: 0.5)
    problem = SearchProblem(space=tiny, lut=lut, data=fold, budget_ms=12.0)
    context = RunContext(folder=tmp_path, device=CPU)
    search_and_select(problem, ours, context, seeds=2, pareto=3)
    search_and_select(problem, ours, dataclasses.replace(context, restart=True), pareto=3)
    assert not list(tmp_path.glob("seed-*/*.safetensors"))
    with pytest.raises(BadInputError, match="is of another search"):
        search(tiny, lut, fold, tmp_path)
    search(tiny, lut, fold, tmp_path, restart=True)
    assert not (tmp_path / "pareto").exists()
    with pytest.raises(BadInputError, match=r"holds an arch\.yaml that is not of a search"):
        search_and_select(problem, ours, context)
