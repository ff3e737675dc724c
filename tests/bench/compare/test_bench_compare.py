"""The command, on phantom patients and a coarse grid: seconds of training, real engines."""

import json
import shutil

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from bench.compare.cli import bench_compare
from latency.lut import save_lut
from search import halving


@pytest.fixture(scope="session")
def lut_path(tmp_path_factory, lut):
    path = tmp_path_factory.mktemp("lut") / "lut.json"
    save_lut(path, lut)
    return path


def invoke(*words):
    return CliRunner().invoke(bench_compare, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture(scope="session")
def command(phantoms, lut_path):
    words = ["--data", phantoms, "--lut", lut_path, "--budget-ms", 4, "--frames", 20, "--localiser-steps", 2]
    return [*words, "--minutes-per-network", 0.01, "--device", "cpu", "--engine-device", "cpu"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory, command):
    """A designed and a searched network of Table 2, and one that does not fit."""
    run = tmp_path_factory.mktemp("compare") / "run"
    networks = ["--networks", "unet3d-*,zeng2020-n2"]
    result = invoke("--suite", "zeng2020-table2", *command, *networks, "-o", run)
    assert result.exit_code == 0, result.output
    return run, [*command, *networks], result.output


@pytest.fixture
def copied(finished, tmp_path):
    run, words, _ = finished
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run", words


def test_two_networks_from_search_to_table(finished, repository):
    run, _, output = finished
    document = json.loads((run / "zeng2020-table2.json").read_text())
    states = {entry["network"]: entry["state"] for entry in document["networks"]}
    assert states == {"unet3d-d4-32": "not run", "unet3d-d3-16": "finished", "zeng2020-n2": "finished"}
    assert "unet3d-d4-32 is not run: unet3d has 4 widths" in output
    for name in ("unet3d-d3-16", "zeng2020-n2"):
        files = {path.name for path in (run / "networks" / name).iterdir()}
        assert {"arch.yaml", "plan.json", "weights.safetensors", "bundle", "accuracy.json", "verify.json"} <= files
    by_name = {entry["network"]: entry["ours"] for entry in document["networks"]}
    searched, designed = by_name["zeng2020-n2"], by_name["unet3d-d3-16"]
    assert searched["latency"]["estimate_ms"] <= 4
    assert designed["latency"]["estimate_ms"] is None
    assert searched["search"]["epochs"] >= 2
    assert searched["training"]["epochs"] >= 1
    for ours in (searched, designed):
        assert ours["parameters"] > 0
        assert 0 < ours["memory"]["engine_mib"] < 1000
        assert ours["latency"]["frames"] == 20
    page = (run / "zeng2020-table2.md").read_text()
    assert "| U-net 3D (D3, IF=16) | " in page
    assert str(run) not in page
    assert (run / "zeng2020-table2.png").exists()
    assert document["front"]["latency"]
    schema = repository / "docs" / "schemas"
    names = ("comparison", "fingerprint", "estimate")
    found = {name: json.loads((schema / f"{name}.schema.json").read_text()) for name in names}
    registry = Registry().with_resources(
        (f"urn:cinert:{name}", Resource.from_contents(each)) for name, each in found.items()
    )
    Draft202012Validator.check_schema(found["comparison"])
    validator = Draft202012Validator(found["comparison"], registry=registry)
    assert [error.message for error in validator.iter_errors(document)] == []
    assert list(validator.iter_errors({**document, "surprise": 1}))


def test_a_finished_run_is_left_as_it_is(copied, content):
    run, words = copied
    before = content(run / "networks")
    assert invoke("--suite", "zeng2020-table2", *words, "-o", run).exit_code == 0
    assert content(run / "networks") == before


def test_another_suite_takes_over_what_both_share(copied, content):
    run, words = copied
    before = content(run / "networks" / "zeng2020-n2")
    words = words[:-1]
    assert invoke("--suite", "lu2022-table2", *words, "zeng2020-n2", "-o", run).exit_code == 0
    assert content(run / "networks" / "zeng2020-n2") == before
    document = json.loads((run / "lu2022-table2.json").read_text())
    assert [entry["title"] for entry in document["networks"]] == ["HW-Aware NAS"]


def test_one_search_decodes_networks_of_several_path_numbers(copied):
    run, words = copied
    names = "rtdnas-n3,rtdnas-dijkstra-n3"
    result = invoke("--suite", "lu2022-table1", *words[:-1], names, "--until", "arch", "-o", run)
    assert result.exit_code == 0, result.output
    assert {path.name for path in (run / "searches").iterdir()} == {"rtdnas", "zeng2020-n2"}
    archs = [yaml.safe_load((run / "networks" / name / "arch.yaml").read_text()) for name in names.split(",")]
    assert [len(arch["paths"]) for arch in archs] == [3, 3]
    assert [arch["provenance"]["decoder"] for arch in archs] == ["genetic", "dijkstra"]


@pytest.fixture
def trainings(monkeypatch):
    """Begins to note the digests of the candidates that are trained; the process may be killed after some."""
    whole = halving.score_candidate

    def begin(*, kill_after=None):
        done = []

        def score(*what, **more):
            if len(done) == kill_after:
                raise KeyboardInterrupt
            done.append(what[0].digest)
            return whole(*what, **more)

        monkeypatch.setattr("search.halving.score_candidate", score)
        return done

    return begin


def test_random_search_spends_a_searchs_minutes_on_its_candidates(copied, trainings):
    """With the settings that its page names, and all of its time counted after a kill."""
    run, words = copied
    words = ["--suite", "lu2022-fig2", *words[:-1], "random-search", "--random", 0, "-o", run, "--until", "arch"]
    trainings(kill_after=5)
    assert invoke(*words).exit_code != 0
    folder = run / "searches" / "random"
    first = json.loads((folder / "spent.json").read_text())
    trainings()
    assert invoke(*words).exit_code == 0
    second = json.loads((folder / "spent.json").read_text())
    assert second["seconds"] > first["seconds"] > 0
    entry = json.loads((run / "lu2022-fig2.json").read_text())["networks"][0]
    command = entry["how"].split()
    assert command[:3] == ["nas-search", "--method", "random"]
    identity = json.loads((folder / "candidates.json").read_text())["identity"]
    told = dict(zip(command[1::2], command[2::2], strict=True))
    assert (told["--paths"], told["--batch-size"]) == (str(identity["paths"]), str(identity["batch_size"]))


def test_half_of_a_searchs_minutes_choose_among_several_budgets(copied, trainings):
    run, words = copied
    words = ["--suite", "zeng2020-table2", *words[:-1], "cinert-n2-best-of-4", "-o", run, "--until", "arch"]
    before = trainings(kill_after=1)
    assert invoke(*words).exit_code != 0
    assert not (run / "networks" / "cinert-n2-best-of-4" / "arch.yaml").exists()
    after = trainings()
    assert invoke(*words).exit_code == 0
    calls = before + after
    assert len(set(calls)) == len(calls) >= 2
    folder = run / "searches" / "cinert-n2-best-of-4"
    plans = [json.loads((folder / name / "plan.json").read_text()) for name in (".", "selection")]
    assert [plan["minutes"] for plan in plans] == [0.005, 0.005]
    assert len(plans[1]["step_s"]) == len(calls)
    arch = yaml.safe_load((run / "networks" / "cinert-n2-best-of-4" / "arch.yaml").read_text())
    scores = json.loads((folder / "candidates.json").read_text())["scores"]
    assert arch["provenance"]["dice_on_the_other_half"] == round(max(one["dice"] for one in scores), 4)


def test_a_failed_network_is_named_and_exit_code_1(copied):
    run, words = copied
    for name in ("verify.json", "accuracy.json"):
        (run / "networks" / "unet3d-d3-16" / name).unlink()
    (run / "networks" / "unet3d-d3-16" / "bundle" / "model.onnx").write_bytes(b"spoilt")
    result = invoke("--suite", "zeng2020-table2", *words, "-o", run)
    assert result.exit_code == 1
    assert "1 of 2 networks failed: unet3d-d3-16." in result.output
    page = (run / "zeng2020-table2.md").read_text()
    assert "failed: accuracy: " in page
    assert "| Zeng 2020 (n=2) | 0." in page


def test_random_networks_are_grey_points(copied):
    run, words = copied
    words = [*words[:-1], "zeng2020-n2,random-*", "--random", 1]
    assert invoke("--suite", "lu2022-fig2", *words, "-o", run).exit_code == 0
    document = json.loads((run / "lu2022-fig2.json").read_text())
    assert [(entry["network"], entry["state"]) for entry in document["random"]] == [("random-00", "finished")]
    assert "Grey: 1 random network of the space" in (run / "lu2022-fig2.md").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--networks", "unet5d"], "zeng2020-table2 has no such network"),
        (["--threads", 7], "is of another device: threads"),
        (["--budget-ms", 0.01, "--restart"], "no network of coarse stays within 0.01 ms"),
        (["--minutes-per-network", 3], "was begun with other settings: minutes 0.01 there, 3.0 now"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(copied, content, change, said):
    run, words = copied
    before = content(run)
    result = invoke("--suite", "zeng2020-table2", *words, *change, "-o", run)
    assert result.exit_code == 2
    assert said in result.output
    assert content(run) == before


def test_a_budget_that_nothing_meets_is_refused(tmp_path, command):
    run = tmp_path / "run"
    result = invoke("--suite", "zeng2020-table2", *command, "--budget-ms", 0.01, "-o", run)
    assert result.exit_code == 2
    assert "no network of coarse stays within 0.01 ms" in result.output
    assert not run.exists()


def test_a_search_without_prices_is_refused(tmp_path, phantoms):
    words = ["--suite", "lu2022-table2", "--data", phantoms, "--space", "demo", "--device", "cpu"]
    result = invoke(*words, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "there are no prices" in result.output
    assert "no data" in invoke(*words[:2], "-o", tmp_path / "run").output
