"""How well shared weights rank: the figures, the draw, and the command on phantoms."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from bench.ranking import agreements, draw_networks
from bench.ranking_cli import bench_ranking
from cinert.data.cli import make_phantom
from cinert.errors import BadInputError
from cinert.ushape.choices import random_ushape
from cinert.ushape.space import Grid, UShapeSpace
from latency.lut import save_lut
from latency.ushape.pricer import UShapePricer
from search.cli import nas_search


@pytest.fixture(scope="module")
def tiny():
    grids = [Grid(shape_DHW=(4, 16, 16), spacing_mm=(20.0, 10.0, 10.0)),
             Grid(shape_DHW=(4, 20, 20), spacing_mm=(20.0, 8.0, 8.0))]  # fmt: skip
    return UShapeSpace(
        name="tiny-u",
        in_channels=1,
        grids=tuple(grids),
        stem_kernel=(1, 3, 3),
        stem_stride=(1, 2, 2),
        strides=((1, 1, 1),),
        widths=((4, 8), (4, 8)),
        blocks=(("inplane",), ("inplane", "conv")),
        encoder_depths=((0, 1), (1, 2)),
        decoder_depths=((1,),),
        down="maxpool",
        join="concat",
        residual=False,
    )


def voxels_ms(arch):
    return np.prod(arch.input_shape_DHW) * arch.shape.widths[0] / 1000 + len(arch.shape.encoder[1])


def test_networks_are_spread_over_a_factor_of_three(tiny):
    found = draw_networks(tiny, voxels_ms, 4, most_ms=14.0, seed=0)
    ms = [voxels_ms(arch) for arch in found]
    every = {voxels_ms(random_ushape(tiny, np.random.default_rng(seed))) for seed in range(300)}
    there = [each for each in every if 14.0 / 3 <= each <= 14.0]
    assert ms == sorted(ms)
    assert (ms[0], ms[-1]) == (min(there), max(there))
    assert len({arch.digest for arch in found}) == 4
    again = draw_networks(tiny, voxels_ms, 4, most_ms=14.0, seed=0)
    assert [arch.digest for arch in again] == [arch.digest for arch in found]
    with pytest.raises(BadInputError, match="0 of 3000 networks of space tiny-u are estimated between 667"):
        draw_networks(tiny, voxels_ms, 3, most_ms=2000.0, seed=0)


def test_tau_of_each_order():
    networks = [
        {"inherited": score, "flops": flops, "ms": 1.0, "dice": {"0": first, "1": second}}
        for score, flops, first, second in [
            (0.1, 4, 0.5, 0.6),
            (0.2, 3, 0.6, 0.7),
            (0.4, 2, 0.7, 0.9),
            (0.3, 1, 0.8, 0.8),
        ]
    ]
    tau = agreements(networks, [0, 1])
    # Mean Dice 0.55, 0.65, 0.8, 0.8: five pairs count, in four of which the score agrees, none in FLOPs.
    assert tau["inherited"] == pytest.approx(5 / np.sqrt(6 * 5))
    assert tau["flops"] == pytest.approx(-5 / np.sqrt(6 * 5))
    assert tau["ms"] is None
    assert tau["ceiling"] == pytest.approx(4 / 6)
    assert agreements(networks, [0])["ceiling"] is None


def invoke(command, *words):
    return CliRunner().invoke(command, [str(word) for word in words])


@pytest.fixture(scope="module")
def work(tmp_path_factory, made_up_terms, tiny):
    """Phantoms, a LUT, and a finished search."""
    root = tmp_path_factory.mktemp("ranking")
    assert invoke(make_phantom, root / "data", "--patients", 6, "--seed", 5).exit_code == 0
    lut = made_up_terms(tiny)
    save_lut(root / "lut.json", lut)
    pricer, rng = UShapePricer(tiny, lut), np.random.default_rng(0)
    most_ms = float(np.quantile([pricer.upper_ms(random_ushape(tiny, rng)) for _ in range(200)], 0.9))
    words = ["--lut", root / "lut.json", "--data", root / "data", "--device", "cpu", "--budget-ms", most_ms]
    found = invoke(nas_search, *words, "--epochs", 3, "--candidates", 3, "--least-share", 0.3, "-o", root / "search")
    assert found.exit_code == 0, found.output
    return root


def words_of(work, *more):
    words = ["--search", work / "search", "--lut", work / "lut.json", "--data", work / "data", "--device", "cpu"]
    return [*words, "--networks", 3, "--minutes", 0.001, *more]


def test_the_command_trains_each_network_once(work, tmp_path, repository):
    run = tmp_path / "run"
    result = invoke(bench_ranking, *words_of(work, "-o", run))
    assert result.exit_code == 0, result.output
    document = json.loads((run / "ranking.json").read_text())
    schema = json.loads((repository / "docs" / "schemas" / "ranking.schema.json").read_text())
    assert list(Draft202012Validator(schema).iter_errors(document)) == []
    assert [sorted(one["dice"]) for one in document["networks"]] == [["0", "1"]] * 3
    assert all(0 <= one["inherited"] <= 1 and one["flops"] > 0 for one in document["networks"])
    assert (run / "ranking.png").stat().st_size > 5000
    assert "order by" in result.output
    trained = {path: path.stat().st_mtime_ns for path in run.glob("*/seed-*/weights.safetensors")}
    assert len(trained) == 6
    # A killed run goes on with what is missing.
    lost = run / "network-01" / "seed-1" / "score.json"
    before = lost.read_text()
    lost.unlink()
    assert invoke(bench_ranking, *words_of(work, "-o", run)).exit_code == 0
    assert lost.read_text() == before
    # Of the one without a score the weights are written again from the checkpoint; the others are not touched.
    del trained[lost.parent / "weights.safetensors"]
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    # Other terms are another comparison.
    other = invoke(bench_ranking, *words_of(work, "-o", run, "--seeds", 1))
    assert other.exit_code == 2
    assert "seeds" in other.output


def test_what_cannot_be_ranked_is_refused(work, tmp_path, made_up_lut):
    missing = invoke(bench_ranking, *words_of(work, "-o", tmp_path / "run", "--search", tmp_path))
    assert missing.exit_code == 2
    assert "holds no search with shared weights" in " ".join(missing.output.split())
    other = invoke(bench_ranking, *words_of(work, "-o", tmp_path / "run", "--fold", 1))
    assert other.exit_code == 2
    assert "fold" in other.output
    assert not (tmp_path / "run" / "network-00").exists()
