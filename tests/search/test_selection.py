"""Networks for several budgets out of one search, several seeds, and the best of all of them."""

import dataclasses
import json

import pytest
import torch

from cinert.arch import load_arch
from cinert.errors import BadInputError
from cinert.progress import unheard
from latency.estimate import estimate
from search import halving
from search.problem import RunContext, SearchProblem
from search.run import run_search
from search.selection import search_and_select

CPU = torch.device("cpu")


@pytest.fixture
def run(tiny, lut, fold, ours, tmp_path):
    def begin(
        function=search_and_select,
        *,
        settings=ours,
        budget_ms=12.0,
        restart=False,
        progress=unheard,
        folder=tmp_path,
        **options,
    ):
        problem = SearchProblem(space=tiny, lut=lut, data=fold, budget_ms=budget_ms)
        told = dataclasses.replace(settings, bound_ms=settings.bound_ms and budget_ms)
        context = RunContext(folder=folder, device=CPU, restart=restart, progress=progress)
        return function(problem, told, context, **options)

    return begin


@pytest.fixture
def scores(monkeypatch):
    """Dice by estimated latency in place of trainings; returns what was trained."""
    trained = []

    def score(arch, halves, settings, **_):
        assert {one.patient_id for one in halves.train}.isdisjoint(one.patient_id for one in halves.validation)
        trained.append(arch.digest)
        return 1 - abs(arch.estimate["ms"] - 4) / 100

    monkeypatch.setattr("search.halving.score_candidate", score)
    return trained


def test_front_lies_within_the_budget_and_dice_rises_with_latency(run, scores, lut, tmp_path):
    selection = run(pareto=6)
    archs = [load_arch(path) for path in sorted((tmp_path / "pareto").glob("*.yaml"))]
    assert len(archs) == selection.front > 1
    times = [arch.estimate["ms"] for arch in archs]
    dice = [arch.provenance["dice_on_the_other_half"] for arch in archs]
    assert times == sorted(set(times))
    assert dice == sorted(set(dice))
    assert all(estimate(arch, lut).high_ms <= arch.provenance["budget_ms"] + 1e-9 <= 12.0 + 1e-9 for arch in archs)
    assert (tmp_path / "pareto" / "front.png").read_bytes().startswith(b"\x89PNG")
    assert len(scores) == len(set(scores)) == selection.trained


def test_an_ample_budget_leads_to_several_networks(run, scores):
    """Spread evenly up to a budget that nothing needs, all budgets would lead to the same one."""
    assert run(pareto=6, budget_ms=1000.0).trained >= 4


def test_the_best_network_is_kept_though_it_costs_less_than_the_budget_allows(run, scores, tmp_path):
    selection = run(pareto=6)
    everything = [selection.results[0].decoded, *selection.results[0].cheaper]
    nearest = min(everything, key=lambda decoded: abs(decoded.arch.estimate["ms"] - 4))
    kept = load_arch(tmp_path / "arch.yaml")
    assert kept.digest == selection.decoded.arch.digest == nearest.arch.digest != everything[0].arch.digest
    assert kept.digest == load_arch(sorted((tmp_path / "pareto").glob("*.yaml"))[-1]).digest
    assert kept.provenance["dice_on_the_other_half"] == round(selection.dice, 4)


def test_networks_are_really_trained(run, tmp_path, monkeypatch):
    monkeypatch.setattr("search.selection.SELECTION_EPOCHS", 1)
    selection = run(pareto=3)
    record = json.loads((tmp_path / "candidates.json").read_text())
    assert [entry["epochs"] for entry in record["scores"]] == [1] * selection.trained
    assert selection.dice == max(entry["dice"] for entry in record["scores"])


def test_a_killed_comparison_repeats_nothing(run, scores, monkeypatch):
    whole = run(pareto=6, restart=True)
    alone = list(scores)
    scores.clear()
    score = halving.score_candidate

    def killed(*what, **more):
        if len(scores) == 2:
            raise KeyboardInterrupt
        return score(*what, **more)

    monkeypatch.setattr("search.halving.score_candidate", killed)
    with pytest.raises(KeyboardInterrupt):
        run(pareto=6, restart=True)
    monkeypatch.setattr("search.halving.score_candidate", score)
    again = run(pareto=6)
    assert scores == alone
    assert (again.results[0].resumed_at, again.decoded.arch.digest) == (2, whole.decoded.arch.digest)
    # More budgets take over what was trained.
    scores.clear()
    run(pareto=11)
    assert set(scores).isdisjoint(alone)


