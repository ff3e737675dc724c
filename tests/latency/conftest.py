"""A LUT with made-up prices, so that expected values can be worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest

from cinert.backends import get_backend
from cinert.environment import fingerprint
from cinert.space import load_space
from latency.load_factor import LoadFactor
from latency.lut import Lut, Row
from latency.lut_prices import Price, Prices
from latency.parts import PartCatalogue


@pytest.fixture(scope="session")
def two_layers():
    """Two layers, two scales: the smallest space that has every kind of edge."""
    demo = load_space("demo")
    return dataclasses.replace(demo, name="two", layers=2, strides=demo.strides[:1], widths=(8, 16))


def make_lut(space, price_of, *, relative_error_90=0.1, overlap=1.2, constant_ms=0.25):
    keys = PartCatalogue(space).all()
    timing = {"spread": 0.0, **dict.fromkeys(("p50_ms", "p90_ms", "p99_ms", "mean_ms"), 1.0)}
    timing |= {"std_ms": 0.0, "n": 9, "noisy": False}
    return Lut(
        space=space,
        fingerprint=fingerprint(get_backend("ort"), device="cpu", threads=1, precision="fp32"),
        protocol={},
        rows=tuple(Row(key=key, timing={"quiet_ms": 2 * price_of(key), **timing}) for key in keys),
        prices=Prices(
            constant_ms=constant_ms,
            parts={
                key.label: Price(key=key, ms=price_of(key), error_ms=0.01, networks=5, from_networks=0.9)
                for key in keys
            },
            composition="sum",
            relative_error_90=relative_error_90,
            overlap=overlap,
            report={"figures": {}, "networks": []},
        ),
        load=LoadFactor(p50=1.05, p50_interval=(1.0, 1.1), p99=1.5, p99_interval=(1.4, 1.6), disturbed=0.1),
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
