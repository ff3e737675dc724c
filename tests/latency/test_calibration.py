"""The correction from full-size networks: found again in a simulation, refused where it cannot be one."""

import dataclasses
import json

import numpy as np
import pytest

from cinert.errors import BadInputError
from cinert.op_registry import BUILT_IN
from cinert.sampling import random_arch
from latency.calibration import (
    GROUP_NAMES,
    GROUPS,
    SMALLEST_CALIBRATION,
    CalibrationNetwork,
    fit_calibration,
    group_ms,
    group_of,
)
from latency.estimate import estimate, estimate_groups
from latency.lut import check_calibration, load_lut, save_lut
from latency.parts import PartCatalogue

TRUE = {"convolution": 1.1, "light": 0.8, "transition": 1.3, "glue": 0.6, "ends": 1.0}


def networks(lut, number, *, factors=TRUE, noise=0.0, fps=None):
    """Networks of the LUT's space, as if measured on a device on which the factors hold."""
    rng = np.random.default_rng(1)
    found = []
    for seed in range(number):
        arch = random_arch(lut.space, seed)
        groups = estimate_groups(arch, lut)
        ms = sum(factors[name] * groups[name] for name in GROUP_NAMES) * rng.normal(1, noise)
        rate = None if fps is None else fps * 1000 / ms
        found.append(
            CalibrationNetwork(name=arch.digest, source="bench-model", group_ms=groups, measured_ms=ms, fps=rate)
        )
    return found


@pytest.fixture
def calibrated(lut):
    return dataclasses.replace(lut, calibration=fit_calibration(networks(lut, 20), lut=lut.uncalibrated_id))


def test_every_kind_of_part_has_a_group(lut):
    kinds = {key.kind for key in PartCatalogue(lut.space).all()} | {"constant"}
    assert kinds == {*GROUPS, *BUILT_IN}
    assert {group_of(kind) for kind in kinds} == set(GROUP_NAMES)
    assert group_ms([("conv", 2.0), ("dilated", 3.0), ("merge", 0.5)], 0.25) == {
        "convolution": 5.0,
        "light": 0.0,
        "transition": 0.0,
        "glue": 0.5,
        "ends": 0.25,
    }


def test_factors_are_found_again(lut):
    found = fit_calibration(networks(lut, 60), lut=lut.id)
    assert found.factors == pytest.approx(TRUE, abs=0.04)
    assert found.relative_error_90 < 0.01


def test_noise_is_in_the_interval_not_in_the_factors(lut):
    found = fit_calibration(networks(lut, 200, noise=0.02), lut=lut.id)
    # The groups that make up most of a network are known best.
    assert found.factors["convolution"] == pytest.approx(TRUE["convolution"], abs=0.03)
    # Ninety per cent of a normal distribution lie within 1.64 standard deviations.
    assert found.relative_error_90 == pytest.approx(1.64 * 0.02, rel=0.25)


def test_what_is_right_already_is_left_alone(lut):
    found = fit_calibration(networks(lut, 30, factors=dict.fromkeys(GROUP_NAMES, 1.0)), lut=lut.id)
    assert found.factors == pytest.approx(dict.fromkeys(GROUP_NAMES, 1.0), abs=1e-6)


def test_factors_are_bounded(lut):
    found = fit_calibration(networks(lut, 30, factors=dict.fromkeys(GROUP_NAMES, 5.0)), lut=lut.id)
    assert max(found.factors.values()) <= 2.0


def test_a_corrected_table_tells_what_was_measured(lut, calibrated):
    """On networks that it was not fitted to."""
    rows = networks(lut, 40)[20:]
    archs = [random_arch(lut.space, seed) for seed in range(20, 40)]

    def errors(table):
        return [abs(estimate(arch, table).ms / row.measured_ms - 1) for arch, row in zip(archs, rows, strict=True)]

    assert max(errors(calibrated)) < 0.02
    assert np.mean(errors(lut)) > 0.03


