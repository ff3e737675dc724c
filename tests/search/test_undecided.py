"""A relaxed search whose choices stay near a coin toss says so, in the command and in what it writes."""

import dataclasses

import pytest
import torch
from click.testing import CliRunner

from cinert.arch import load_arch
from search.cli import nas_search
from search.loop import Search
from search.methods import RELAXED
from search.problem import RunContext, SearchProblem
from search.run import run_search
from search.say import report_sweep
from search.undecided import undecided, undecided_words

CPU = torch.device("cpu")


def test_above_nine_tenths_is_undecided():
    assert undecided({"alpha": 0.9, "gamma": 0.901, "beta": 0.3}) == {"gamma": 0.901}
    assert undecided_words({"alpha": 0.9, "beta": 0.3}) is None
    assert undecided_words({}) is None
    assert undecided_words({"alpha": 0.994, "beta": 0.91}) == (
        "the search did not decide: the entropy of its choices is alpha 0.99, beta 0.91 at its end (1 is a coin toss,"
        " above 0.9 is called undecided), so that this network says little about what is good."
    )


@pytest.fixture
def decided(monkeypatch):
    """Makes every search end with one choice far ahead of the others, or with all alike."""

    def make(logit):
        run_epoch = Search.run_epoch

        def then_decide(search, *words):
            report = run_epoch(search, *words)
            if search.finished:
                with torch.no_grad():
                    for parameter in search.architecture.parameters():
                        # Each choice a step above the one before, so that of each group the last is taken.
                        parameter.copy_(logit * torch.arange(parameter.numel()).view_as(parameter))
            return report

        monkeypatch.setattr(Search, "run_epoch", then_decide)

    return make


def invoke(folder, lut_path, patients, *more):
    words = ["--lut", lut_path, "--data", patients, "--epochs", 2, "-o", folder, *more]
    result = CliRunner().invoke(nas_search, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code in {0, 1}, result.output
    return " ".join(result.stdout.split())


@pytest.mark.parametrize("method", ["zeng2020", "rtdnas", "msnas"])
@pytest.mark.parametrize(("logit", "told"), [(0.0, True), (30.0, False)])
def test_the_command_and_the_file_say_it(tmp_path, lut_path, patients, decided, method, logit, told):
    decided(logit)
    said = invoke(tmp_path, lut_path, patients, "--method", method)
    entropy = load_arch(tmp_path / "arch.yaml").provenance["entropy"]
    assert set(entropy) == ({"alpha", "beta"} if method == "rtdnas" else {"alpha", "gamma", "beta"})
    assert all((value > 0.999) if told else (value < 0.1) for value in entropy.values()), entropy
    assert ("Note: the search did not decide: the entropy of its choices is alpha 1.00" in said) == told
    # A finished search that is decoded again says it again.
    assert ("Note: the search did not decide" in invoke(tmp_path, lut_path, patients, "--method", method)) == told


def test_a_search_by_trainings_has_no_entropy(tmp_path, lut_path, patients):
    said = invoke(tmp_path, lut_path, patients, "--method", "random", "--candidates", 2)
    assert "did not decide" not in said
    assert "entropy" not in load_arch(tmp_path / "arch.yaml").provenance


@pytest.mark.parametrize(
    "settings", [dataclasses.replace(RELAXED["zeng2020"], epochs=2).settings(budget_ms=50.0, batch_size=5), "ours"]
)
def test_what_it_says_does_not_depend_on_an_interruption(request, tmp_path, tiny, lut, fold, settings):
    settings = request.getfixturevalue(settings) if settings == "ours" else settings
    problem = SearchProblem(space=tiny, lut=lut, data=fold, budget_ms=12.0)

    def entropy():
        found = run_search(problem, settings, RunContext(folder=tmp_path, device=CPU))
        return found.decoded.arch.provenance["entropy"]

    assert entropy() == entropy()


def test_a_sweep_says_it_of_each_trial(capsys, tmp_path):
    trial = {"number": 0, "state": "complete", "method": "cinert", "dice": 0.8, "ms": 9.0, "budget_met": True}
    trials = [{**trial, "undecided": ["alpha", "beta"]}, {**trial, "number": 1}]
    sweep = {"trials": trials, "best": [0], "subjects": "patients"}
    report_sweep(sweep, tmp_path, "pareto", busy=False)
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("undecided alpha, beta") == 1
    assert "choices whose entropy was above 0.9" in said
    report_sweep({**sweep, "trials": trials[1:], "best": [1]}, tmp_path, "pareto", busy=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "ndecided" not in said
    assert "latency estimated by a BUSY LUT" in said
