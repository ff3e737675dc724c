"""What is finished is not made again, what fails is recorded, and a kill costs the stage that it hits."""

import contextlib
import dataclasses
import json

import pytest

import bench.compare.run
import bench.compare.stages
from bench.compare.run import FAILED, read_failure, reason_not_to_run, require_prices, run_all
from bench.compare.setting import open_run
from bench.compare.stages import STAGES, Job, run_stage
from bench.compare.suites import NETWORKS
from bench.compare.twins import trained_twin
from cinert.arch import load_arch, save_arch
from cinert.data.patients import patient_digest
from cinert.errors import BadInputError, VerdictError
from cinert.sampling import random_arch
from export.weights import load_trained
from latency.estimate import estimate
from search.fastest import fastest_arch
from search.training import Training

FILES = {
    "arch": "arch.yaml",
    "weights": "weights.safetensors",
    "bundle": "bundle/manifest.json",
    "accuracy": "accuracy.json",
    "verify": "verify.json",
}


class Watch:
    def __init__(self):
        self.told = []

    @contextlib.contextmanager
    def stage(self, title):
        yield lambda what, done, total: None

    def network_done(self, job):
        self.told.append(job.name)


class Stages:
    """Stages that only write their files, and tell which were done; a stage may be made to raise."""

    def __init__(self, monkeypatch):
        self.done, self.raising = [], {}
        monkeypatch.setattr(bench.compare.run, "run_stage", self.run)
        monkeypatch.setattr(bench.compare.run, "train_localiser", self.localiser)

    def run(self, stage, job, show):
        if (job.name, stage) in self.raising:
            raise self.raising[job.name, stage]
        path = job.folder / FILES[stage]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        self.done.append((job.name, stage))

    def localiser(self, setting, show):
        setting.folder.mkdir(parents=True, exist_ok=True)
        setting.localiser.write_text("")
        self.done.append(("", "localiser"))


@pytest.fixture
def stages(monkeypatch):
    return Stages(monkeypatch)


@pytest.fixture
def make_jobs(make_setting):
    def make(*names, **terms):
        setting = make_setting(**terms)
        return [Job(name=name, recipe=NETWORKS[name], setting=setting) for name in names]

    return make


def run(jobs, until="verify"):
    watch, held = Watch(), []

    @contextlib.contextmanager
    def hold(device, use):
        held.append((device, use))
        yield

    run_all(jobs, until=until, hold=hold, watch=watch)
    return watch.told, held


def test_all_networks_are_measured_after_all_trainings(stages, make_jobs):
    told, held = run(make_jobs("unet3d-d3-16", "unet2d-d3-16"))
    first, second = ("unet3d-d3-16", "unet2d-d3-16")
    computed = [(name, stage) for name in (first, second) for stage in STAGES[:-1]]
    assert stages.done == [("", "localiser"), *computed, (first, "verify"), (second, "verify")]
    assert held == [("cpu", "compute")] * 3 + [("cpu", "measure")] * 2
    assert told == [first, second] * 2


def test_what_is_finished_is_not_made_again(stages, make_jobs):
    jobs = make_jobs("unet3d-d3-16")
    run(jobs)
    stages.done.clear()
    assert run(jobs) == ([], [])
    assert stages.done == []


def test_until_leaves_the_rest_for_later(stages, make_jobs):
    jobs = make_jobs("unet3d-d3-16")
    run(jobs, until="weights")
    assert [stage for _, stage in stages.done] == ["arch", "weights"]
    run(jobs)
    assert [stage for _, stage in stages.done] == ["arch", "weights", "localiser", "bundle", "accuracy", "verify"]


def test_a_failure_is_recorded_and_the_rest_goes_on(stages, make_jobs):
    jobs = make_jobs("unet3d-d3-16", "unet2d-d3-16", "ica-unet-n3")
    stages.raising["unet3d-d3-16", "bundle"] = VerdictError("logits differ.", hint="report it.")
    stages.raising["unet2d-d3-16", "verify"] = RuntimeError("out of\nmemory")
    run(jobs)
    assert read_failure(jobs[0].folder) == "bundle: logits differ. Hint: report it."
    assert read_failure(jobs[1].folder) == "verify: RuntimeError: out of memory"
    assert "Traceback" in json.loads((jobs[1].folder / FAILED).read_text())["traceback"]
    assert jobs[2].done("verify")
    # The same command tries again, from the stage that failed.
    stages.raising.clear()
    stages.done.clear()
    run(jobs)
    assert stages.done[:2] == [("unet3d-d3-16", "bundle"), ("unet3d-d3-16", "accuracy")]
    assert not any((job.folder / FAILED).exists() for job in jobs)


