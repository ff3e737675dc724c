"""Prices as sums of terms: every part has some, and they give back prices that are made of them."""

import numpy as np
import pytest

from cinert.space import PRESETS
from cinert.spaces import load_space
from latency.parts import PartCatalogue
from latency.terms import price_terms, terms_of


@pytest.fixture(params=PRESETS)
def parts(request):
    space = load_space(request.param)
    keys = PartCatalogue(space).all()
    return keys, *price_terms(keys, space)


def test_every_part_has_a_term_and_every_term_a_part(parts):
    keys, names, basis = parts
    assert basis.shape == (len(keys), len(names))
    assert len(set(names)) == len(names) < len(keys)
    assert (basis >= 0).all()
    assert (basis.sum(axis=1) > 0).all()
    assert (basis.sum(axis=0) > 0).all()


def test_prices_that_are_made_of_terms_are_given_back(parts):
    _, names, basis = parts
    terms = np.random.default_rng(0).uniform(0.1, 2.0, len(names))
    np.testing.assert_allclose(basis @ terms_of(basis @ terms, basis), basis @ terms, rtol=1e-9)


def test_by_hand():
    """A preprocessing costs a base and so much a node, a concatenation so much a node, an op what it costs."""
    space = load_space("demo")
    catalogue = PartCatalogue(space)
    keys = [catalogue.preprocessing("ct", 0, nodes) for nodes in (1, 2, 3)]
    keys += [catalogue.concatenation(1, nodes) for nodes in (2, 3)]
    keys += [catalogue.head(2), catalogue.op("conv", 0), catalogue.op("conv", 1)]
    names, basis = price_terms(keys, space)
    assert names == [
        "pre.ct 10x64x56",
        "pre.ct 10x64x56, a node",
        "concat 5x32x28, a node",
        "head 10x64x56",
        "head 10x64x56, a node",
        "conv 10x64x56",
        "conv 5x32x28",
    ]
    assert basis.tolist() == [
        [1, 1, 0, 0, 0, 0, 0],
        [1, 2, 0, 0, 0, 0, 0],
        [1, 3, 0, 0, 0, 0, 0],
        [0, 0, 2, 0, 0, 0, 0],
        [0, 0, 3, 0, 0, 0, 0],
        [0, 0, 0, 1, 2, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
    ]


def test_the_nearest_terms_are_not_negative():
    """A vertex of three nodes that is cheaper than one of one node has no price per node."""
    space = load_space("demo")
    keys = [PartCatalogue(space).preprocessing("ns", 0, nodes) for nodes in (1, 3)]
    _, basis = price_terms(keys, space)
    assert terms_of(np.array([2.0, 1.0]), basis) == pytest.approx([1.5, 0.0])
