"""Estimates by hand, under both rules of composition, with and without a calibration."""

import dataclasses

import pytest

from cinert.arch import Arch, NodeEdge
from cinert.sampling import random_arch
from latency.calibration import GROUP_NAMES, Calibration
from latency.composition import RULES
from latency.estimate import estimate, estimate_groups, estimate_record

CELL = ((NodeEdge(0, "conv"),), (), (NodeEdge(0, "identity"),))
# Preprocessing, a convolution and a copy; the empty node costs nothing.
DOWN, UP, FLAT = (0.7 + 4.0 + 0.1) * 0.25, 0.9 + 4.0 + 0.1, 0.6 + 4.0 + 0.1
JOIN, ADD = 0.3, 0.2
ENDS = 0.25 + 1.0 + 0.5
"""The constant, the stem and the head."""


@pytest.fixture
def arch(two_layers):
    """Two paths that meet at the end: down and up, or flat and on by a skip edge."""
    return Arch(space=two_layers, cells=dict.fromkeys(("ct", "ns", "ep"), CELL), paths=(("ct", "ep"), ("ns", "skip")))


def with_rule(lut, rule):
    return dataclasses.replace(lut, prices=dataclasses.replace(lut.prices, composition=rule))


def calibrated(lut, *, overlap=None, relative_error_90=0.05, **factors):
    calibration = Calibration(
        lut=lut.uncalibrated_id,
        factors={**dict.fromkeys(GROUP_NAMES, 1.0), **factors},
        relative_error_90=relative_error_90,
        overlap=overlap,
        networks=(),
    )
    return dataclasses.replace(lut, calibration=calibration)


def test_everything_adds_up(arch, lut):
    """The coarse vertex is joined once; where the paths meet two nodes are added and joined."""
    result = estimate(arch, lut)
    assert result.ms == pytest.approx(ENDS + DOWN + JOIN * 0.25 + UP + FLAT + 2 * ADD + JOIN)


def test_the_longest_path_counts_alone(arch, lut):
    """Down and up take 6.3 ms, flat and on 4.7 ms: side by side."""
    result = estimate(arch, with_rule(lut, "critical path"))
    assert result.ms == pytest.approx(ENDS + DOWN + JOIN * 0.25 + UP + 2 * ADD + JOIN)
    assert not any(label.startswith("pre.ns") for label in result.parts)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(6))
def test_parts_and_groups_sum_to_the_estimate(two_layers, lut, rule, seed):
    arch, chosen = random_arch(two_layers, seed, paths=3), with_rule(lut, rule)
    assert sum(estimate(arch, chosen).parts.values()) == pytest.approx(estimate(arch, chosen).ms, rel=1e-12)
    corrected = calibrated(chosen, convolution=1.2, glue=0.8, ends=1.1)
    assert sum(estimate(arch, corrected).parts.values()) == pytest.approx(estimate(arch, corrected).ms, rel=1e-12)
    # Groups are of the prices before their correction: it is fitted to them.
    assert sum(estimate_groups(arch, corrected).values()) == pytest.approx(estimate(arch, chosen).ms, rel=1e-12)


def test_each_group_is_scaled_by_its_factor(arch, lut):
    groups = estimate_groups(arch, lut)
    assert groups == pytest.approx(
        {
            "convolution": 4.0 * 2.25,
            "light": 0.1 * 2.25,
            "transition": 0.7 * 0.25 + 0.9 + 0.6,
            "glue": JOIN * 1.25 + 2 * ADD,
            "ends": ENDS,
        }
    )
    factors = {"convolution": 1.1, "light": 0.9, "transition": 1.3, "glue": 0.5, "ends": 1.2}
    expected = sum(factors[name] * groups[name] for name in GROUP_NAMES)
    assert estimate(arch, calibrated(lut, **factors)).ms == pytest.approx(expected)


def test_a_correction_can_make_another_path_the_longest(arch, lut):
    """A flat transition of 3 ms: 7.1 ms against 6.275. At half the price of transitions 5.6 ms against 5.7375."""
    parts = {
        label: dataclasses.replace(price, ms=3.0) if price.key.kind == "pre.ns" else price
        for label, price in lut.prices.parts.items()
    }
    dear = dataclasses.replace(lut, prices=dataclasses.replace(lut.prices, parts=parts, composition="critical path"))
    rest = ENDS + 2 * ADD + JOIN
    assert estimate(arch, dear).ms == pytest.approx(rest + 3.0 + 4.1)
    assert estimate(arch, calibrated(dear, transition=0.5)).ms == pytest.approx(rest + 5.7375)


def test_interval_load_and_throughput(arch, lut):
    result = estimate(arch, lut)
    assert (result.low_ms, result.high_ms) == pytest.approx((0.9 * result.ms, 1.1 * result.ms))
    assert result.throughput_fps == pytest.approx(1000 * 1.2 / result.ms)
    assert (result.p50_ms, result.p99_ms) == pytest.approx((1.05 * result.ms, 1.5 * result.ms))
    corrected = estimate(arch, calibrated(lut))
    assert (corrected.low_ms, corrected.high_ms) == pytest.approx((0.95 * result.ms, 1.05 * result.ms))
    # No rate was measured while calibrating: that of the short networks stays.
    assert corrected.throughput_fps == result.throughput_fps
    assert estimate(arch, calibrated(lut, overlap=1.5)).throughput_fps == pytest.approx(1000 * 1.5 / result.ms)
    assert estimate(arch, calibrated(lut, relative_error_90=1.5)).low_ms == 0


def test_the_record_names_the_table_and_its_correction(arch, lut):
    record = estimate_record(arch, calibrated(lut, ends=1.1))
    assert record["lut"] == calibrated(lut, ends=1.1).id != lut.id
    assert {"ms", "low_ms", "high_ms", "p50_ms", "p99_ms", "throughput_fps", "device"} < set(record)
