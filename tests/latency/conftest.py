"""A LUT with made-up prices, so that expected values can be worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest

from cinert.spaces import load_space
from latency.lut import Row
from latency.parts import PartCatalogue


@pytest.fixture(scope="session")
def two_layers():
    """Two layers, two scales: the smallest space that has every kind of edge."""
    demo = load_space("demo")
    return dataclasses.replace(demo, name="two", layers=2, strides=demo.strides[:1], widths=(8, 16))


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
def lut(made_up_lut, two_layers, prices):
    """With rows: a part alone takes twice its price."""
    timing = {"spread": 0.0, **dict.fromkeys(("p50_ms", "p90_ms", "p99_ms", "mean_ms"), 1.0)}
    timing |= {"std_ms": 0.0, "n": 9, "noisy": False}
    keys = PartCatalogue(two_layers).all()
    rows = tuple(Row(key=key, timing={"quiet_ms": 2 * prices(key), **timing}) for key in keys)
    return dataclasses.replace(made_up_lut(two_layers, prices), rows=rows)
