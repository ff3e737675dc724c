"""A sampled set of paths: drawn by beta, computed alone, and differentiable in the probabilities of its edges."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch

from cinert.paths import legal_edges, union, walk
from latency.cost import Relaxed, SpaceCosts
from latency.cost_flow import edge_marginals
from search.choose import chosen_method, search_settings
from search.loop import Search, read_supernet
from search.mixed_cell import live_weights
from search.relaxation import ArchParameters
from search.sampled import draw_paths, straight_through
from search.settings import SearchSettings
from search.supernet import Supernet


def test_paths_are_drawn_by_beta(tiny, randomised, lut):
    parameters = randomised(ArchParameters(tiny), 1)
    costs = SpaceCosts.from_lut(lut, tiny)
    edges = parameters.relax().edges.detach()
    drawn = draw_paths(costs.edges, edges, 3000, np.random.default_rng(0))
    crossed = Counter(edge for path in drawn for edge in walk(path))
    found = torch.tensor([crossed[edge] / 3000 for edge in costs.edges])
    # Standard error below 0.01.
    torch.testing.assert_close(found, edge_marginals(costs, edges), atol=0.04, rtol=0)


def test_only_the_sampled_cells_are_computed_and_learn(either, randomised):
    supernet, parameters = Supernet(either), randomised(ArchParameters(either), 0)
    only = union([("ct", "ep", "ns"), ("ns", "skip", "ns")])
    logits = supernet(torch.randn(1, 1, *either.input_shape_DHW), straight_through(parameters.relax()), only)
    (logits * torch.randn_like(logits)).sum().backward()
    learnt = {name for name, cell in supernet.cells.items() if any(p.grad is not None for p in cell.parameters())}
    assert learnt == {f"l{edge.layer}_s{edge.source}_{edge.kind}" for edge in only if edge.kind != "skip"}
    assert all(p.grad is None for name, cell in supernet.cells.items() if name not in learnt for p in cell.parameters())
    assert float(parameters.beta.grad.abs().max()) > 0


def test_sampled_edges_weigh_one_as_in_the_decoded_network(tiny):
    """The supernet on two paths, with one-hot cells and no partial channels, runs the vertices of the network."""
    torch.manual_seed(0)
    supernet = Supernet(tiny).eval()
    x = torch.randn(1, 1, *tiny.input_shape_DHW)
    edges = legal_edges(tiny.layers, tiny.scales)
    relaxed = straight_through(ArchParameters(tiny).relax())
    assert torch.equal(relaxed.edges, torch.ones(len(edges)))
    skips = union([("skip", "skip", "skip")])
    torch.testing.assert_close(supernet(x, relaxed, skips), supernet.head(supernet.stem(x)))
    two = union([("ns", "skip", "skip"), ("skip", "skip", "skip")])
    live = live_weights(relaxed.cells)["ns"]
    cell = supernet.cells["l0_s0_ns"](supernet.stem(x), relaxed.cells["ns"], live)
    torch.testing.assert_close(supernet(x, relaxed, two), supernet.head(supernet.stem(x) + cell))
    zeros = Relaxed(relaxed.cells, torch.zeros(len(edges)))
    torch.testing.assert_close(supernet(x, zeros, skips), supernet.head(0 * supernet.stem(x)))


def test_a_sampled_search_learns_and_leaves_the_same_behind(tiny, lut, fold):
    settings = SearchSettings(
        epochs=4,
        batch_size=4,
        mixture="sampled",
        latency_term="union",
        loss="lagrangian",
        latency_weight=None,
        bound_ms=4.0,
    )
    states = []
    for _ in range(2):
        search = Search(tiny, SpaceCosts.from_lut(lut, tiny), fold.train, settings, torch.device("cpu"))
        reports = []
        while not search.finished:
            reports.append(search.run_epoch())
        states.append(search.architecture.state_dict())
        assert reports[1].multiplier is None
        assert reports[3].multiplier > reports[2].multiplier > 0
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert states[0]["beta"].any()


@pytest.mark.parametrize("method", ["cinert", "rtdnas", "msnas"])
def test_a_search_that_stops_anywhere_ends_the_same(tmp_path, tiny, lut, fold, method):
    """Multiplier, momentum, and cells that no sample has met are put back."""
    chosen = chosen_method(method, {"epochs": 4})
    space = dataclasses.replace(tiny, relaxation=chosen.relaxation)
    told = {"paths": 2, "seed": 0, "batch_size": 5, "learning_rate": 0.01}
    settings = search_settings(method, chosen, occurrence=None, budget_ms=6.0, **told)

    def begin():
        return Search(space, SpaceCosts.from_lut(lut, space), fold.train, settings, torch.device("cpu"))

    whole, first = begin(), begin()
    while not whole.finished:
        whole.run_epoch()
    for _ in range(3):
        first.run_epoch()
    first.save(tmp_path / "supernet.safetensors", {})
    second = begin()
    second.restore(read_supernet(tmp_path / "supernet.safetensors"))
    second.run_epoch()
    for part in ("architecture", "supernet"):
        expected, found = (getattr(search, part).state_dict() for search in (whole, second))
        assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
