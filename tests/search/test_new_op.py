"""An op that the space knows and the supernet does not: a relaxed search refuses it, others draw and price it."""

import dataclasses

import pytest
import torch
from click.testing import CliRunner

from bench.compare.suites import NETWORKS
from cinert import ops
from cinert.errors import BadInputError
from cinert.sampling import random_arch
from cinert.space import OP_NAMES
from latency.calibration import group_of
from latency.lut import save_lut
from search.cli import nas_search
from search.draw import draw_arch
from search.mixed_cell import RUN
from search.supernet import Supernet
from search.sweep_cli import nas_sweep

SAYS = "the supernet of a differentiable search cannot run the op gate"


@pytest.fixture
def gated(tiny, monkeypatch):
    """The tiny space with an op that was added where ops are defined, and nowhere else."""
    monkeypatch.setattr("cinert.space.OP_NAMES", (*OP_NAMES, "gate"))
    monkeypatch.setitem(ops._OPS, "gate", lambda _: torch.nn.Sigmoid())
    return dataclasses.replace(tiny, ops=(*tiny.ops, "gate"))


def test_all_ops_of_a_space_are_run():
    assert set(OP_NAMES) == RUN


def test_the_supernet_refuses_it(gated):
    with pytest.raises(BadInputError, match=SAYS):
        Supernet(gated)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (nas_search, []),
        (nas_search, ["--method", "cinert"]),
        (nas_sweep, ["--method", "zeng2020", "--method", "random"]),
    ],
)
def test_a_relaxed_search_refuses_it_before_anything_is_read(tmp_path, gated, lut_of, command, words):
    save_lut(tmp_path / "lut.json", lut_of(gated))
    arguments = ["--lut", tmp_path / "lut.json", "--data", "nowhere", "-o", tmp_path / "run", *words]
    result = CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 2, result.output
    assert SAYS in result.stderr
    assert "--method random" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_comparison_lists_it_as_not_run(gated):
    with pytest.raises(BadInputError, match=SAYS):
        NETWORKS["zeng2020-n2"].require_fit(gated)


def test_a_network_with_it_is_drawn(tmp_path, gated):
    found = (random_arch(gated, seed, paths=1) for seed in range(100))
    arch = next(
        arch for arch in found if "gate" in {edge.op for cell in arch.cells.values() for e in cell for edge in e}
    )
    draw_arch(tmp_path / "arch.png", arch, title="gated")
    assert (tmp_path / "arch.png").stat().st_size > 10_000


def test_a_calibration_without_a_group_for_it_is_one_line():
    with pytest.raises(BadInputError, match="no group for parts of kind 'gate'"):
        group_of("gate")
