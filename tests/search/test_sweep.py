"""Sweeps: trials that fail, that are killed, that others run; what is looked for, and what is kept."""

import dataclasses
import json
import time

import jsonschema
import optuna
import pytest
import torch
from click.testing import CliRunner
from optuna.trial import TrialState

from cinert.arch import load_arch, save_arch
from cinert.claim import Claim
from cinert.errors import BadInputError
from cinert.sampling import random_arch
from search import sweep_run, sweep_trial
from search.draw_sweep import LOOKS
from search.methods import METHODS
from search.sweep import Plan, SweepSettings, suggest_plan
from search.sweep_cli import nas_sweep
from search.sweep_report import best_trials
from search.sweep_run import run_sweep
from search.sweep_study import open_storage
from search.sweep_trial import TrialResult, run_trial

CPU = torch.device("cpu")
SETTINGS = SweepSettings(
    methods=("cinert", "zeng2020"),
    paths=(1, 3),
    budget_ms=(9.0, 14.0),
    latency_weight=None,
    seeds=2,
    seed=0,
    objective="pareto",
    epochs=2,
    candidates=3,
    train_epochs=1,
    batch_size=4,
    amp="off",
)


@pytest.fixture
def quick(monkeypatch, tmp_path, tiny, lut, fold):
    """Runs a sweep whose trials are made up: those whose number is in `fails` raise, and Dice rises with latency."""

    def run(*, trials=6, fails=(), settings=SETTINGS, storage=None, error=RuntimeError, folder=tmp_path, **more):
        tried = []

        def trial(plan, space, lut_, data, settings_, *, folder, device, progress):
            number = int(folder.name)
            tried.append(number)
            if number in fails:
                raise error("out of memory\nhere")
            archive = tiny_arch(tiny, number)
            archive(folder)
            return TrialResult(
                dice=0.5 + plan.budget_ms / 100,
                ms=plan.budget_ms - 1,
                budget_met=number != 2,
                undecided=("alpha", "beta") if number == 4 else (),
            )

        monkeypatch.setattr(sweep_run, "run_trial", trial)
        record = run_sweep(
            tiny,
            lut,
            fold,
            settings,
            trials=trials,
            storage=open_storage(storage, folder),
            folder=folder,
            device=CPU,
            progress=lambda *_: None,
            **more,
        )
        return record, tried

    return run


def tiny_arch(space, seed):
    arch = dataclasses.replace(random_arch(space, seed, paths=1), provenance={"method": "made up"})
    return lambda folder: save_arch(folder / "arch.yaml", arch)


def states(record):
    return [trial["state"] for trial in record["trials"]]


def test_one_failed_trial_loses_nothing(quick, repository):
    record, tried = quick(fails=[1, 3])
    jsonschema.validate(record, json.loads((repository / "docs" / "schemas" / "sweep.schema.json").read_text()))
    assert tried == [0, 1, 2, 3, 4, 5]
    assert states(record) == ["complete", "failed", "complete", "failed", "complete", "complete"]
    assert record["trials"][1]["reason"] == "RuntimeError: out of memory here"
    assert [trial.get("undecided") for trial in record["trials"]] == [None] * 4 + [["alpha", "beta"], None]
    assert {"method", "paths", "budget_ms", "seed"} <= record["trials"][1].keys()


