"""A U-shaped network and its LUT through export, measurement and report, as a user runs them."""

import dataclasses
import html
import json
import re

import pytest
from click.testing import CliRunner
from safetensors.torch import save_file

from bench.engine_cli import bench_engine
from cinert.arch import save_arch
from cinert.bundle import open_bundle
from cinert.main import main
from cinert.network import build_network, random_weights
from cinert.space import CLASSES
from export.cli import export_engine
from latency.estimate import estimate
from latency.lut import load_lut, save_lut
from latency.main import main as latency
from latency.ushape.design import seeded_ushape


def run(command, *words):
    return CliRunner().invoke(command, [str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_ushapes, made_up_terms):
    """A run folder as train-arch leaves it, with a LUT whose interval holds everything and so says nothing."""
    folder = tmp_path_factory.mktemp("run")
    lut = made_up_terms(tiny_ushapes)
    prices = dataclasses.replace(lut.prices, relative_error_90=1e6)
    protocol = {"anchor_ms": 1.0, "clock": "cpu"}
    save_lut(folder / "lut.json", dataclasses.replace(lut, prices=prices, protocol=protocol))
    arch = seeded_ushape(tiny_ushapes, 3)
    save_arch(folder / "arch.yaml", dataclasses.replace(arch, estimate=estimate(arch, lut).to_dict()))
    record = {"schema": "cinert.weights", "version": 1, "arch_digest": arch.digest, "seen_patients": []}
    record |= {"classes": list(CLASSES), "provenance": {}}
    state = random_weights(build_network(arch), 0).state_dict()
    save_file(state, folder / "weights.safetensors", metadata={"cinert": json.dumps(record)})
    words = ["--backend", "ort", "--threads", 1, "--lut", folder / "lut.json"]
    result = run(export_engine, folder / "arch.yaml", *words)
    assert result.exit_code == 0, result.output
    words = ["--lut", folder / "lut.json", "--threads", 1, "--frames", 8, "--budget-ms", 60000]
    result = run(bench_engine, folder / "bundle", *words, "-o", folder / "verify.json")
    assert result.exit_code in (0, 1), result.output
    return folder


def test_the_bundle_carries_the_estimate(folder):
    bundle, lut = open_bundle(folder / "bundle"), load_lut(folder / "lut.json")
    assert bundle.estimate["ms"] == pytest.approx(estimate(bundle.arch, lut).ms, abs=1e-4)
    assert bundle.manifest.lut["id"] == lut.id
    assert bundle.manifest.parity.status == "passed"


def test_the_measurement_is_held_against_it_and_flows_back(folder):
    document, lut = json.loads((folder / "verify.json").read_text()), load_lut(folder / "lut.json")
    # An interval as wide as that of the made-up LUT judges nothing.
    assert document["within_interval"] is None
    assert document["lut"]["id"] == lut.id
    assert document["estimate"]["ms"] == pytest.approx(estimate(open_bundle(folder / "bundle").arch, lut).ms, abs=1e-4)
    # The anchor is that of U-shaped networks, and was timed again.
    assert document["machine"]["lut_anchor_ms"] == 1.0
    assert document["machine"]["anchor_ms"] > 0
    refused = run(latency, "calibrate", folder / "lut.json", "--add", folder / "verify.json")
    assert refused.exit_code == 2
    # One network is too few, or the made-up anchor is not this machine's: either is said in one line.
    assert "the machine was not as" in refused.output or "1 networks cannot calibrate" in refused.output


@pytest.mark.parametrize("form", ["html", "md"])
def test_the_report_shows_levels_prices_and_where_time_goes(folder, form):
    result = run(main, "report", folder, "--format", form)
    assert result.exit_code == 0, result.output
    text = (folder / f"report.{form}").read_text()
    if form == "md":
        names = re.findall(r"!\[[^]]*\]\(([^)]*)\)", text)
        for name in ("network", "lut", "parts"):
            assert f"report_pictures/{name}.png" in names
    text = re.sub(r"[`*]", "", text) if form == "md" else html.unescape(re.sub(r"<[^>]*>", " ", text))
    arch = open_bundle(folder / "bundle").arch
    assert f"{arch.digest} in the space tiny: 3 levels" in " ".join(text.split())
    assert "blocks on the way down" in text
    assert "baseline" not in text
    assert "bench-ops --space tiny --backend ort --precision fp32 --threads 1 --clock cpu --networks 0" in text
    assert "in blocks of 1 and 4" in " ".join(text.split())


def test_a_kernel_that_is_no_cube_stands_in_the_part_chart(folder):
    bundle = open_bundle(folder / "bundle")
    found = estimate(bundle.arch, load_lut(folder / "lut.json"))
    assert any("k1x5x5" in label for label in found.parts)
