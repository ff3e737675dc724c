"""A LUT with made-up prices, so that expected values can be worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from cinert.backends import get_backend
from cinert.environment import fingerprint
from cinert.paths import CELL_KINDS
from cinert.space import load_space
from latency.cost import Relaxed
from latency.lut import Lut, Price, Prices, Row
from latency.parts import PartCatalogue


@pytest.fixture(scope="session")
def two_layers():
    """Two layers, two scales: the smallest space that has every kind of edge."""
    demo = load_space("demo")
    return dataclasses.replace(demo, name="two", layers=2, strides=demo.strides[:1], widths=(8, 16))


def make_lut(space, price_of, *, relative_error_90=0.1, overlap=1.2, constant_ms=0.25):
    keys = PartCatalogue(space).all()
    timing = {"p50_ms": 1.0, "p90_ms": 1.0, "p99_ms": 1.0, "mean_ms": 1.0, "std_ms": 0.0, "n": 9, "noisy": False}
    return Lut(
        space=space,
        fingerprint=fingerprint(get_backend("ort"), device="cpu", threads=1, precision="fp32"),
        protocol={},
        rows=tuple(Row(key=key, timing={"quiet_ms": 2 * price_of(key), **timing}) for key in keys),
        prices=Prices(
            constant_ms=constant_ms,
            parts={key.label: Price(key=key, ms=price_of(key), networks=5) for key in keys},
            composition="sum",
            relative_error_90=relative_error_90,
            overlap=overlap,
            report={"figures": {}, "networks": []},
        ),
        created="2026-11-21T00:00:00+00:00",
    )


@pytest.fixture(scope="session")
def prices():
    """Price of a part by its kind and resolution; all differ, so that a mix-up shows."""
    by_kind = {
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
    return lambda key: by_kind[key.kind] * (1.0 if key.shape_out == (10, 64, 56) else 0.25)


@pytest.fixture(scope="session")
def lut(two_layers, prices):
    return make_lut(two_layers, prices)


@pytest.fixture(scope="session")
def lut_of(prices):
    """A LUT of another space, with the same prices."""
    return lambda space: make_lut(space, prices)


@pytest.fixture(scope="session")
def price_additions():
    """Add the price of an addition in a node, 0.05 ms at any scale, to a LUT."""

    def with_additions(lut):
        catalogue = PartCatalogue(lut.space)
        keys = [catalogue.node_merge(scale) for scale in range(lut.space.scales)]
        more = {key.label: Price(key=key, ms=0.05, networks=0) for key in keys}
        return dataclasses.replace(lut, prices=dataclasses.replace(lut.prices, parts={**lut.prices.parts, **more}))

    return with_additions


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
