"""Prices learned from networks whose true prices are known."""

import numpy as np
import pytest

from cinert.errors import BadInputError
from cinert.spaces import load_space
from latency.breakdown import break_down, count_vector
from latency.composition import composed
from latency.design import count_matrix, designed_networks
from latency.learn import learn_prices
from latency.parts import PartCatalogue
from latency.prices import SMALLEST_SAMPLE, conformal_quantile, cross_validated, error_figures, fit
from latency.terms import price_terms


@pytest.fixture(scope="module")
def made_up():
    """Networks and true prices, with isolated times that mislead by up to a factor of four."""
    space = load_space("demo")
    keys = PartCatalogue(space).all()
    names, basis = price_terms(keys, space)
    archs = designed_networks(space, 90, precision="fp32")
    counts = count_matrix(archs, keys, "fp32")
    rng = np.random.default_rng(0)
    terms = rng.uniform(0.1, 2.0, len(names))
    true, isolated = basis @ terms, basis @ (terms * rng.uniform(0.5, 4.0, len(names)))
    return space, keys, basis, archs, counts, true, isolated, 0.3 + counts @ true


def learn(made_up, network_ms, *, number=None):
    space, keys, _, archs, _, _, isolated, _ = made_up
    return learn_prices(
        space,
        archs[:number],
        keys,
        network_ms=network_ms[:number],
        isolated_ms=isolated,
        precision="fp32",
        overlap=1.0,
        networks=[{"digest": arch.digest} for arch in archs[:number]],
    )


def noisy(network_ms, seed, share=0.01):
    return network_ms * np.random.default_rng(seed).normal(1, share, len(network_ms))


def test_prices_in_context_beat_the_sum_of_parts_alone(made_up):
    *_, archs, _, _, _, network_ms = made_up
    prices = learn(made_up, noisy(network_ms, 1))
    figures = prices.report["figures"]
    assert figures["cross_validated"]["mape"] < 0.03
    assert figures["raw_sum_of_isolated"]["mape"] > 0.5
    assert figures["condition"] > 1
    assert all(price.ms >= 0 and price.error_ms >= 0 for price in prices.parts.values())
    assert 0 < prices.relative_error_90 < 0.1
    assert [record["digest"] for record in prices.report["networks"]] == [arch.digest for arch in archs]
    # What is made of a sum is found to be one.
    assert prices.composition == "sum"


def test_networks_that_run_side_by_side_are_found_to(made_up):
    """Times of the longest path alone: the critical path predicts them, a sum does not."""
    _, keys, _, archs, _, true, _, _ = made_up
    by_key = dict(zip(keys, true, strict=True))
    longest = [count_vector(composed(break_down(arch), by_key, "critical path"), keys) for arch in archs]
    prices = learn(made_up, noisy(0.3 + np.stack(longest) @ true, 2))
    rules = prices.report["figures"]["rules"]
    assert prices.composition == "critical path"
    assert rules["critical path"]["mape"] < 0.6 * rules["sum"]["mape"]


def test_without_noise_networks_are_predicted_almost_exactly(made_up):
    _, _, basis, _, counts, _, isolated, network_ms = made_up
    found = fit(counts, network_ms, isolated, basis)
    assert np.abs(found.predict(counts) / network_ms - 1).max() < 0.02


def test_a_part_that_no_network_holds_keeps_its_scaled_isolated_time(made_up):
    _, keys, basis, _, counts, _, isolated, network_ms = made_up
    without = counts.copy()
    column = next(number for number, key in enumerate(keys) if key.kind == "maxpool")
    without[:, column] = 0
    found = fit(without, network_ms, isolated, basis)
    scale = np.median(network_ms / (without @ isolated))
    assert found.prices_ms[column] == pytest.approx(scale * isolated[column], rel=1e-6)
    assert found.from_networks[column] == pytest.approx(0.0, abs=1e-9)


def test_what_the_networks_determine_is_told(made_up):
    _, keys, basis, _, counts, _, isolated, network_ms = made_up
    found = fit(counts, noisy(network_ms, 3), isolated, basis)
    assert ((found.from_networks > -1e-9) & (found.from_networks <= 1)).all()
    # What nearly every network holds, at full resolution, is known from them.
    common = [number for number, key in enumerate(keys) if key.kind == "conv" and key.shape_in == (10, 64, 56)]
    assert (found.from_networks[common] > 0.95).all()
    # Fewer networks determine less, and their errors are larger.
    few = fit(counts[:20], noisy(network_ms, 3)[:20], isolated, basis)
    assert few.from_networks.mean() < found.from_networks.mean()
    assert few.condition > 1


def test_standard_errors_cover_the_truth(made_up):
    """Over many draws of noise a price lies within two standard errors about as often as a normal one does."""
    _, _, basis, _, counts, true, isolated, network_ms = made_up
    inside = []
    for seed in range(30):
        found = fit(counts, noisy(network_ms, seed, 0.02), isolated, basis)
        known = found.from_networks > 0.98
        assert known.sum() > 5
        inside += list(np.abs(found.prices_ms - true)[known] <= 2 * found.error_ms[known])
    assert 0.8 < np.mean(inside) <= 1.0


def test_more_noise_makes_larger_errors(made_up):
    _, _, basis, _, counts, _, isolated, network_ms = made_up
    low, high = (fit(counts, noisy(network_ms, 4, share), isolated, basis).error_ms for share in (0.01, 0.04))
    assert np.median(high / low) > 2


def test_a_network_is_predicted_without_itself(made_up):
    """An outlier is not explained by itself when it is held out."""
    _, _, basis, _, counts, _, isolated, network_ms = made_up
    spoilt = network_ms.copy()
    spoilt[7] *= 3
    predicted = cross_validated(counts, spoilt, isolated, basis, seed=0)
    assert predicted[7] == pytest.approx(network_ms[7], rel=0.3)


@pytest.mark.parametrize("number", [SMALLEST_SAMPLE, SMALLEST_SAMPLE + 2])
def test_the_smallest_sample_is_enough(made_up, number):
    prices = learn(made_up, made_up[-1], number=number)
    assert len(prices.report["networks"]) == number
    assert all(record["held_out_ms"] > 0 for record in prices.report["networks"])


def test_figures_by_hand():
    figures = error_figures(np.array([1.04, 0.92, 2.4]), np.array([1.0, 1.0, 2.0]))
    assert figures == pytest.approx(
        {"within_5": 1 / 3, "within_10": 2 / 3, "mape": 0.32 / 3, "bias": 0.16 / 3, "worst": 0.2}
    )


def test_conformal_quantile_by_hand():
    # Ten errors: the 90 % bound needs rank ceil(11 * 0.9) = 10, the largest.
    assert conformal_quantile(np.arange(1.0, 11.0)) == 10
    assert conformal_quantile(np.arange(1.0, 100.0)) == 90


def test_too_few_networks(made_up):
    with pytest.raises(BadInputError, match="5 networks cannot identify prices"):
        learn(made_up, made_up[-1], number=5)
