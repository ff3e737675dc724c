"""The same minutes for all: how many epochs fit, and that a run which continues keeps their number."""

import json
import time

import pytest

import bench.compare.clock
from bench.compare.clock import StepTimer, now_s
from bench.compare.plan import (
    PLAN,
    Plan,
    most_epochs,
    plan_candidates,
    plan_search,
    plan_selection,
    plan_training,
    stored_plan,
)
from bench.compare.suites import NETWORKS
from cinert.errors import BadInputError
from cinert.sampling import random_arch
from search.methods import RELAXED
from search.settings import HalvingSettings


@pytest.fixture
def steps_of(monkeypatch):
    """Makes the clock advance by given seconds at each look, in turn, and by the last one from then on."""

    def steps_of(*seconds):
        waiting, now = list(seconds), 0.0

        def tick(clock):
            nonlocal now
            now += waiting.pop(0) if len(waiting) > 1 else waiting[0]
            return now

        monkeypatch.setattr(bench.compare.clock, "now_s", tick)

    return steps_of


@pytest.mark.parametrize("limit_s", [0.5, 1.0, 9.99, 10.0, 1000.0])
def test_most_epochs_by_counting(limit_s):
    def seconds(epochs):
        return 1.5 * (epochs // 2) + 0.7 * (epochs - epochs // 2)

    expected = max([2, *(count for count in range(2, 2000) if seconds(count) <= limit_s)])
    assert most_epochs(seconds, limit_s, least=2) == expected


def test_a_step_takes_the_median_of_all_but_the_first(steps_of):
    steps_of(0.0, 100.0, 1.0, 3.0, 2.0)
    timer = StepTimer("wall")
    for _ in range(4):
        timer()
    assert timer.step_s == 2.0


def test_a_single_step_counts_itself(steps_of):
    steps_of(0.0, 5.0)
    timer = StepTimer("wall")
    timer()
    assert timer.step_s == 5.0


def test_the_cpu_clock_does_not_count_waiting():
    before = {clock: now_s(clock) for clock in ("wall", "cpu")}
    time.sleep(0.3)
    passed = {clock: now_s(clock) - start for clock, start in before.items()}
    assert passed["wall"] >= 0.3
    assert passed["cpu"] < 0.2


def test_a_training_fills_its_minutes(steps_of, make_setting, coarse):
    steps_of(2.0)
    setting = make_setting(minutes=1.0)
    plan = plan_training(NETWORKS["unet3d-d3-16"].build(coarse), setting)
    # 8 frames of 4 patients in batches of 4: 2 steps of 2 s in an epoch, 15 epochs in 60 s.
    assert plan == Plan(epochs=15, minutes=1.0, steps=2, step_s=(2.0,))


def test_a_search_fills_its_minutes_with_both_phases(steps_of, make_setting, coarse, lut):
    steps_of(1.0)
    setting = make_setting(search_minutes=0.2)
    draft = RELAXED["msnas"].settings(budget_ms=50.0, paths=1)
    plan = plan_search(coarse, lut, draft, setting)
    # Half of 4 patients: 4 frames in batches of 2, 2 steps of 1 s in an epoch, 6 epochs in 12 s.
    assert plan == Plan(epochs=6, minutes=0.2, steps=2, step_s=(1.0, 1.0))


def test_trained_candidates_fill_the_minutes_of_a_search(steps_of, make_setting, coarse, lut):
    steps_of(0.1)
    setting = make_setting(search_minutes=1.0, budget_ms=4.0)
    settings = HalvingSettings(paths=4, batch_size=4)
    plan = plan_candidates(coarse, lut, settings, setting)
    assert plan.steps == 1
    assert len(plan.step_s) == 3

    def seconds(epochs):
        rounds = HalvingSettings(epochs=epochs).rounds
        return 0.1 * sum(count * each for count, each in rounds)

    assert seconds(plan.epochs) <= 60 < seconds(plan.epochs + 1)


def test_trainings_that_choose_fill_their_minutes(steps_of, make_setting, coarse):
    steps_of(2.0)
    draft = RELAXED["cinert"].settings(budget_ms=50.0, paths=1)
    archs = [random_arch(coarse, seed, paths=1) for seed in range(3)]
    plan = plan_selection(archs, draft, make_setting(), minutes=1.0)
    # 2 steps of 2 s in an epoch of each of 3 networks: 5 epochs in 60 s.
    assert plan == Plan(epochs=5, minutes=1.0, steps=2, step_s=(2.0, 2.0, 2.0))


def test_one_epoch_is_the_least(steps_of, make_setting, coarse):
    steps_of(1000.0)
    assert plan_training(NETWORKS["unet3d-d3-16"].build(coarse), make_setting()).epochs == 1


def test_a_plan_is_made_once(tmp_path):
    plan = Plan(epochs=3, minutes=1.0, steps=2, step_s=(0.1, 0.2))
    assert stored_plan(tmp_path, lambda: plan) == plan
    assert stored_plan(tmp_path, lambda: pytest.fail("made again")) == plan


def test_what_is_no_plan_is_refused(tmp_path):
    (tmp_path / PLAN).write_text(json.dumps({"schema": "cinert.comparison-plan", "version": 1, "epochs": 3}))
    with pytest.raises(BadInputError, match="missing"):
        stored_plan(tmp_path, lambda: pytest.fail("made again"))
