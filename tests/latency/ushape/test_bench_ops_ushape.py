"""bench-ops, bench-model, latency calibrate and export-engine on a space of U-shaped networks, as a user runs them."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from bench.model_cli import bench_model
from bench.model_networks import calibration_networks, held_out_networks
from latency.cli import bench_ops
from latency.estimate import estimate, estimate_groups
from latency.lut import load_lut
from latency.main import main as latency
from latency.ushape.design import seeded_ushape
from latency.ushape.parts import row_keys
from latency.ushape.pricer import UShapePricer

NETS = 6


def run(command, *words):
    return CliRunner().invoke(command, [str(word) for word in words])


@pytest.fixture(scope="module")
def tiny(tiny_ushapes):
    """Few blocks, so that few parts are timed."""
    blocks = (("inplane-separable", "inplane"), ("pseudo3d",), ("conv",))
    return dataclasses.replace(tiny_ushapes, blocks=blocks)


@pytest.fixture(scope="module")
def space_file(tmp_path_factory, tiny):
    path = tmp_path_factory.mktemp("space") / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny.to_dict()))
    return path


@pytest.fixture(scope="module")
def measured(tmp_path_factory, space_file):
    folder = tmp_path_factory.mktemp("model")
    words = ["--space", space_file, "--backend", "ort", "--networks", 12, "--threads", 1, "--clock", "cpu"]
    result = run(bench_ops, *words, "--allow-busy", "-o", folder / "lut.json")
    assert result.exit_code == 0, result.output
    assert "prices from 12 networks" in " ".join(result.output.split())
    shutil.copy(folder / "lut.json", folder / "before.json")
    words = ["--lut", folder / "lut.json", "--nets", NETS, "--calibrate", 9, "--seed", 5, "--allow-busy"]
    result = run(bench_model, *words, "-o", folder / "model.json")
    assert result.exit_code == 0, result.output
    return folder


def test_the_table_holds_rows_for_people_and_terms_for_every_network(measured, tiny):
    lut = load_lut(measured / "before.json")
    assert lut.space == tiny
    assert lut.clock == "cpu"
    assert [row.key for row in lut.rows] == row_keys(tiny)
    assert {row.key.label for row in lut.rows} == set(lut.prices.parts)
    assert all(row.quiet_ms > 0 and row.timing["n"] >= 5 for row in lut.rows)
    assert lut.anchor_ms > 0
    assert lut.roofline is not None
    pricer = UShapePricer(tiny, lut)
    assert all(pricer.ms(seeded_ushape(tiny, seed)) > 0 for seed in range(20))
    assert len(lut.prices.report["networks"]) == 12
    assert sorted(path.name for path in measured.iterdir()) == [
        "before.json",
        "lut.json",
        "lut.png",
        "model.json",
        "model.png",
    ]
    compared = run(bench_ops, "--compare", measured / "lut.json", measured / "before.json", "--no-plot")
    assert compared.exit_code == 0
    assert "1.00x" in compared.output


def test_every_model_is_held_against_the_same_measurements(measured, tiny):
    document = json.loads((measured / "model.json").read_text())
    before, after = load_lut(measured / "before.json"), load_lut(measured / "lut.json")
    assert after.calibration is not None
    assert len(after.calibration.networks) == 9
    assert len(document["networks"]) == document["nets"] == NETS
    for network in document["networks"]:
        arch = seeded_ushape(tiny, network["seed"])
        assert network["digest"] == arch.digest
        assert network["grid"] == arch.grid_number
        assert estimate(arch, after).ms == pytest.approx(network["ms"])
        assert estimate(arch, before).ms == pytest.approx(network["uncalibrated_ms"])
        assert sum(estimate_groups(arch, after).values()) == pytest.approx(network["uncalibrated_ms"])
        assert UShapePricer(tiny, after).upper_ms(arch) == pytest.approx(network["high_ms"])
    assert set(document["residuals"]) == {"grid", "blocks", "share_of", "time"}
    assert sum(each["networks"] for each in document["residuals"]["grid"].values()) == NETS
    raw = np.array([network["raw_sum_ms"] for network in document["networks"]])
    assert (raw > 0).all()


def test_nothing_is_judged_on_what_it_was_fitted_to(measured, tiny):
    lut = load_lut(measured / "before.json")
    learned = {network["digest"] for network in lut.prices.report["networks"]}
    held_out = {arch.digest for arch in held_out_networks(tiny, 20, seed=5, known=learned)}
    calibration = {arch.digest for arch, _ in calibration_networks(lut, 9, seed=6, known=learned | held_out)}
    assert (len(held_out), len(calibration)) == (20, 9)
    assert not held_out & learned
    assert not calibration & (learned | held_out)


def test_what_bench_engine_measured_flows_back(measured, tiny, tmp_path):
    lut_path = tmp_path / "lut.json"
    shutil.copy(measured / "lut.json", lut_path)
    lut, arch = load_lut(lut_path), seeded_ushape(tiny, 77)
    verify = {
        "schema": "cinert.verify",
        "version": 1,
        "fingerprint": dict(lut.fingerprint),
        "bundle": {"arch": arch.to_dict()},
        "machine": None,
        "measured": {"quiet_ms": 2 * estimate(arch, lut).ms, "throughput_fps": 100.0},
    }
    path = tmp_path / "verify.json"
    path.write_text(json.dumps(verify))
    added = run(latency, "calibrate", lut_path, "--add", path)
    assert added.exit_code == 0, added.output
    assert "with 10 networks" in " ".join(added.output.split())
    assert load_lut(lut_path).calibration.networks[-1].name == arch.digest


@pytest.fixture(scope="module")
def complaints(repository):
    """What a schema says of a file."""
    files = [json.loads(path.read_text()) for path in (repository / "docs" / "schemas").glob("*.schema.json")]
    registry = Registry().with_resources((each["$id"], Resource.from_contents(each)) for each in files)

    def complaints(name, document):
        (schema,) = (each for each in files if each["$id"] == f"urn:cinert:{name}")
        return [error.message for error in Draft202012Validator(schema, registry=registry).iter_errors(document)]

    return complaints


@pytest.mark.parametrize(("name", "file"), [("lut", "before.json"), ("lut", "lut.json"), ("model", "model.json")])
def test_what_is_written_is_as_the_schema_says(measured, complaints, name, file):
    document = json.loads((measured / file).read_text())
    assert complaints(name, document) == []
    assert complaints(name, {**document, "surprise": 1})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("lut", lambda d: d["prices"].pop("terms")),
        ("lut", lambda d: d["prices"]["terms"]["terms"][0].update(ms=-1)),
        ("lut", lambda d: d["prices"]["terms"]["terms"][1].update(name="warmth")),
        ("lut", lambda d: d["prices"]["terms"]["rounding"].update(channels_out=0)),
        ("lut", lambda d: d["rows"][0]["key"].update(kernel=[1, 5])),
        ("lut", lambda d: d["protocol"].update(clock="wall")),
        ("model", lambda d: d["networks"][0].pop("grid")),
        ("model", lambda d: d["residuals"].pop("blocks")),
    ],
)
def test_the_schemas_notice_wrong_values(measured, complaints, name, change):
    document = json.loads((measured / f"{name}.json").read_text())
    change(document)
    assert complaints(name, document)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--clock", "cpu", "--threads", 2], "--clock cpu is for one thread on a CPU, not for 2 on cpu"),
        (["--clock", "sun"], "'sun' is not one of 'wall', 'cpu'"),
    ],
)
def test_a_clock_that_does_not_tell_the_latency_is_refused(space_file, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    result = run(bench_ops, "--space", space_file, "--backend", "ort", *words)
    assert result.exit_code == 2
    assert says in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_command_for_cells_refuses_the_space_of_its_lut(measured, tmp_path):
    from search.sweep_cli import nas_sweep

    result = run(nas_sweep, "--lut", measured / "lut.json", "--data", tmp_path, "-o", tmp_path / "sweep")
    assert result.exit_code == 2
    assert "is one of U-shaped networks, and this needs layers and scales of cells" in result.output
