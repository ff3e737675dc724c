"""A small space of U-shaped networks, and a LUT of it with made-up terms, so that expected values can be worked out."""

from __future__ import annotations

import dataclasses

import pytest

from cinert.backends import get_backend
from cinert.environment import fingerprint
from cinert.spaces import load_any_space
from cinert.ushape.space import Grid
from latency.load_factor import LoadFactor
from latency.lut import Lut, Row
from latency.lut_prices import Price, Prices
from latency.ushape.learn import space_terms
from latency.ushape.parts import row_keys
from latency.ushape.prices import Term, TermPrices
from latency.ushape.terms import Rounding

TIMES = ("quiet_ms", "p50_ms", "p90_ms", "p99_ms", "mean_ms")


@pytest.fixture(scope="session")
def tiny():
    """Two grids, three levels; every block, strided reductions and sums, so that every kind of part occurs."""
    return dataclasses.replace(
        load_any_space("cardiac-small"),
        name="tiny",
        grids=tuple(Grid(shape_DHW=(4, size, size), spacing_mm=(10.0, 2.0, 2.0)) for size in (16, 24)),
        strides=((1, 2, 2), (2, 2, 2)),
        widths=((4, 6), (6, 8, 10), (8, 12)),
        blocks=(("inplane", "inplane-separable"), ("inplane-dilated", "pseudo3d", "separable"), ("conv", "inplane")),
        encoder_depths=((0, 1, 2), (1, 2), (1, 2)),
        decoder_depths=((1, 2), (1, 2)),
    )


@pytest.fixture(scope="session")
def summed(tiny):
    """The same with strided reductions, sums for concatenations, and residual levels."""
    return dataclasses.replace(tiny, name="summed", down="strided", join="add", residual=True)


@pytest.fixture(scope="session")
def made_up_terms():
    """A LUT of a space whose n-th term costs 0.001 n ms, and which is 4 channels blocked."""

    def make(space):
        names = space_terms(space).names
        terms = {
            name: Term(ms=0.001 * (number + 1), error_ms=1e-4, from_networks=0.5) for number, name in enumerate(names)
        }
        prices = TermPrices(rounding=Rounding(channels_in=1, channels_out=4), own=True, terms=terms)
        keys = row_keys(space)
        timing = {"spread": 0.0, "std_ms": 0.0, "n": 9, "noisy": False}
        return Lut(
            space=space,
            fingerprint=fingerprint(get_backend("ort"), device="cpu", threads=1, precision="fp32"),
            protocol={},
            rows=tuple(Row(key=key, timing=dict.fromkeys(TIMES, 2 * (prices.ms(key) or 0)) | timing) for key in keys),
            prices=Prices(
                constant_ms=0.25,
                parts={
                    key.label: Price(key=key, ms=prices.ms(key) or 0, error_ms=0.01, networks=5, from_networks=0.9)
                    for key in keys
                },
                composition="sum",
                relative_error_90=0.1,
                overlap=1.2,
                terms=prices,
                report={"figures": {}, "networks": []},
            ),
            load=LoadFactor(p50=1.05, p50_interval=(1.0, 1.1), p99=1.5, p99_interval=(1.4, 1.6), disturbed=0.1),
            created="2026-11-30T00:00:00+00:00",
        )

    return make
