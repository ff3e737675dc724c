"""Decoding: cells by argmax, paths within a budget, and what is never decoded."""

import itertools
import math

import pytest
import torch

from cinert.arch import Arch, NodeEdge, yields_nothing
from cinert.errors import BadInputError
from cinert.paths import CELL_KINDS, count_paths, legal_edges
from latency.estimate import estimate
from search.decode import decode
from search.decode_cells import decode_cell, ranked_cells
from search.longest import longest_paths
from search.relaxation import ArchParameters


def prefer(parameters, *kinds):
    """Make the path of these edge kinds by far the most probable."""
    scale = 0
    with torch.no_grad():
        for layer, kind in enumerate(kinds):
            for number, edge in enumerate(legal_edges(parameters.space.layers, parameters.space.scales)):
                if (edge.layer, edge.source, edge.kind) == (layer, scale, kind):
                    parameters.beta[number] = 8.0
                    target = edge.target
            scale = target
    return parameters


def all_paths(parameters):
    space = parameters.space
    count = count_paths(space.layers, space.scales)[0, 0]
    return [path for path, _ in longest_paths(space, parameters.log_edges().tolist(), count)]


def test_separate_takes_argmax_of_gamma_then_of_alpha(tiny):
    parameters = ArchParameters(tiny)
    with torch.no_grad():
        parameters.alpha["ct"][0, tiny.ops.index("separable")] = 1
        parameters.gamma["ct"][2] = 1
        parameters.alpha["ct"][1, tiny.ops.index("conv")] = 9  # on the input that gamma rejects
        parameters.alpha["ct"][2, tiny.ops.index("dilated")] = 1
    assert decode_cell(parameters, "ct") == ((NodeEdge(0, "separable"),), (NodeEdge(1, "dilated"),))


def test_joint_takes_the_best_pair(tiny, either):
    parameters = ArchParameters(either)
    with torch.no_grad():
        parameters.alpha["ep"][0, tiny.ops.index("maxpool")] = 1
        parameters.alpha["ep"][1, tiny.ops.index("conv")] = 3
        parameters.alpha["ep"][2, tiny.ops.index("dilated")] = 2
        if either.relaxation == "separate":
            parameters.gamma["ep"][1] = 1
    assert decode_cell(parameters, "ep") == ((NodeEdge(0, "maxpool"),), (NodeEdge(0, "conv"),))


def test_zero_empties_a_node_and_what_hangs_on_it(tiny):
    parameters = ArchParameters(tiny)
    zero, conv = tiny.ops.index("zero"), tiny.ops.index("conv")
    with torch.no_grad():
        parameters.alpha["ns"][0, conv] = 1
        parameters.alpha["ns"][1:, zero] = 1
    assert decode_cell(parameters, "ns") == ((NodeEdge(0, "conv"),), ())


def test_a_cell_that_yields_nothing_is_decoded_again_without_zero(either):
    parameters = ArchParameters(either)
    zero, pool = either.ops.index("zero"), either.ops.index("maxpool")
    with torch.no_grad():
        for kind in CELL_KINDS:
            parameters.alpha[kind][:, zero] = 5
            parameters.alpha[kind][:, pool] = 1
    for kind in CELL_KINDS:
        cell = decode_cell(parameters, kind)
        assert not yields_nothing(cell)
        assert {edge.op for edges in cell for edge in edges} == {"maxpool"}


def test_an_empty_first_node_kills_the_second_and_the_cell_is_decoded_again(tiny):
    parameters = ArchParameters(tiny)
    with torch.no_grad():
        parameters.alpha["ns"][0, tiny.ops.index("zero")] = 1
        parameters.gamma["ns"][2] = 1  # node 1 reads node 0, which is empty
        parameters.alpha["ns"][2, tiny.ops.index("conv")] = 1
    cell = decode_cell(parameters, "ns")
    assert not yields_nothing(cell)
    assert cell[1] == (NodeEdge(1, "conv"),)


@pytest.mark.parametrize("seed", range(5))
def test_without_a_binding_budget_it_is_the_top_n(either, randomised, lut, seed):
    parameters = randomised(ArchParameters(either), seed)
    ranked = all_paths(parameters)
    for n in (2, 3, 5):
        for options in ({}, {"budget_ms": 1e6, "estimate_ms": lambda arch: estimate(arch, lut).ms}):
            found = decode(parameters, paths=n, **options)
            assert list(found.arch.paths) == ranked[:n]
            assert found.paths_passed_over == 0
            assert found.budget_met is (True if options else None)
    assert list(found.probabilities) == sorted(found.probabilities, reverse=True)


def cost_of(lut):
    return lambda arch: estimate(arch, lut).ms


