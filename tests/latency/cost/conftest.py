"""LUTs with made-up prices, decoded architectures as weights of ones and zeros, and relaxed ones."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from cinert.paths import CELL_KINDS
from latency.cost import Relaxed

BY_KIND = {
    "stem": 1.0,
    "head": 0.5,
    "conv": 4.0,
    "dilated": 5.0,
    "separable": 2.0,
    "maxpool": 1.5,
    "identity": 0.1,
    "pre.ct": 0.7,
    "pre.ns": 0.6,
    "pre.ep": 0.9,
    "concat": 0.3,
    "merge": 0.2,
}


def price_of(key):
    """By kind, resolution and nodes that are read; all differ, so that a mix-up shows."""
    scale = 1.0 if key.shape_out == (10, 64, 56) else 0.25
    width = min(key.channels_in, key.channels_out)
    if key.kind in {"head", "pre.ct", "pre.ns", "pre.ep"}:
        return BY_KIND[key.kind] * scale * (1 + key.channels_in / 1000)
    if key.kind == "concat":
        return BY_KIND["concat"] * scale * key.channels_out / width / 3
    return BY_KIND[key.kind] * scale


@pytest.fixture(scope="session")
def lut_of(made_up_lut):
    """Make a LUT of a space, with the composition rule given."""
    return lambda space, composition="sum": made_up_lut(space, price_of, composition=composition)


@pytest.fixture(scope="session")
def lut(lut_of, two_layers):
    return lut_of(two_layers)


@pytest.fixture(scope="session")
def deep(two_layers):
    """Five layers and three scales, where paths share cells and meet in vertices."""
    return dataclasses.replace(
        two_layers, name="deep", layers=5, strides=((2, 2, 2), (1, 2, 2)), widths=(4, 8, 16), partial_channels=4
    )


@pytest.fixture(scope="session")
def one_hot_cells():
    """Ones at the (input, op) pairs of a decoded architecture."""

    def weights(arch):
        rows = [(node, source) for node in range(arch.space.nodes) for source in range(node + 1)]
        cells = {kind: torch.zeros(len(rows), len(arch.space.ops), dtype=torch.float64) for kind in CELL_KINDS}
        for kind, cell in arch.cells.items():
            for node, edges in enumerate(cell):
                for edge in edges:
                    cells[kind][rows.index((node, edge.input)), arch.space.ops.index(edge.op)] = 1
        return cells

    return weights


def grouped_softmax(logits, groups):
    """Softmax within each group of entries, in float64 for finite differences."""
    probabilities = torch.zeros_like(logits)
    for group in dict.fromkeys(groups):
        here = torch.tensor([place for place, each in enumerate(groups) if each == group])
        probabilities = probabilities.index_copy(0, here, torch.softmax(logits[here], 0))
    return probabilities


@pytest.fixture(scope="session")
def relax():
    """Softmax of alpha (3, rows, ops), gamma (3, rows) and beta (legal edges,)."""

    def relaxed(costs, alpha, gamma, beta):
        nodes = [node for node in range(costs.space.nodes) for _ in range(node + 1)]
        cells = {
            kind: grouped_softmax(gamma[position], nodes)[:, None] * torch.softmax(alpha[position], -1)
            for position, kind in enumerate(CELL_KINDS)
        }
        return Relaxed(cells, grouped_softmax(beta, [(edge.layer, edge.source) for edge in costs.edges]))

    return relaxed


@pytest.fixture(scope="session")
def parameters():
    """Seeded alpha, gamma and beta in float64."""

    def draw(costs, seed=0):
        generator = torch.Generator().manual_seed(seed)
        rows = costs.space.nodes * (costs.space.nodes + 1) // 2
        shapes = [(3, rows, len(costs.space.ops)), (3, rows), (len(costs.edges),)]
        return [torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=True) for shape in shapes]

    return draw
