"""The fast estimate is the estimate."""

import dataclasses

import pytest

from cinert.errors import BadInputError
from cinert.spaces import load_any_space
from latency.calibration import GROUP_NAMES, USHAPE_GROUPS, Calibration, group_of
from latency.estimate import estimate, estimate_groups
from latency.lut import load_lut, save_lut
from latency.ushape.design import seeded_ushape
from latency.ushape.parts import grid_parts, space_keys, ushape_parts
from latency.ushape.pricer import UShapePricer


def calibrated(lut, **factors):
    calibration = Calibration(
        lut=lut.uncalibrated_id,
        factors={**dict.fromkeys(GROUP_NAMES, 1.0), **factors},
        relative_error_90=0.05,
        overlap=None,
        networks=(),
    )
    return dataclasses.replace(lut, calibration=calibration)


FACTORS = {"convolution": 1.1, "light": 0.9, "transition": 1.3, "glue": 0.5, "ends": 1.2}


@pytest.mark.parametrize("name", ["tiny", "summed", "refined"])
@pytest.mark.parametrize("factors", [None, FACTORS], ids=["prices", "calibrated"])
def test_it_equals_the_estimate_of_every_network(request, made_up_terms, name, factors):
    space = request.getfixturevalue(name)
    lut = made_up_terms(space)
    lut = lut if factors is None else calibrated(lut, **factors)
    pricer = UShapePricer(space, lut)
    # Twice, so that what is remembered is asked too.
    for seed in [*range(60), *range(60)]:
        arch = seeded_ushape(space, seed)
        expected = estimate(arch, lut)
        assert pricer.ms(arch) == pytest.approx(expected.ms, rel=1e-12)
        assert pricer.upper_ms(arch) == pytest.approx(expected.high_ms, rel=1e-12)
        assert pricer.shape_ms(arch.shape, arch.grid_number) == pricer.ms(arch)
        assert sum(expected.parts.values()) == pytest.approx(expected.ms, rel=1e-12)


def test_a_network_by_hand(tiny, made_up_terms):
    """A part costs its share, and so much for its elements and products: the n-th term costs n thousandths of a ms."""
    lut = made_up_terms(tiny)
    parts, terms = grid_parts(tiny)[0], lut.prices.terms.terms
    key = parts.enlarging(0, 8, 6)
    voxels = 4 * 8 * 8
    expected = terms["part"].ms + terms["enlarge 1x2x2 4x8x8: memory"].ms * (voxels / 4 * 8 + voxels * 6) / 1e6
    # 6 channels out are computed as 8, in blocks of 4.
    expected += terms["enlarge 1x2x2 4x8x8: arithmetic"].ms * voxels * 8 * 8 / 1e9
    assert lut.price_ms([key]) == {key: pytest.approx(expected)}
    light = parts.joining(0, 6)
    expected = terms["part"].ms + terms["concat 1x1x1 4x8x8: memory"].ms * 2 * voxels * 12 / 1e6
    assert lut.price_ms([light]) == {light: pytest.approx(expected)}


@pytest.mark.parametrize("name", ["tiny", "summed"])
def test_every_kind_of_part_has_a_group(request, name):
    kinds = {key.kind for key in space_keys(request.getfixturevalue(name))}
    assert set(USHAPE_GROUPS) - kinds == ({"strided"} if name == "tiny" else {"pool"})
    assert {group_of(kind) for kind in kinds} == set(GROUP_NAMES)


def test_groups_sum_to_the_uncorrected_estimate(tiny, made_up_terms):
    lut, arch = made_up_terms(tiny), seeded_ushape(tiny, 5)
    groups = estimate_groups(arch, calibrated(lut, **FACTORS))
    assert sum(groups.values()) == pytest.approx(estimate(arch, lut).ms)
    corrected = sum(FACTORS[name] * groups[name] for name in GROUP_NAMES)
    assert estimate(arch, calibrated(lut, **FACTORS)).ms == pytest.approx(corrected)


def test_what_the_space_of_the_lut_does_not_offer_is_an_error_that_lists_it(tiny, made_up_terms, tmp_path):
    save_lut(tmp_path / "lut.json", made_up_terms(tiny))
    lut = load_lut(tmp_path / "lut.json")
    wider = dataclasses.replace(tiny, widths=((4, 5), *tiny.widths[1:]))
    arch = next(each for each in (seeded_ushape(wider, seed) for seed in range(9)) if each.shape.widths[0] == 5)
    for ask in (lambda: UShapePricer(wider, lut).ms(arch), lambda: estimate(arch, lut)):
        with pytest.raises(BadInputError, match=r"lacks \d+ parts") as error:
            ask()
        assert "1-5 4x" in str(error.value)
        assert str(tmp_path) in str(error.value)
        assert "bench-ops" in (error.value.hint or "")
    # Nothing was remembered of what failed, and what is offered is priced.
    pricer = UShapePricer(wider, lut)
    with pytest.raises(BadInputError):
        pricer.ms(arch)
    with pytest.raises(BadInputError):
        pricer.ms(arch)
    fits = next(each for each in (seeded_ushape(wider, seed) for seed in range(9)) if each.shape.widths[0] == 4)
    assert pricer.ms(fits) > 0


def test_a_grid_that_the_lut_does_not_know_is_an_error(tiny, made_up_terms):
    lut = made_up_terms(dataclasses.replace(tiny, grids=tiny.grids[:1]))
    arch = next(each for each in (seeded_ushape(tiny, seed) for seed in range(9)) if each.grid_number == 1)
    with pytest.raises(BadInputError, match=f"lacks {len(ushape_parts(arch))} parts"):
        UShapePricer(tiny, lut).ms(arch)


def test_networks_of_another_space_are_refused(tiny, summed, made_up_terms):
    with pytest.raises(BadInputError, match=f"of space summed {summed.digest}, and prices were asked for space tiny"):
        UShapePricer(tiny, made_up_terms(tiny)).ms(seeded_ushape(summed, 0))


def test_a_lut_of_cells_prices_no_u_shape(made_up_lut):
    from cinert.spaces import load_space

    cells = made_up_lut(load_space("demo"), lambda key: 1.0)
    arch = seeded_ushape(load_any_space("cardiac-small"), 0)
    with pytest.raises(BadInputError, match=r"lacks \d+ parts"):
        estimate(arch, cells)
    with pytest.raises(BadInputError, match=r"lacks \d+ parts"):
        UShapePricer(arch.space, cells).ms(arch)
