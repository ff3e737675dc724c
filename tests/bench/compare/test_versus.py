"""Searched networks against designed ones: what is compared, how far ahead that is, and the command."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

import bench.compare.scaled
from bench.compare.cli import bench_compare
from bench.compare.recipes import OneShot, Scaled
from bench.compare.scaled import scaled_design
from bench.compare.stages import Job
from bench.compare.versus import KINDS, paired_interval, versus_document, versus_networks
from bench.compare.versus_page import versus_page
from cinert.arch import load_arch, save_arch
from cinert.baselines.kinds import design
from cinert.ushape.choices import random_ushape
from cinert.ushape.space import Grid, UShapeSpace
from latency.lut import save_lut
from latency.ushape.pricer import UShapePricer


@pytest.fixture(scope="module")
def tiny_u():
    return UShapeSpace(
        name="tiny-u",
        in_channels=1,
        grids=(Grid(shape_DHW=(4, 16, 16), spacing_mm=(20.0, 10.0, 10.0)),),
        stem_kernel=(1, 3, 3),
        stem_stride=(1, 2, 2),
        strides=((1, 2, 2),),
        widths=((4, 8), (4, 8)),
        blocks=(("inplane",), ("inplane", "conv")),
        encoder_depths=((0, 1), (1, 2)),
        decoder_depths=((1,),),
        down="maxpool",
        join="concat",
        residual=False,
    )


@pytest.fixture(scope="module")
def ushape_lut(made_up_terms, tiny_u):
    return made_up_terms(tiny_u)


def test_an_interval_covers_patients_and_seeds():
    rng = np.random.default_rng(3)
    patients, seeds = rng.normal(0.02, 0.01, 40), np.array([-0.004, 0.0, 0.004])
    low, high = paired_interval(np.broadcast_to(patients, (3, 40)))
    # Where seeds agree it is the bootstrap over patients: about 1.96 standard errors to either side.
    error = patients.std() / np.sqrt(40)
    assert low == pytest.approx(patients.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(patients.mean() + 1.96 * error, abs=0.2 * error)
    wider = paired_interval(patients + seeds[:, None])
    assert wider[1] - wider[0] > 1.3 * (high - low)
    assert paired_interval(np.full((1, 1), 0.5)) == (0.5, 0.5)


def test_every_latency_and_seed_has_ours_and_each_designed_network():
    networks = versus_networks([10.0, 12.5], [4, 5])
    assert len(networks) == 2 * 2 * (1 + len(KINDS))
    assert networks["ours-12.5ms-seed5"] == OneShot(latency_ms=12.5, seed=5)
    assert networks["aniso-unet-10ms-seed4"] == Scaled(kind="aniso-unet", latency_ms=10.0, seed=4)


def test_a_designed_network_is_scaled_once_for_all_seeds(make_setting, coarse, monkeypatch):
    asked = []

    def scale(make, widths, budget_ms, setup, *, say):
        asked.append((widths, budget_ms, setup.threads))
        return make(tuple(2 * width for width in widths))

    monkeypatch.setattr(bench.compare.scaled, "scale_to_budget", scale)
    setting = make_setting()
    found = [
        scaled_design(Scaled(kind="unet2d", latency_ms=9.0, seed=seed), setting, lambda *_: None) for seed in (0, 1)
    ]
    assert asked == [((16, 32, 64), 9.0, 1)]
    assert found[0].digest == found[1].digest == design("unet2d", coarse, (32, 64, 128)).digest


@pytest.fixture
def two_seeds(make_setting, write_results):
    """Ours, and two designed networks of which one is better, over two seeds of two patients."""
    setting = make_setting()
    every = versus_networks([10.0], [0, 1])
    dice = {"ours": ((0.90, 0.80), (0.92, 0.84)), "unet2d": ((0.70, 0.70), (0.70, 0.70)),
            "aniso-unet": ((0.88, 0.80), (0.88, 0.80))}  # fmt: skip
    jobs = {}
    for kind, seeds in dice.items():
        for seed, patients in enumerate(seeds):
            name = f"{kind}-10ms-seed{seed}"
            jobs[name] = Job(name=name, recipe=every[name], setting=setting)
            frames = [(f"p{number}", (value, value, value)) for number, value in enumerate(patients)]
            write_results(jobs[name].folder, frames, p50_ms=9.0 + seed, throughput_fps=100)
    return setting, jobs


def test_ours_is_held_against_the_best_designed_network_patient_by_patient(two_seeds, repository):
    document = versus_document(*two_seeds)
    (duel,) = document["duels"]
    assert (duel["against"], duel["seeds"], duel["patients"]) == ("aniso-unet", [0, 1], 2)
    assert duel["difference"] == pytest.approx(np.mean([0.02, 0.00, 0.04, 0.04]))
    assert duel["patients_ahead"] == 2
    assert 0 <= duel["interval"][0] < duel["difference"] < duel["interval"][1] <= 0.04 + 1e-9
    schema = json.loads((repository / "docs" / "schemas" / "versus.schema.json").read_text())
    assert list(Draft202012Validator(schema).iter_errors(json.loads(json.dumps(document)))) == []
    page = versus_page(document, picture="it.png")
    assert "| 10 | aniso-unet | +0.0250 |" in page
    assert "| 10 | **ours** | 9.50 | 0.8650 |" in page
    assert "![Dice against latency](it.png)" in page


def test_networks_that_are_not_finished_are_named(two_seeds):
    setting, jobs = two_seeds
    (jobs["unet2d-10ms-seed1"].folder / "verify.json").unlink()
    (jobs["ours-10ms-seed0"].folder / "failed.json").write_text(
        json.dumps({"stage": "bundle", "reason": "no room.", "traceback": None})
    )
    page = versus_page(versus_document(setting, jobs), picture="it.png")
    assert "- `unet2d-10ms-seed1`: unfinished" in page
    assert "- `ours-10ms-seed0`: failed: bundle: no room." in page


def invoke(*words):
    return CliRunner().invoke(bench_compare, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture(scope="module")
def command(tmp_path_factory, phantoms, ushape_lut):
    path = tmp_path_factory.mktemp("lut") / "lut.json"
    save_lut(path, ushape_lut)
    words = ["--suite", "ours-vs-designed", "--data", phantoms, "--lut", path, "--frames", 20, "--localiser-steps", 2]
    return [*words, "--minutes-per-network", 0.01, "--device", "cpu", "--engine-device", "cpu", "--space", "demo"]


def test_the_command_from_search_to_page(tmp_path, command, coarse, tiny_u, ushape_lut):
    pricer, rng = UShapePricer(tiny_u, ushape_lut), np.random.default_rng(0)
    budget_ms = float(np.median([pricer.upper_ms(random_ushape(tiny_u, rng)) for _ in range(50)]))
    latency = f"{budget_ms:.3f}"
    run = tmp_path / "run"
    # A network that the user put there is taken as it is: nothing is scaled, which would need a quiet machine.
    name = f"aniso-unet-{latency.rstrip('0')}ms-seed0"
    save_arch(run / "networks" / name / "arch.yaml", design("aniso-unet", coarse, (4, 8)))
    words = [*command, "--latencies", latency, "--seeds", 1, "--networks", "ours*,aniso*", "-o", run]
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    document = json.loads((run / "ours-vs-designed.json").read_text())
    rows = {row["kind"]: row["runs"][0] for row in document["networks"]}
    assert {kind: each["state"] for kind, each in rows.items()} == {"ours": "finished", "aniso-unet": "finished"}
    assert rows["ours"]["latency"]["estimate_ms"] <= budget_ms
    assert rows["ours"]["search"]["epochs"] >= 2
    metrics = {kind: json.loads((run / "networks" / each["network"] / "metrics.json").read_text())["settings"]
               for kind, each in rows.items()}  # fmt: skip
    assert metrics["ours"]["init"] is not None
    assert metrics["aniso-unet"]["init"] is None
    assert metrics["ours"]["deep_supervision"] == metrics["aniso-unet"]["deep_supervision"] == 0.3
    # Each read its own grid.
    grids = {kind: load_arch(run / "networks" / each["network"] / "arch.yaml").grid for kind, each in rows.items()}
    assert grids["ours"].input_shape_DHW == (4, 16, 16)
    assert grids["aniso-unet"].input_shape_DHW == (10, 96, 96)
    assert "aniso-unet" in result.output
    assert (run / "ours-vs-designed.png").exists()
    # What is finished is not made again.
    before = (run / "networks" / name / "weights.safetensors").stat().st_mtime_ns
    assert invoke(*words).exit_code == 0
    assert (run / "networks" / name / "weights.safetensors").stat().st_mtime_ns == before


def refused(*words):
    result = CliRunner().invoke(bench_compare, [str(word) for word in words])
    assert result.exit_code == 2
    return " ".join((result.stderr or str(result.exception)).split())


def test_what_does_not_belong_together_is_refused(tmp_path, command, lut, phantoms):
    assert "--latencies is for --suite ours-vs-designed" in refused(
        "--suite", "lu2022-table1", "--data", phantoms, "--space", "demo", "--latencies", "10", "-o", tmp_path
    )
    assert "--random is for tables of papers" in refused(*command, "--random", 2, "-o", tmp_path)
    for bad in ("ten", "10,10", "0", "inf"):
        assert "is no list of different milliseconds" in refused(*command, "--latencies", bad, "-o", tmp_path)
    save_lut(tmp_path / "cells.json", lut)
    words = [tmp_path / "cells.json" if str(word).endswith("lut.json") else word for word in command]
    assert "is of a space of cells" in refused(*words, "-o", tmp_path / "run")
    without = [word for number, word in enumerate(command) if "--lut" not in command[max(0, number - 1) : number + 1]]
    assert "no LUT is given" in refused(*without, "-o", tmp_path / "run")
    assert not (tmp_path / "run" / "networks").exists()