def test_networks_trained_on_another_half_do_not_compare(run, scores, ours):
    run(seeds=2)
    with pytest.raises(BadInputError, match="seed 0 there, 1 now"):
        run(seeds=2, settings=dataclasses.replace(ours, seed=1))


@pytest.mark.parametrize("more", [{"pareto": 3}, {"seeds": 2}])
def test_what_cannot_be_continued_is_refused_before_anything_is_searched(run, tmp_path, monkeypatch, more):
    record = {"schema": "cinert.candidates", "version": 1, "identity": {"method": "random"}, "scores": []}
    (tmp_path / "candidates.json").write_text(json.dumps(record))
    monkeypatch.setattr("search.selection.run_search", lambda *_, **__: pytest.fail("searched"))
    with pytest.raises(BadInputError, match="'random' there"):
        run(**more)


def test_seeds_that_another_search_began_are_refused_before_anything_is_searched(run, ours, tmp_path, monkeypatch):
    run(run_search, settings=dataclasses.replace(ours, seed=1, epochs=3), folder=tmp_path / "seed-1")
    monkeypatch.setattr("search.selection.run_search", lambda *_, **__: pytest.fail("searched"))
    with pytest.raises(BadInputError, match="epochs 3 there, 2 now"):
        run(seeds=2)


def test_a_restart_throws_away_all_seeds_at_once(run, scores, tmp_path, monkeypatch):
    run(seeds=3, pareto=2)
    # No search, whatever it is called.
    (tmp_path / "seed-notes.txt").write_text("mine")

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("search.selection.run_search", killed)
    with pytest.raises(KeyboardInterrupt):
        run(seeds=3, pareto=2, restart=True)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["seed-notes.txt"]


def test_a_finished_choice_stays_until_the_next_one_is_made(run, scores, content, tmp_path, monkeypatch):
    run(pareto=3)
    kept = [content(tmp_path / "pareto"), (tmp_path / "arch.yaml").read_bytes(), (tmp_path / "arch.png").read_bytes()]

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("search.halving.score_candidate", killed)
    with pytest.raises(KeyboardInterrupt):
        run(pareto=11)
    assert kept == [
        content(tmp_path / "pareto"),
        (tmp_path / "arch.yaml").read_bytes(),
        (tmp_path / "arch.png").read_bytes(),
    ]


def test_one_seed_and_one_budget_train_nothing(run, scores, tmp_path):
    run(pareto=6)
    scores.clear()
    selection = run()
    assert (selection.dice, selection.trained, scores) == (None, 0, [])
    assert not (tmp_path / "pareto").exists()
    assert "dice_on_the_other_half" not in load_arch(tmp_path / "arch.yaml").provenance
    assert run(run_search).decoded.arch.digest == selection.decoded.arch.digest


def test_the_best_of_several_seeds_is_kept(run, tmp_path, monkeypatch):
    told = iter([0.4, 0.6, 0.5])
    monkeypatch.setattr("search.halving.score_candidate", lambda *_, **__: next(told))
    said = []
    selection = run(seeds=3, progress=lambda *what: said.append(what))
    digests = [each.decoded.arch.digest for each in selection.results]
    assert len(set(digests)) == 3
    assert selection.best == 1
    arch = load_arch(tmp_path / "arch.yaml")
    assert arch.digest == digests[1]
    assert [arch.provenance[key] for key in ("seed", "seeds", "dice_on_the_other_half")] == [1, 3, 0.6]
    assert said[-1] == ("comparing", 72, 72)
    assert {path.name for path in tmp_path.glob("seed-*")} == {"seed-0", "seed-1", "seed-2"}
    assert not (tmp_path / "pareto").exists()
    assert json.loads((tmp_path / "config.json").read_text())["identity"]["seed"] == 1
    # Nothing is done again: `told` is at its end.
    again = run(seeds=3)
    assert (again.best, [each.resumed_at for each in again.results]) == (1, [2, 2, 2])


def test_budgets_of_all_seeds_are_compared(run, scores, tmp_path):
    selection = run(seeds=2, pareto=4)
    digests = {one.arch.digest for result in selection.results for one in (result.decoded, *result.cheaper)}
    assert set(scores) == digests
    assert not list(tmp_path.glob("seed-*/pareto"))
