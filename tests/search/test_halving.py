"""Random search: candidates within the budget, the best go on, nothing is trained twice."""

import dataclasses
import json

import pytest
import torch

from cinert.arch import load_arch
from cinert.errors import BadInputError
from latency.estimate import estimate
from search.halving import HalvingSettings, draw_candidates, rungs
from search.random_run import run_random_search

CPU = torch.device("cpu")
SETTINGS = HalvingSettings(rungs=((4, 1), (2, 1), (1, 2)), paths=2)


def search(tiny, lut, fold, folder, settings=SETTINGS, budget_ms=30.0, **more):
    return run_random_search(tiny, lut, fold, settings, budget_ms=budget_ms, folder=folder, device=CPU, **more)


def test_rounds():
    assert rungs(18, 24) == ((18, 4), (6, 10), (2, 24))
    assert rungs(1, 1) == ((1, 1), (1, 1), (1, 1))


def test_candidates_fit_the_budget_and_use_it(tiny, lut):
    found = draw_candidates(tiny, SETTINGS, budget_ms=30.0, estimate_ms=lambda arch: estimate(arch, lut).ms)
    assert len({arch.digest for _, arch in found}) == len(found) == 4
    assert all(18.0 <= estimate(arch, lut).ms <= 30.0 for _, arch in found)
    again = draw_candidates(tiny, SETTINGS, budget_ms=30.0, estimate_ms=lambda arch: estimate(arch, lut).ms)
    assert [seed for seed, _ in found] == [seed for seed, _ in again]


def test_a_budget_that_nothing_fits(tiny, lut, monkeypatch):
    monkeypatch.setattr("search.halving._DRAWS", 20)
    with pytest.raises(BadInputError, match="0 of 20 random networks"):
        draw_candidates(tiny, SETTINGS, budget_ms=0.1, estimate_ms=lambda arch: estimate(arch, lut).ms)


def test_it_trains_and_writes_what_train_arch_reads(tmp_path, tiny, lut, fold):
    said = []
    result = search(tiny, lut, fold, tmp_path, advance=lambda *counts: said.append(counts))
    arch = load_arch(tmp_path / "arch.yaml")
    assert arch.digest == result.arch.digest
    assert arch.provenance["method"] == "random"
    assert [record["id"] for record in arch.provenance["seen_patients"]] == [record.id for record in fold.seen]
    assert 0 <= result.score <= 1
    assert said[-1] == (8, 8)
    record = json.loads((tmp_path / "candidates.json").read_text())
    assert [entry["epochs"] for entry in record["scores"]] == [1, 1, 1, 1, 2]


def test_the_best_go_on_and_a_killed_search_repeats_nothing(tmp_path, tiny, lut, fold, monkeypatch):
    calls = []

    def score(arch, halves, settings, epochs, device):
        assert {s.patient_id for s in halves.train}.isdisjoint(s.patient_id for s in halves.validation)
        if len(calls) == 3:
            calls.append("killed")
            raise KeyboardInterrupt
        calls.append((arch.digest, epochs))
        return int(arch.digest[:6], 16) / 16**6

    monkeypatch.setattr("search.halving._score", score)
    settings = dataclasses.replace(SETTINGS, rungs=((4, 1), (2, 3), (1, 5)))
    with pytest.raises(KeyboardInterrupt):
        search(tiny, lut, fold, tmp_path, settings)
    result = search(tiny, lut, fold, tmp_path, settings)
    calls.remove("killed")
    assert len(set(calls)) == len(calls) == 4 + 2 + 1
    first = [digest for digest, epochs in calls if epochs == 1]
    assert result.arch.digest == max(first)
    assert {digest for digest, epochs in calls if epochs == 3} == set(sorted(first)[-2:])


def test_a_run_of_another_search_is_refused(tmp_path, tiny, lut, fold, monkeypatch):
    monkeypatch.setattr("search.halving._score", lambda *_: 0.5)
    search(tiny, lut, fold, tmp_path)
    before = (tmp_path / "candidates.json").read_bytes()
    with pytest.raises(BadInputError, match=r"budget_ms 30\.0 there, 29\.0 now"):
        search(tiny, lut, fold, tmp_path, budget_ms=29.0)
    assert (tmp_path / "candidates.json").read_bytes() == before
    search(tiny, lut, fold, tmp_path, budget_ms=29.0, restart=True)
    assert load_arch(tmp_path / "arch.yaml").provenance["budget_ms"] == 29.0
