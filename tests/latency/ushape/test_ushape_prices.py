"""Terms learned from networks whose true prices are known."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import kendalltau

from cinert.errors import BadInputError
from cinert.spaces import load_any_space
from latency.prices import SMALLEST_SAMPLE
from latency.ushape.design import default_ushapes, designed_ushapes, seeded_ushape
from latency.ushape.learn import learn_ushape_prices, space_terms
from latency.ushape.parts import row_keys, space_keys, ushape_parts
from latency.ushape.prices import TermPrices
from latency.ushape.terms import ROUNDINGS, Device, Rounding, amounts, term_name

BLOCKED = Device(rounding=Rounding(channels_in=1, channels_out=16))


class MadeUp:
    """A device: the price of a unit of each shared term, up to four times off the nominal, its blocks and its cache."""

    def __init__(self, space, *, device=BLOCKED, grids=0.0, seed=0):
        self.space = space
        self.terms = space_terms(space, "fp32", device)
        rng = np.random.default_rng(seed)
        shared = rng.uniform(0.3, 1.2, self.terms.shared.shape[1])
        own = 1 + grids * rng.uniform(-1, 1, len(self.terms.names))
        self.true = self.terms.shared @ shared * self.terms.nominal_ms * own
        self.keys = row_keys(space)
        alone = self.terms.matrix([{key: 1} for key in self.keys])
        # Parts alone mislead by up to a factor of two, each kind at each level in its own way.
        wrong = self.terms.shared @ rng.uniform(1.0, 2.0, self.terms.shared.shape[1])
        self.isolated_ms = alone @ (self.true * wrong)

    def ms(self, archs, noise=0.0, seed=0):
        quiet = 0.3 + self.terms.matrix([ushape_parts(arch) for arch in archs]) @ self.true
        return quiet * np.random.default_rng(seed).normal(1, noise, len(archs))

    def learn(self, archs, network_ms):
        return learn_ushape_prices(
            self.space,
            archs,
            self.keys,
            network_ms=network_ms,
            isolated_ms=self.isolated_ms,
            precision="fp32",
            overlap=1.0,
            networks=[{"digest": arch.digest} for arch in archs],
        )


def predicted(prices, archs):
    return np.array(
        [
            prices.constant_ms + sum(count * prices.terms.ms(key) for key, count in ushape_parts(arch).items())
            for arch in archs
        ]
    )


@pytest.fixture(scope="module")
def small():
    return load_any_space("cardiac-small")


@pytest.fixture(scope="module")
def archs(small):
    return designed_ushapes(small, default_ushapes(small, "fp32"), precision="fp32")


@pytest.fixture(scope="module")
def fresh(small):
    """Networks that nothing is fitted to."""
    return [seeded_ushape(small, 10**6 + seed) for seed in range(200)]


@pytest.fixture(scope="module")
def device(small):
    return MadeUp(small)


def test_networks_never_seen_are_estimated_within_three_per_cent(device, archs, fresh):
    prices = device.learn(archs, device.ms(archs, 0.015))
    guess, truth = predicted(prices, fresh), device.ms(fresh)
    error = np.abs(guess / truth - 1)
    assert error.mean() < 0.02
    assert np.mean(error <= 0.05) > 0.95
    assert error.max() < 0.10
    assert kendalltau(guess, truth).statistic > 0.97
    figures = prices.report["figures"]
    assert figures["cross_validated"]["mape"] < 0.03
    assert figures["raw_sum_of_isolated"]["mape"] > 0.2
    assert figures["condition"] > 1
    assert [record["digest"] for record in prices.report["networks"]] == [arch.digest for arch in archs]


def test_the_interval_covers_what_it_says(device, archs, fresh):
    """Over draws of noise: new networks, measured as noisily, lie in the interval nine times in ten."""
    inside = []
    for seed in range(4):
        prices = device.learn(archs, device.ms(archs, 0.02, seed))
        measured = device.ms(fresh, 0.02, 100 + seed)
        inside += list(np.abs(measured / predicted(prices, fresh) - 1) <= prices.relative_error_90)
    assert 0.84 < np.mean(inside) < 0.98


@pytest.mark.parametrize("rounding", ROUNDINGS, ids=str)
def test_what_the_engine_blocks_is_found(small, archs, rounding):
    device = MadeUp(small, device=Device(rounding=rounding))
    found = device.learn(archs, device.ms(archs, 0.01)).terms.device
    assert found.rounding == rounding
    # Nothing costs more beyond any size here, and nothing is claimed to.
    assert found.cache_mib is None


@pytest.mark.parametrize("cache_mib", [2.0, 8.0])
def test_a_cache_that_tensors_do_not_fit_into_is_found(cache_mib):
    """Elements beyond it cost 1.2 ms a million, thrice the nominal; the widest level of the largest grid has 20 MiB."""
    space = load_any_space("cardiac")
    device = MadeUp(space, device=dataclasses.replace(BLOCKED, cache_mib=cache_mib))
    device.true[device.terms.names.index("streamed")] = 1.2
    archs = designed_ushapes(space, 100, precision="fp32")
    prices = device.learn(archs, device.ms(archs, 0.01))
    assert cache_mib / 2 <= prices.terms.device.cache_mib <= cache_mib * 2
    caches = {each["cache_mib"]: each["mape"] for each in prices.report["figures"]["caches"]}
    assert min(caches, key=caches.get) == prices.terms.device.cache_mib
    fresh = [seeded_ushape(space, 10**6 + seed) for seed in range(100)]
    assert np.abs(predicted(prices, fresh) / device.ms(fresh) - 1).mean() < 0.02
    assert TermPrices.from_dict(prices.terms.to_dict(), source="terms") == prices.terms


def test_grids_share_their_terms_unless_they_clearly_differ(small, archs):
    alike, different = MadeUp(small, grids=0.0), MadeUp(small, grids=0.6)
    assert not alike.learn(archs, alike.ms(archs, 0.01)).terms.own
    prices = different.learn(archs, different.ms(archs, 0.005))
    assert prices.terms.own
    models = prices.report["figures"]["terms"]
    assert models["of each grid"]["mape"] < 0.95 * models["shared by grids"]["mape"]


def test_outliers_of_a_busy_machine_do_little(device, archs, fresh):
    """One network in ten is timed 30 to 80 % too long."""
    rng = np.random.default_rng(3)
    slowed = np.where(rng.random(len(archs)) < 0.1, rng.uniform(1.3, 1.8, len(archs)), 1.0)
    assert (slowed > 1).sum() >= 5
    prices = device.learn(archs, device.ms(archs, 0.01) * slowed)
    assert np.abs(predicted(prices, fresh) / device.ms(fresh) - 1).mean() < 0.03


def test_standard_errors_cover_the_truth(device, archs):
    """Prices of rows lie within two standard errors of the truth about as often as normal ones do."""
    alone = device.terms.matrix([{key: 1} for key in device.keys])
    truth, inside = alone @ device.true, []
    for seed in range(6):
        found = device.learn(archs, device.ms(archs, 0.02, seed)).parts
        for key, ms in zip(device.keys, truth, strict=True):
            price = found[key.label]
            if price.from_networks > 0.98:
                inside.append(abs(price.ms - ms) <= 2 * price.error_ms)
    assert len(inside) > 50
    assert 0.8 < np.mean(inside) <= 1.0


def test_terms_that_no_network_tells_keep_what_the_parts_alone_say(device, archs):
    """On one grid alone, the terms of the others come from what they share with it."""
    on_one = [arch for arch in archs if arch.grid_number == 1]
    prices = device.learn(on_one, device.ms(on_one, 0.005))
    others = [dataclasses.replace(arch, grid_number=0) for arch in on_one]
    assert np.abs(predicted(prices, others) / device.ms(others) - 1).mean() < 0.03


def test_prices_are_written_and_read(device, archs):
    prices = device.learn(archs[:40], device.ms(archs[:40], 0.01))
    again = TermPrices.from_dict(prices.terms.to_dict(), source="terms")
    assert again == prices.terms
    assert all(again.ms(key) is not None for key in space_keys(device.space)[::50])
    assert all(price.ms >= 0 and price.error_ms >= 0 for price in prices.parts.values())


@pytest.mark.parametrize("number", [SMALLEST_SAMPLE, SMALLEST_SAMPLE + 2])
def test_the_smallest_sample_is_enough(device, archs, number):
    prices = device.learn(archs[:number], device.ms(archs[:number]))
    assert all(record["held_out_ms"] > 0 for record in prices.report["networks"])


def test_too_few_networks(device, archs):
    with pytest.raises(BadInputError, match="5 networks cannot identify prices"):
        device.learn(archs[:5], device.ms(archs[:5]))


def test_amounts_by_hand(small):
    """At 10 x 40 x 40: 16000 voxels; 20 channels in, 24 out, in blocks of 16."""
    key = next(
        key
        for key in space_keys(small)
        if (key.kind, key.kernel, key.shape_out) == ("conv", (1, 3, 3), (10, 40, 40))
        and (key.channels_in, key.channels_out) == (20, 20)
    )
    found = amounts(key, BLOCKED)
    assert found["part"] == 1
    assert found["memory"] == pytest.approx(16000 * 40 / 1e6)
    # Two rows and two columns of 40 lie half outside: (3 x 40 - 2)^2 taps of (3 x 40)^2.
    assert found["arithmetic"] == pytest.approx(16000 * 20 * 32 * 9 / 1e9 * (118 / 120) ** 2)
    assert "streamed" not in found
    # 20 channels of 16000 voxels are 1.22 MiB: beyond 1 MiB lie 57856 elements, going in and coming out.
    cached = dataclasses.replace(BLOCKED, cache_mib=1.0)
    assert amounts(key, cached)["streamed"] == pytest.approx(2 * (320000 - 2**18) / 1e6)
    half = dataclasses.replace(key, precision="fp16")
    assert amounts(half, cached)["streamed"] == 0
    assert term_name(key, "streamed") == "streamed"
    assert term_name(key, "arithmetic") == "conv 1x3x3 10x40x40: arithmetic"
    assert term_name(key, "memory") == "conv 10x40x40: memory"
    assert term_name(key, "arithmetic", 0) == "conv 1x3x3 level 0: arithmetic"


def test_designed_networks_are_distinct_and_reach_the_ends_of_the_space(small, archs):
    assert len({arch.digest for arch in archs}) == len(archs)
    assert {arch.grid_number for arch in archs} == {0, 1, 2}
    assert designed_ushapes(small, len(archs), precision="fp32")[7].digest == archs[7].digest
    ms = MadeUp(small).ms(archs)
    plain = MadeUp(small).ms([seeded_ushape(small, seed) for seed in range(100)])
    assert ms.min() < np.quantile(plain, 0.05)
    assert ms.max() > np.quantile(plain, 0.95)
