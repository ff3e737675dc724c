"""What measuring needs of a space, of either family."""

import dataclasses

import pytest

from cinert.sampling import random_arch
from cinert.spaces import load_any_space
from latency.breakdown import arch_parts
from latency.family import (
    anchor_network,
    keys_to_time,
    network_record,
    networks_by_default,
    networks_to_time,
    panels,
    parts_alone_ms,
    short_to_long,
)
from latency.parts import PartCatalogue
from latency.terms import price_terms
from latency.ushape.design import seeded_ushape


@pytest.fixture
def cells(lut):
    return lut.space


def in_precision(lut, precision):
    """The LUT as it would have been measured in another precision."""
    rows = tuple(dataclasses.replace(row, key=dataclasses.replace(row.key, precision=precision)) for row in lut.rows)
    return dataclasses.replace(lut, rows=rows, fingerprint={**lut.fingerprint, "precision": precision})


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_parts_alone_add_up_in_the_precision_of_the_table(lut, prices, precision):
    archs = [random_arch(lut.space, seed) for seed in range(5)]
    # The made-up LUT has twice the price alone.
    expected = [sum(2 * count * prices(key) for key, count in arch_parts(arch).items()) for arch in archs]
    assert parts_alone_ms(archs, in_precision(lut, precision)) == pytest.approx(expected)


def test_parts_alone_of_u_shapes_come_from_terms_fitted_to_them(tiny_ushapes, made_up_terms):
    lut = made_up_terms(tiny_ushapes)
    archs = [seeded_ushape(tiny_ushapes, seed) for seed in range(20)]
    expected = [2 * sum(count * lut.prices.terms.ms(key) for key, count in arch_parts(arch).items()) for arch in archs]
    # Terms that the grids share cannot follow those of the made-up LUT, which differ from grid to grid.
    assert parts_alone_ms(archs, lut) == pytest.approx(expected, rel=0.5)


def test_cells_time_all_parts_and_short_networks(cells):
    assert keys_to_time(cells, "fp32") == PartCatalogue(cells).all()
    archs = networks_to_time(cells, 6, precision="fp32")
    assert network_record(archs[0]) == {
        "digest": archs[0].digest,
        "seed": archs[0].provenance["seed"],
        "layers": archs[0].space.layers,
        "paths": len(archs[0].paths),
    }
    lengths = [len(arch.edges) for arch in short_to_long(archs, "fp32", 3)]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (min(len(a.edges) for a in archs), max(len(a.edges) for a in archs))


def test_u_shapes_go_from_little_to_much_work(tiny_ushapes):
    archs = networks_to_time(tiny_ushapes, 12, precision="fp32")
    work = [
        sum(count * key.flops for key, count in arch_parts(arch).items()) for arch in short_to_long(archs, "fp32", 5)
    ]
    assert work == sorted(work)
    assert work[-1] > 2 * work[0]
    assert network_record(archs[0])["widths"] == list(archs[0].shape.widths)


def test_the_anchor_stays_the_same(cells, tiny_ushapes):
    for space in (cells, tiny_ushapes):
        assert anchor_network(space).digest == anchor_network(space).digest
    assert anchor_network(cells).paths == (("ct", "ep"),)


def test_how_many_networks_identify_a_space(cells):
    keys = PartCatalogue(cells).all()
    assert networks_by_default(cells, "fp32") == 2 * len(price_terms(keys, cells)[0])
    for name in ("cardiac-small", "cardiac"):
        assert 90 <= networks_by_default(load_any_space(name), "fp32") <= 100


def test_panels_are_scales_or_the_levels_of_each_grid(cells, tiny_ushapes):
    assert panels(cells) == [("scale 0: 10x64x56", (10, 64, 56)), ("scale 1: 5x32x28", (5, 32, 28))]
    headings = [heading for heading, _ in panels(tiny_ushapes)]
    assert headings[:4] == [
        "grid 4x16x16: head",
        "grid 4x16x16, level 0: 4x8x8",
        "grid 4x16x16, level 1: 4x4x4",
        "grid 4x16x16, level 2: 2x2x2",
    ]
    assert len(headings) == 8