def test_the_interval_is_of_the_networks_that_nobody_chose(lut):
    """Extreme networks miss by 30 %, the fair sample by nothing."""
    fair = networks(lut, 20, factors=dict.fromkeys(GROUP_NAMES, 1.0))
    extreme = [
        dataclasses.replace(network, measured_ms=network.measured_ms * (0.7 if number % 2 else 1.3), chosen=True)
        for number, network in enumerate(fair[:10])
    ]
    found = fit_calibration([*fair, *extreme], lut=lut.id)
    unaware = fit_calibration([dataclasses.replace(each, chosen=False) for each in found.networks], lut=lut.id)
    assert found.relative_error_90 < 0.5 * unaware.relative_error_90


def test_throughput_is_the_median_of_what_was_measured(lut):
    assert fit_calibration(networks(lut, 10), lut=lut.id).overlap is None
    rows = networks(lut, 10, fps=1.4)
    assert fit_calibration([*rows, *networks(lut, 5)], lut=lut.id).overlap == pytest.approx(1.4)


@pytest.mark.parametrize("number", [0, 5, SMALLEST_CALIBRATION - 1])
def test_too_few_networks(lut, number):
    with pytest.raises(BadInputError, match=f"{number} networks cannot calibrate a LUT") as error:
        fit_calibration(networks(lut, number), lut=lut.id)
    assert f"at least {SMALLEST_CALIBRATION}" in error.value.hint
    assert fit_calibration(networks(lut, SMALLEST_CALIBRATION), lut=lut.id).networks


def test_reads_back_what_it_writes(calibrated, tmp_path):
    save_lut(tmp_path / "lut.json", calibrated)
    again = load_lut(tmp_path / "lut.json")
    assert again.calibration == calibrated.calibration
    assert again.id == calibrated.id
    arch = random_arch(calibrated.space, 0)
    assert estimate(arch, again) == estimate(arch, calibrated)


def test_the_id_tells_a_corrected_table_from_a_plain_one(lut, calibrated):
    assert lut.id == lut.uncalibrated_id == calibrated.uncalibrated_id
    assert calibrated.id != lut.id
    again = dataclasses.replace(lut, calibration=fit_calibration(networks(lut, 21), lut=lut.uncalibrated_id))
    assert again.id not in {lut.id, calibrated.id}


def test_the_calibration_of_another_table_is_refused(lut, calibrated):
    other = dataclasses.replace(lut, prices=dataclasses.replace(lut.prices, constant_ms=0.26))
    check_calibration(lut, calibrated.calibration, source="calibration.json")
    check_calibration(other, None, source="calibration.json")
    with pytest.raises(BadInputError, match=r"calibration\.json: the calibration belongs to LUT") as error:
        check_calibration(other, calibrated.calibration, source="calibration.json")
    assert lut.id in str(error.value)
    assert other.id in str(error.value)
    assert "measured again since" in error.value.hint


def price(document):
    document["prices"]["parts"][0]["ms"] *= 2


def row(document):
    document["rows"][0]["quiet_ms"] *= 2


def device(document):
    document["fingerprint"]["device"]["name"] = "Bedside CPU"


@pytest.mark.parametrize("change", [price, row, device])
def test_a_table_that_changed_under_its_calibration_is_refused(calibrated, tmp_path, change):
    path = tmp_path / "lut.json"
    save_lut(path, calibrated)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(BadInputError, match="the calibration belongs to LUT") as error:
        load_lut(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (["factors", "glue"], float("nan"), "factors.glue is nan"),
        (["factors", "glue"], -0.5, "factors.glue is -0.5"),
        (["factors", "glue"], "much", "factors.glue is 'much'"),
        (["factors", "rubber"], 1.0, "unknown key rubber"),
        (["relative_error_90"], float("inf"), "relative_error_90 is inf"),
        (["overlap"], -1.0, "overlap is -1.0"),
        (["networks", 3, "measured_ms"], float("nan"), "measured_ms is nan"),
        (["networks", 3, "group_ms", "ends"], -1.0, "ends is -1.0"),
        (["networks", 3, "fps"], True, "fps is True"),
        (["networks", 3, "colour"], "red", "unknown key colour"),
    ],
)
def test_impossible_numbers_are_refused(calibrated, tmp_path, place, value, says):
    path = tmp_path / "lut.json"
    save_lut(path, calibrated)
    document = json.loads(path.read_text())
    item = document["calibration"]
    for step in place[:-1]:
        item = item[step]
    item[place[-1]] = value
    path.write_text(json.dumps(document))
    with pytest.raises(BadInputError) as error:
        load_lut(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)