def test_given_again_it_goes_on_and_tries_the_same(quick, tmp_path):
    whole, _ = quick(trials=6, folder=tmp_path / "whole")
    quick(trials=2, folder=tmp_path / "parts")
    parts, tried = quick(trials=6, folder=tmp_path / "parts")
    assert tried == [2, 3, 4, 5]
    for one, other in zip(whole["trials"], parts["trials"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert whole["best"] == parts["best"]


def test_what_is_of_the_machine_ends_the_sweep_and_the_trial_is_taken_up_again(quick):
    def full(_):
        return OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        quick(trials=3, fails=[1], error=full)
    record, tried = quick(trials=3)
    assert tried == [1, 2]
    assert states(record) == ["complete"] * 3


def test_a_trial_of_a_process_that_lives_is_left_to_it(quick, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        quick(trials=3, fails=[1], error=KeyboardInterrupt)
    with Claim(tmp_path / "trials" / "0001" / "claim") as claim:
        assert claim.acquire()
        record, tried = quick(trials=3)
    assert tried == [2]
    assert states(record) == ["complete", "running", "complete"]
    before = record["trials"][1]
    record, tried = quick(trials=3)
    assert tried == [1]
    after = record["trials"][1]
    assert {name: after[name] for name in before if name != "state"} == {
        name: value for name, value in before.items() if name != "state"
    }


def test_the_same_settings_are_not_searched_twice(quick):
    constant = SweepSettings(
        **{**SETTINGS.__dict__, "methods": ("cinert",), "paths": (1, 1), "budget_ms": (9.0, 9.0), "seeds": 1}
    )
    record, tried = quick(trials=3, settings=constant)
    assert tried == [0]
    assert [trial.get("same_as") for trial in record["trials"]] == [None, 0, 0]


def test_pareto_keeps_what_nothing_beats(quick, tmp_path):
    record, _ = quick()
    front = [record["trials"][number] for number in record["best"]]
    assert len(front) == 6  # Dice rises with latency
    assert [trial["ms"] for trial in front] == sorted(trial["ms"] for trial in front)
    kept = sorted((tmp_path / "pareto").glob("*.yaml"))
    assert [load_arch(path).provenance["sweep_trial"] for path in kept] == record["best"]
    assert (tmp_path / "sweep.png").stat().st_size > 10_000
    assert not (tmp_path / "arch.yaml").exists()


def test_every_method_is_drawn():
    assert set(LOOKS) == set(METHODS)


def test_dice_keeps_the_most_accurate_within_its_budget(quick, tmp_path):
    record, _ = quick(settings=dataclasses.replace(SETTINGS, objective="dice"))
    able = [trial for trial in record["trials"] if trial["number"] != 2]
    best = max(able, key=lambda trial: trial["dice"])["number"]
    assert record["best"] == [best]
    assert load_arch(tmp_path / "arch.yaml").provenance["sweep_trial"] == best
    assert not (tmp_path / "pareto").exists()


def test_best_trials_by_hand():
    def trial(number, dice, ms, state="complete", budget_met=True):
        return {"number": number, "dice": dice, "ms": ms, "state": state, "budget_met": budget_met}

    trials = [
        trial(0, 0.8, 20),
        trial(1, 0.7, 30),
        trial(2, 0.8, 25),
        trial(3, 0.9, 40, budget_met=False),
        trial(4, 0.6, 10),
        {"number": 5, "state": "failed"},
        {"number": 6, "state": "running"},
    ]
    assert best_trials(trials, pareto=True) == [4, 0, 3]
    assert best_trials(trials, pareto=False) == [0]
    assert best_trials(trials[5:], pareto=False) == []


def test_another_sweep_in_the_folder_is_refused_and_restart_throws_it_away(quick, tmp_path):
    quick(trials=2)
    other = dataclasses.replace(SETTINGS, train_epochs=2)
    with pytest.raises(BadInputError, match="train_epochs 1 there, 2 now"):
        quick(trials=2, settings=other)
    record, tried = quick(trials=2, settings=other, restart=True)
    assert tried == [0, 1]
    assert record["identity"]["train_epochs"] == 2


def test_a_database_serves_as_well_and_holds_several_sweeps(quick, tmp_path):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    quick(trials=2, storage=url, folder=tmp_path / "a")
    other = dataclasses.replace(SETTINGS, seed=5)
    record, tried = quick(trials=2, storage=url, folder=tmp_path / "b", settings=other)
    assert tried == [0, 1]
    assert {trial["seed"] for trial in record["trials"]} <= {5, 6}
    assert not (tmp_path / "a" / "sweep.journal").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nonsense://user:secret@host/db", "cannot use the storage nonsense://user:"),
        ("sqlite:////nowhere/at/all.db", "cannot use the storage sqlite:////nowhere/at/all.db"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line_without_its_password(tmp_path, name, says):
    with pytest.raises(BadInputError, match=says) as caught:
        open_storage(name, tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["not a record\n", '{"op_code": 0\n{}\n', '{"trials": []}\n'])
def test_a_record_that_is_no_journal_is_one_line(tmp_path, text):
    (tmp_path / "sweep.journal").write_text(text)
    with pytest.raises(BadInputError, match=r"cannot use the storage .*sweep.journal: "):
        open_storage(None, tmp_path)


def test_plans_stay_in_their_ranges_and_lambda_belongs_to_its_method():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    plans = [suggest_plan(study.ask(), SETTINGS) for _ in range(60)]
    assert {plan.method for plan in plans} == {"cinert", "zeng2020"}
    assert {plan.paths for plan in plans} == {1, 2, 3}
    assert {plan.seed for plan in plans} == {0, 1}
    assert all(9 <= plan.budget_ms <= 14 for plan in plans)
    assert all((plan.latency_weight is None) == (plan.method == "cinert") for plan in plans)
    weights = [plan.latency_weight for plan in plans if plan.latency_weight is not None]
    assert min(weights) >= 1e-5
    assert max(weights) <= 1e-3
    assert sum(weight < 1e-4 for weight in weights) > len(weights) / 4  # logarithmic


def invoke(*words):
    return CliRunner().invoke(nas_sweep, [str(word) for word in words], catch_exceptions=False)


def sweep_words(lut_path, patients):
    return [
        "--lut", lut_path, "--data", patients, "--epochs", 2, "--train-epochs", 1, "--budget-ms", "9:14",
        "--paths", "1:2", "--batch-size", 4, "--candidates", 2,
    ]  # fmt: skip


def test_the_command_searches_trains_and_reports(tmp_path, lut_path, patients):
    words = [*sweep_words(lut_path, patients), "--method", "cinert", "--method", "zeng2020", "--method", "random"]
    result = invoke(*words, "--trials", 4, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "sweep.json").read_text())
    assert states(record) == ["complete"] * 4, record
    for number in record["best"]:
        trial = record["trials"][number]
        assert load_arch(tmp_path / trial["folder"] / "arch.yaml").estimate["ms"] == trial["ms"]
        scored = json.loads((tmp_path / trial["folder"] / "training" / "metrics.json").read_text())
        assert scored["validation"]["mean"]["mean"] == trial["dice"]
    assert "sweep.png" in result.output
    assert [line.split()[0] for line in result.output.splitlines() if line.split() and line.startswith("  ")][:1] == [
        "trial"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--paths", "3:1"], "'3:1' has to rise, from above zero"),
        (["--budget-ms", "soon"], "'soon' is neither a number nor two"),
        (["--lambda", "1e-4"], "--lambda means nothing to --method cinert"),
        (["--paths", "1:999"], "999 paths asked for"),
        (["--budget-ms", "0.1:20"], "no network of tiny stays within 0.1 ms"),
        (["--storage", "nonsense://x"], "cannot use the storage nonsense://x"),
        (["-o", "/proc/nowhere"], "cannot write /proc/nowhere"),
        (["--data", "nowhere"], "there is no data folder nowhere"),
        (["--data", "nowhere", "--storage", "sqlite:///trials.db"], "there is no data folder nowhere"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, lut_path, patients, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = invoke(*sweep_words(lut_path, patients), *arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


def test_candidates_of_a_sweep_are_trained_in_its_batches(tmp_path, monkeypatch, tiny, lut, fold):
    told = []

    def stop(problem, halving, context, **more):
        told.append(halving)
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep_trial, "run_candidate_search", stop)
    plan = Plan(method="random", paths=2, budget_ms=9.0, seed=3, latency_weight=None)
    settings = dataclasses.replace(SETTINGS, batch_size=7)
    with pytest.raises(KeyboardInterrupt):
        run_trial(plan, tiny, lut, fold, settings, folder=tmp_path, device=CPU, progress=lambda *_: None)
    (halving,) = told
    assert (halving.batch_size, halving.seed, halving.paths, halving.candidates) == (7, 3, 2, 3)


def test_a_trial_that_was_killed_goes_on_from_its_checkpoint(tmp_path, lut_path, patients, start_module):
    words = [*sweep_words(lut_path, patients), "--epochs", 40, "--trials", 1, "-o", tmp_path]
    process = start_module("search.sweep_cli", *words)
    checkpoint = tmp_path / "trials" / "0000" / "supernet.safetensors"
    deadline = time.monotonic() + 600
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.wait()
    (running,) = optuna.load_study(study_name=None, storage=open_storage(None, tmp_path)).get_trials()
    assert running.state == TrialState.RUNNING
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "sweep.json").read_text())
    assert states(record) == ["complete"]
    assert "continued after epoch" in (checkpoint.parent / "search.log").read_text()
