"""Top-n decoding against brute force, on every grid with 2..6 layers and 1..4 scales."""

import dataclasses
import itertools
import math

import pytest
import torch

from cinert.errors import BadInputError
from cinert.paths import EDGE_KINDS, count_paths, legal_edges, walk
from cinert.spaces import load_space
from search.longest import longest_paths
from search.relaxation import ArchParameters

torch.set_num_threads(1)
GRIDS = list(itertools.product(range(2, 7), range(1, 5)))


def grid(layers, scales):
    return dataclasses.replace(
        load_space("small"),
        input_shape_DHW=(8, 16, 16),
        layers=layers,
        strides=((2, 2, 2),) * (scales - 1),
        widths=(4,) * scales,
        nodes=1,
    )


def enumerate_paths(layers, scales):
    """All words over the edge kinds that stay on the grid and return to scale 0."""
    for path in itertools.product(EDGE_KINDS, repeat=layers):
        targets = [edge.target for edge in walk(path)]
        if all(0 <= target < scales for target in targets) and targets[-1] == 0:
            yield path


@pytest.mark.parametrize(("layers", "scales"), GRIDS)
def test_matches_brute_force_for_every_n(layers, scales):
    space = grid(layers, scales)
    edges = legal_edges(layers, scales)
    everything = list(enumerate_paths(layers, scales))
    assert len(everything) == count_paths(layers, scales)[0, 0]
    for seed in range(3):
        parameters = ArchParameters(space)
        with torch.no_grad():
            parameters.beta.copy_(torch.randn(len(edges), generator=torch.Generator().manual_seed(seed)) * 2)
        probability = dict(zip(edges, parameters.log_edges().exp().tolist(), strict=True))
        product = {path: math.prod(probability[edge] for edge in walk(path)) for path in everything}
        assert sum(product.values()) == pytest.approx(1, abs=1e-5)
        expected = sorted(everything, key=product.__getitem__, reverse=True)
        log_edges = parameters.log_edges().detach().double().tolist()
        for n in sorted({min(n, len(everything)) for n in (1, 2, 3, len(everything) // 2, len(everything))} - {0}):
            found = longest_paths(space, log_edges, n)
            assert [path for path, _ in found] == expected[:n]
            assert [value for _, value in found] == pytest.approx([product[path] for path in expected[:n]], rel=1e-5)


@pytest.mark.parametrize(("layers", "scales"), GRIDS)
def test_ties_are_broken_by_the_path_alone(layers, scales):
    space = grid(layers, scales)
    everything = list(enumerate_paths(layers, scales))
    edges = legal_edges(layers, scales)
    # Equal edges make all paths equal, in any order of summation.
    found = longest_paths(space, [math.log(1 / 3)] * len(edges), len(everything))
    assert [path for path, _ in found] == sorted(everything, key=lambda path: [EDGE_KINDS.index(k) for k in path])
    assert longest_paths(space, [math.log(1 / 3)] * len(edges), 1) == found[:1]


@pytest.mark.parametrize("n", [0, 43])
def test_more_paths_than_exist_is_refused(n):
    space = load_space("demo")
    zeros = [0.0] * len(legal_edges(space.layers, space.scales))
    with pytest.raises(BadInputError, match=rf"{n} paths asked for, but the space demo has 42 paths"):
        longest_paths(space, zeros, n)
