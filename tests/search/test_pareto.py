"""Networks for several budgets out of one search, and the best of several seeds."""

import pytest
import torch

from cinert.arch import load_arch
from cinert.errors import BadInputError
from cinert.paths import CELL_KINDS
from cinert.sampling import random_arch
from latency.cost import SpaceCosts
from latency.cost_flow import kept_visits
from latency.cost_union import union_ms
from latency.estimate import estimate
from search.decode import Decoded
from search.loop import Search
from search.pareto import decided, decode_front, supernet_dice
from search.run import run_search
from search.several import run_several

CPU = torch.device("cpu")


@pytest.fixture
def run(tiny, lut, fold, ours, tmp_path):
    def begin(function, *more, settings=ours, **options):
        return function(tiny, lut, fold, settings, *more, budget_ms=12.0, folder=tmp_path, device=CPU, **options)

    return begin


def test_front_lies_within_the_budget_and_dice_rises_with_latency(run, lut, tmp_path):
    result = run(run_search, pareto=6)
    archs = [load_arch(path) for path in sorted((tmp_path / "pareto").glob("*.yaml"))]
    assert len(archs) == result.front >= 1
    times = [arch.estimate["ms"] for arch in archs]
    scores = [arch.provenance["supernet_dice"] for arch in archs]
    assert times == sorted(set(times))
    assert scores == sorted(scores)
    assert all(estimate(arch, lut).high_ms <= arch.provenance["budget_ms"] + 1e-9 <= 12.0 + 1e-9 for arch in archs)
    assert (tmp_path / "pareto" / "front.png").read_bytes().startswith(b"\x89PNG")
    run(run_search)
    assert not (tmp_path / "pareto").exists()


def test_what_is_beaten_is_left_out(tiny, lut, fold, ours, monkeypatch):
    """Of networks decoded at five budgets, the dearer ones with less Dice go."""
    search = Search(tiny, SpaceCosts.from_lut(lut, tiny), fold.train, ours, CPU)
    drawn = sorted((random_arch(tiny, seed, paths=1) for seed in range(5)), key=lambda arch: estimate(arch, lut).ms)
    dice = dict(zip((arch.digest for arch in drawn), (0.3, 0.2, 0.6, 0.6, 0.7), strict=True))
    monkeypatch.setattr("search.pareto.supernet_dice", lambda _, arch: dice[arch.digest])
    waiting = list(drawn)

    def decode_at(_):
        return Decoded(
            arch=waiting.pop(), probabilities=(1.0,), paths_passed_over=0, cells_passed_over=0, budget_met=True
        )

    front = decode_front(search, lut, decode_at, budget_ms=50.0, points=5)
    assert [point.arch.digest for point in front] == [drawn[number].digest for number in (0, 2, 4)]


def test_a_decided_architecture_is_ones(tiny, lut):
    costs, arch = SpaceCosts.from_lut(lut, tiny), random_arch(tiny, 4, paths=2)
    relaxed = decided(tiny, arch, torch.zeros(len(costs.edges), dtype=torch.float64))
    assert set(relaxed.cells) == set(CELL_KINDS)
    found = union_ms(costs, relaxed.cells, kept_visits(costs, arch.paths))
    assert float(found) == pytest.approx(estimate(arch, lut).ms)


def test_scoring_leaves_the_search_as_it_is(tiny, lut, fold, ours):
    search = Search(tiny, SpaceCosts.from_lut(lut, tiny), fold.train, ours, CPU)
    before = {name: tensor.clone() for name, tensor in search.supernet.state_dict().items()}
    assert 0 <= supernet_dice(search, random_arch(tiny, 1, paths=2)) <= 1
    assert all(torch.equal(before[name], tensor) for name, tensor in search.supernet.state_dict().items())


def test_the_best_of_several_seeds_is_kept(run, tmp_path, monkeypatch):
    scores = iter([0.4, 0.6, 0.5])
    monkeypatch.setattr("search.halving._score", lambda *_: next(scores))
    said = []
    result = run(run_several, 3, decoder="longest", pareto=2, advance=lambda *what: said.append(what))
    digests = [each.decoded.arch.digest for each in result.results]
    assert len(set(digests)) == 3
    assert result.best == 1
    arch = load_arch(tmp_path / "arch.yaml")
    assert arch.digest == digests[1]
    assert [arch.provenance[key] for key in ("seed", "seeds", "dice_on_the_other_half")] == [1, 3, 0.6]
    assert said[-1] == ("comparing", 72, 72)
    assert {path.name for path in tmp_path.glob("seed-*")} == {"seed-0", "seed-1", "seed-2"}
    # Nothing is done again, and another number of seeds is another search.
    again = run(run_several, 3, decoder="longest", pareto=0, advance=lambda *_: None)
    assert (again.best, [each.resumed_at for each in again.results]) == (1, [2, 2, 2])
    with pytest.raises(BadInputError, match="seeds 3 there, 2 now"):
        run(run_several, 2, decoder="longest", pareto=0, advance=lambda *_: None)
