"""What a search is of and where it runs: budgets that agree, and one estimate of each network on the whole walk."""

import dataclasses
import inspect
from collections import Counter

import pytest
import torch
from click.testing import CliRunner

from cinert.arch import load_arch
from cinert.bundle_write import write_bundle
from cinert.errors import BadInputError
from cinert.sampling import random_arch
from export.engine import export_bundle
from latency.estimate import estimate, estimate_record
from search import problem
from search.candidate_run import run_candidate_search
from search.cli import nas_search
from search.methods import RELAXED
from search.problem import RunContext, SearchProblem
from search.run import run_search
from search.selection import search_and_select, select_best

CPU = torch.device("cpu")
FUNCTIONS = (run_search, search_and_select, select_best, run_candidate_search, export_bundle, write_bundle)


@pytest.fixture
def posed(tiny, lut, fold):
    return SearchProblem(space=tiny, lut=lut, data=fold, budget_ms=20.0)


@pytest.fixture
def asked(monkeypatch):
    """Counts for which networks an estimate was worked out, by their digest."""
    counted = Counter()

    def count(arch, lut):
        counted[arch.digest] += 1
        return estimate(arch, lut)

    monkeypatch.setattr(problem, "estimate", count)
    return counted


@pytest.mark.parametrize("function", FUNCTIONS)
def test_few_parameters(function):
    assert len(inspect.signature(function).parameters) <= 6


def test_settings_for_another_budget_are_refused(tmp_path, posed):
    settings = RELAXED["rtdnas"].settings(budget_ms=50.0)
    for search in (run_search, search_and_select):
        with pytest.raises(BadInputError, match="the search by rtdnas aims at 50 ms, and the budget is 20 ms"):
            search(posed, settings, RunContext(folder=tmp_path / "run", device=CPU))
    assert not (tmp_path / "run").exists()


def test_the_method_relaxes_the_space(tmp_path, posed):
    assert posed.space.relaxation == "separate"
    settings = dataclasses.replace(RELAXED["rtdnas"], epochs=2).settings(budget_ms=20.0, batch_size=8)
    found = run_search(posed, settings, RunContext(folder=tmp_path, device=CPU))
    assert found.decoded.arch.space.relaxation == "joint"


def test_an_estimate_is_worked_out_once(posed, lut, tiny, asked):
    arch = random_arch(tiny, 0)
    again = dataclasses.replace(arch, provenance={"seed": 1})
    assert posed.ms(arch) == posed.ms(again) == estimate(arch, lut).ms
    assert posed.high_ms(again) == estimate(arch, lut).high_ms
    assert posed.estimated(arch).record(lut) == estimate_record(arch, lut)
    assert posed.relaxed_as(RELAXED["zeng2020"].settings(budget_ms=20.0)).ms(arch) == posed.ms(arch)
    assert asked == {arch.digest: 1}


@pytest.mark.parametrize(
    "words",
    [
        "--method zeng2020",
        "--method rtdnas",
        "--method cinert --budget-ms 12",
        "--method cinert --budget-ms 12 --pareto 3",
        "--method random --candidates 2 --budget-ms 30",
    ],
)
def test_one_walk_through_the_command_asks_once(tmp_path, lut_path, patients, asked, monkeypatch, words):
    monkeypatch.setattr("search.selection.SELECTION_EPOCHS", 1)
    given = ["--lut", lut_path, "--data", patients, "--epochs", 2, "-o", tmp_path, *words.split()]
    result = CliRunner().invoke(nas_search, list(map(str, given)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert asked[load_arch(tmp_path / "arch.yaml").digest] == 1
    assert set(asked.values()) == {1}


def test_progress_is_told_in_one_way(tmp_path, posed):
    told = []
    settings = dataclasses.replace(RELAXED["zeng2020"], epochs=2).settings(budget_ms=20.0, batch_size=8)
    context = RunContext(folder=tmp_path, device=CPU, progress=lambda *words: told.append(words))
    run_search(posed, settings, context.called("looking"))
    assert {what for what, _, _ in told} == {"looking"}
    assert told[0] == ("looking", 0, told[-1][2])
    assert told[-1][1] == told[-1][2]
