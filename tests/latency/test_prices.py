import numpy as np
import pytest

from cinert.errors import BadInputError
from cinert.space import load_space
from latency.design import count_matrix, designed_networks
from latency.parts import PartCatalogue
from latency.prices import conformal_quantile, fit, learn_prices, predict


@pytest.fixture(scope="module")
def made_up():
    """Networks whose true prices are known, with isolated times that mislead by up to a factor of four."""
    space = load_space("demo")
    keys = PartCatalogue(space).all()
    archs = designed_networks(space, 60, precision="fp32")
    counts = count_matrix(archs, keys, "fp32")
    rng = np.random.default_rng(0)
    true = rng.uniform(0.1, 2.0, len(keys))
    isolated = true * rng.uniform(0.5, 4.0, len(keys))
    return keys, counts, true, isolated, 0.3 + counts @ true


def test_prices_in_context_beat_the_sum_of_parts_alone(made_up):
    keys, counts, _, isolated, network_ms = made_up
    noisy = network_ms * np.random.default_rng(1).normal(1, 0.01, len(network_ms))
    prices = learn_prices(keys, counts, noisy, isolated, overlap=1.0, networks=[{}] * len(noisy))
    figures = prices.report["figures"]
    assert figures["cross_validated"]["mape"] < 0.05
    assert figures["raw_sum_of_isolated"]["mape"] > 0.5
    assert all(price.ms >= 0 for price in prices.parts.values())
    assert 0 < prices.relative_error_90 < 0.15


def test_without_noise_networks_are_predicted_almost_exactly(made_up):
    _, counts, _, isolated, network_ms = made_up
    constant_ms, prices = fit(counts, network_ms, isolated)
    assert np.abs(predict(counts, constant_ms, prices) / network_ms - 1).max() < 0.02


def test_a_part_that_no_network_holds_keeps_its_scaled_isolated_time(made_up):
    _, counts, _, isolated, network_ms = made_up
    without = counts.copy()
    without[:, 4] = 0
    _, prices = fit(without, network_ms, isolated)
    scale = np.median(network_ms / (without @ isolated))
    assert prices[4] == pytest.approx(scale * isolated[4], rel=1e-6)


def test_conformal_quantile_by_hand():
    # Ten errors: the 90 % bound needs rank ceil(11 * 0.9) = 10, the largest.
    assert conformal_quantile(np.arange(1.0, 11.0)) == 10
    assert conformal_quantile(np.arange(1.0, 100.0)) == 90


def test_too_few_networks(made_up):
    keys, counts, _, isolated, network_ms = made_up
    with pytest.raises(BadInputError, match="5 networks cannot identify prices"):
        learn_prices(keys, counts[:5], network_ms[:5], isolated, overlap=1.0, networks=[{}] * 5)