@pytest.mark.parametrize("seed", range(3))
def test_within_a_budget_it_is_the_most_probable_network_that_fits(either, randomised, lut, seed):
    parameters, ms = randomised(ArchParameters(either), seed), cost_of(lut)
    free = decode(parameters, paths=2)
    budget = 0.7 * ms(free.arch)
    found = decode(parameters, paths=2, budget_ms=budget, estimate_ms=ms)
    assert found.budget_met
    assert ms(found.arch) <= budget
    # Brute force over the likeliest sets of cells, each with the paths that fit in their order.
    ranked = {kind: ranked_cells(parameters, kind) for kind in CELL_KINDS}
    paths = longest_paths(either, parameters.log_edges().detach().double().tolist(), len(all_paths(parameters)))

    def score(cells, chosen):
        logs = sum(dict(ranked[kind])[cells[kind]] for kind in CELL_KINDS)
        return logs + math.log(sum(value for path, value in paths if path in chosen))

    likeliest = -math.inf
    for choice in itertools.product(*(cells[:4] for cells in ranked.values())):
        cells = {kind: cell for kind, (cell, _) in zip(ranked, choice, strict=True)}
        chosen = []
        for path, _ in paths:
            if len(chosen) < 2 and (
                (not chosen and set(path) == {"skip"})
                or ms(Arch(space=either, cells=cells, paths=(*chosen, path))) <= budget
            ):
                chosen.append(path)
        if any(set(path) != {"skip"} for path in chosen):
            likeliest = max(likeliest, score(cells, chosen))
    assert score(found.arch.cells, found.arch.paths) >= likeliest - 1e-9
    assert found.paths_passed_over + found.cells_passed_over > 0


def test_cells_are_ranked_by_probability_with_argmax_first(either, randomised):
    parameters = randomised(ArchParameters(either), 3)
    for kind in CELL_KINDS:
        ranked = ranked_cells(parameters, kind)
        assert ranked[0][0] == decode_cell(parameters, kind)
        logs = [value for _, value in ranked]
        assert logs == sorted(logs, reverse=True)
        assert len({cell for cell, _ in ranked}) == len(ranked)
        assert not any(yields_nothing(cell) for cell, _ in ranked)
        assert sum(math.exp(value) for value in logs[1:]) < 1


def test_nothing_fits_keeps_the_top_path_and_says_so(tiny, randomised, lut):
    parameters = randomised(ArchParameters(tiny), 1)
    found = decode(parameters, paths=3, budget_ms=0.5, estimate_ms=lambda arch: estimate(arch, lut).ms)
    first = next(path for path in all_paths(parameters) if set(path) != {"skip"})
    assert found.arch.paths == (first,)
    assert found.budget_met is False


def test_the_path_of_skips_is_kept_only_together_with_another(tiny, lut):
    parameters = prefer(ArchParameters(tiny), "skip", "skip", "skip")
    ranked = all_paths(parameters)
    assert set(ranked[0]) == {"skip"}
    assert decode(parameters, paths=1).arch.paths == (ranked[1],)
    assert decode(parameters, paths=2).arch.paths == tuple(ranked[:2])
    # Alone it would fit any budget, and compute nothing.
    found = decode(parameters, paths=2, budget_ms=0.5, estimate_ms=lambda arch: estimate(arch, lut).ms)
    assert found.arch.paths == (ranked[1],)
    assert found.budget_met is False


def test_a_path_that_fits_without_that_of_skips_is_found(tiny, lut):
    """What joins the path of skips is added to it, which costs time."""
    parameters, ms = prefer(ArchParameters(tiny), "skip", "skip", "skip"), cost_of(lut)
    cheapest = min((ms(decode(parameters, paths=1).arch), ms(decode(parameters, paths=2).arch)))
    alone = decode(parameters, paths=1)
    assert ms(alone.arch) == cheapest < ms(decode(parameters, paths=2).arch)
    found = decode(parameters, paths=2, budget_ms=cheapest, estimate_ms=ms)
    assert found.budget_met
    assert ms(found.arch) <= cheapest


def test_probabilities_too_small_for_floating_point(tiny, lut):
    parameters = ArchParameters(tiny)
    with torch.no_grad():
        parameters.beta[[edge.kind == "skip" for edge in legal_edges(tiny.layers, tiny.scales)]] = 1e6
    found = decode(parameters, paths=1, budget_ms=1e6, estimate_ms=cost_of(lut))
    assert found.budget_met
    assert found.probabilities == (0.0,)


def test_all_paths_can_be_kept_but_not_more(tiny):
    count = count_paths(tiny.layers, tiny.scales)[0, 0]
    assert len(decode(ArchParameters(tiny), paths=count).arch.paths) == count
    with pytest.raises(BadInputError, match=f"{count + 1} paths asked for"):
        decode(ArchParameters(tiny), paths=count + 1)


def test_a_budget_needs_an_estimate(tiny):
    with pytest.raises(ValueError, match="estimate"):
        decode(ArchParameters(tiny), paths=1, budget_ms=10.0)


def test_probabilities_are_products_of_beta(tiny):
    found = decode(ArchParameters(tiny), paths=1)
    leaving = {}
    for edge in legal_edges(tiny.layers, tiny.scales):
        leaving[edge.layer, edge.source] = leaving.get((edge.layer, edge.source), 0) + 1
    scale, expected = 0, 1.0
    for layer, kind in enumerate(found.arch.paths[0]):
        expected /= leaving[layer, scale]
        scale += {"ct": 1, "ep": -1}.get(kind, 0)
    assert math.isclose(found.probabilities[0], expected, rel_tol=1e-5)