def test_a_kill_costs_the_stage_that_it_hits(stages, make_jobs):
    jobs = make_jobs("unet3d-d3-16", "unet2d-d3-16")
    stages.raising["unet2d-d3-16", "weights"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(jobs)
    assert read_failure(jobs[1].folder) is None
    stages.raising.clear()
    stages.done.clear()
    run(jobs)
    assert stages.done[:3] == [("unet2d-d3-16", stage) for stage in ("weights", "bundle", "accuracy")]


def test_a_training_killed_in_the_middle_goes_on_with_the_epochs_it_began_with(monkeypatch, make_jobs):
    (job,) = make_jobs("unet3d-d3-16")
    save_arch(job.folder / "arch.yaml", job.recipe.build(job.setting.space))
    monkeypatch.setattr(bench.compare.stages, "plan_training", lambda *_words, **_named: plan)
    plan = bench.compare.plan.Plan(epochs=3, minutes=1.0, steps=2, step_s=(10.0,))
    whole, epochs = Training.run_epoch, []

    def killed(training, advance=None):
        if len(epochs) == 1:
            raise KeyboardInterrupt
        epochs.append(training.next_epoch)
        return whole(training, advance)

    monkeypatch.setattr(Training, "run_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        run_stage("weights", job, lambda what, done, total: None)
    assert not job.done("weights")

    def counted(training, advance=None):
        epochs.append(training.next_epoch)
        return whole(training, advance)

    monkeypatch.setattr(Training, "run_epoch", counted)
    monkeypatch.setattr(bench.compare.stages, "plan_training", lambda *_words, **_named: pytest.fail("planned anew"))
    run_stage("weights", job, lambda what, done, total: None)
    assert epochs == [0, 1, 2]
    assert job.done("weights")


def test_networks_that_came_out_the_same_are_trained_once(monkeypatch, make_jobs, coarse):
    first, second, other = make_jobs("rtdnas-n6", "rtdnas-n8", "rtdnas-n3")
    for job, seed in ((first, 1), (second, 1), (other, 2)):
        save_arch(job.folder / "arch.yaml", random_arch(coarse, seed, paths=1))
    whole, trained = Training.run_epoch, []

    def counted(training, advance=None):
        trained.append(training.arch.digest)
        return whole(training, advance)

    monkeypatch.setattr(Training, "run_epoch", counted)
    plan = bench.compare.plan.Plan(epochs=1, minutes=1.0, steps=2, step_s=(10.0,))
    monkeypatch.setattr(bench.compare.stages, "plan_training", lambda *_words, **_named: plan)
    for job in (first, second, other):
        run_stage("weights", job, lambda what, done, total: None)
    assert len(trained) == len(set(trained)) == 2
    for name in ("weights.safetensors", "metrics.json", "plan.json"):
        assert (second.folder / name).read_bytes() == (first.folder / name).read_bytes()
    assert load_trained(load_arch(second.folder / "arch.yaml"), second.folder / "weights.safetensors")
    # Whatever arch.yaml lies beside weights by now, they are those of the network that was trained.
    save_arch(other.folder / "arch.yaml", random_arch(coarse, 3, paths=1))
    assert trained_twin(other.folder.parent / "new", random_arch(coarse, 3, paths=1)) is None
    assert trained_twin(other.folder.parent / "new", random_arch(coarse, 2, paths=1)) == other.folder


def test_a_network_on_another_grid_is_refused(make_jobs, coarse):
    (job,) = make_jobs("unet3d-d3-16")
    other = NETWORKS["unet3d-d3-16"].build(coarse)
    document = {**other.to_dict(), "spacing_mm": [10.0, 3.125, 3.125]}
    save_arch(job.folder / "arch.yaml", type(other).from_dict(document, source="elsewhere"))
    with pytest.raises(BadInputError, match="one grid"):
        run_stage("weights", job, lambda what, done, total: None)


def test_a_network_that_saw_held_out_patients_is_refused_before_it_is_trained(make_jobs, coarse):
    (job,) = make_jobs("zeng2020-n2")
    held_out = job.setting.held_out[0]
    seen = {"seen_patients": [{"id": held_out.id, "digest": patient_digest(held_out)}]}
    save_arch(job.folder / "arch.yaml", dataclasses.replace(random_arch(coarse, 0, paths=1), provenance=seen))
    with pytest.raises(BadInputError, match=f"arch.yaml saw 1 of these patients: {held_out.id}"):
        run_stage("weights", job, lambda what, done, total: None)
    assert not (job.folder / "plan.json").exists()


def test_reasons_not_to_run(make_jobs, coarse, lut):
    fits, deep, far = make_jobs("unet3d-d3-16", "unet3d-d4-32", "zeng2020-n2")
    assert reason_not_to_run(fits) is None
    assert "4 widths" in reason_not_to_run(deep)
    assert reason_not_to_run(far) is None
    # The estimate of the fastest network is within this budget, the upper end of its interval is not.
    least_ms = estimate(fastest_arch(coarse, lut), lut).ms
    hard, soft = make_jobs("cinert-n2", "zeng2020-n2", budget_ms=1.05 * least_ms)
    assert "no network of coarse stays within" in reason_not_to_run(hard)
    assert reason_not_to_run(soft) is None


def test_searches_need_prices_and_a_budget_that_can_be_met(make_jobs, make_setting):
    designed, searched = make_jobs("unet3d-d3-16", "zeng2020-n2", budget_ms=0.2)
    require_prices([designed])
    with pytest.raises(BadInputError, match=r"no network of coarse stays within 0\.2 ms"):
        require_prices([designed, searched])
    object.__setattr__(searched.setting, "lut", None)
    with pytest.raises(BadInputError, match="zeng2020-n2 are searched, and there are no prices"):
        require_prices([searched])


def test_a_run_is_continued_with_its_own_settings_only(make_setting):
    open_run(make_setting(), restart=False)
    open_run(make_setting(), restart=False)
    with pytest.raises(BadInputError, match=r"minutes 0\.001 there, 5 now"):
        open_run(make_setting(minutes=5), restart=False)
    (make_setting().folder / "networks" / "some").mkdir(parents=True)
    open_run(make_setting(minutes=5), restart=True)
    assert not (make_setting().folder / "networks").exists()
    open_run(make_setting(minutes=5), restart=False)


def test_prices_may_come_later(make_setting):
    without = make_setting()
    object.__setattr__(without, "lut", None)
    open_run(without, restart=False)
    open_run(make_setting(), restart=False)
    open_run(without, restart=False)
    record = json.loads((without.folder / "compare.json").read_text())
    assert record["settings"]["lut"] == make_setting().lut.id
