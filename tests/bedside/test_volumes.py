"""Volumes, ejection fractions and mass, by hand and by their laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.volumes import ejection_fraction_percent, ejection_words, function, volumes_ml
from cinert.data.nifti import Geometry

deterministic = settings(derandomize=True, deadline=None, database=None)
millilitres = st.floats(1e-3, 1e3)


def test_volumes_by_hand() -> None:
    mask = np.zeros((4, 4, 4, 2), np.uint8)
    mask[:2, 0, 0, 0], mask[0, 0, 0, 1], mask[:, 3, 3, 0] = 3, 3, 1
    geometry = Geometry((4, 4, 4), np.diag([-2.0, 2.5, 10.0, 1.0]))

    volumes = volumes_ml(mask, geometry)

    assert list(volumes) == ["rv", "myo", "lv"]
    np.testing.assert_allclose(list(volumes.values()), [[0.2, 0.0], [0.0, 0.0], [0.1, 0.05]])


def test_both_ventricles_are_read_in_the_phases_of_the_lv() -> None:
    report = function({"rv": [90.0, 120.0, 60.0], "myo": [80.0, 1.0, 1.0], "lv": [100.0, 80.0, 40.0]})

    assert (report["ed_phase"], report["es_phase"]) == (0, 2)
    assert report["lv"] == {"edv_ml": 100.0, "esv_ml": 40.0, "sv_ml": 60.0, "ef_percent": 60.0}
    assert report["rv"]["ef_percent"] == pytest.approx(100 * 30 / 90)
    assert report["myo_mass_g"] == pytest.approx(84)


@pytest.mark.parametrize("esv", [0.0, 50.0], ids=["never found", "lost at end diastole"])
def test_a_ventricle_that_vanishes_has_no_ejection_fraction(esv: float) -> None:
    """RV at end diastole is 0; the LV is lost at end systole, and 100 % would pass for a strong heart."""
    report = function({"rv": [0.0, esv], "myo": [0.0, 0.0], "lv": [100.0, 0.0]})

    assert report["lv"]["ef_percent"] is None
    assert report["lv"]["sv_ml"] == 100.0
    assert report["rv"]["ef_percent"] is None


@pytest.mark.parametrize(("edv", "esv"), [(5.0, 78.1), (100.0, 100.4), (1e-3, 1e3)])
def test_a_ventricle_that_is_larger_at_end_systole_has_no_ejection_fraction(edv: float, esv: float) -> None:
    """-1462 % is no heart, and -0 % is no number."""
    report = function({"rv": [edv, esv], "myo": [80.0, 80.0], "lv": [100.0, 40.0]})

    assert ejection_fraction_percent(edv, esv) is None
    assert report["rv"]["ef_percent"] is None
    assert ejection_words("rv", report, {"rv": [edv, esv]}) == "no EF, larger at ES"
    assert ejection_words("lv", report, {"lv": [100.0, 40.0]}) == "EF 60 %"


def test_phases_that_hardly_differ() -> None:
    volumes = {"rv": [90.0, 90.0], "myo": [80.0, 80.0], "lv": [100.0, 99.9]}
    report = function(volumes)

    assert [ejection_words(name, report, volumes) for name in ("lv", "rv")] == ["EF 0 %", "EF 0 %"]


def test_one_phase_has_no_ejection_fraction() -> None:
    volumes = {"rv": [90.0], "myo": [80.0], "lv": [86.0]}
    report = function(volumes)

    assert report["lv"] == {"edv_ml": 86.0, "esv_ml": 86.0, "sv_ml": 0.0, "ef_percent": None}
    assert [ejection_words(name, report, volumes) for name in ("lv", "rv")] == ["no EF, one phase"] * 2


@deterministic
@given(edv=millilitres, share=st.floats(1e-3, 1))
def test_a_ventricle_that_shrinks_ejects_between_nothing_and_everything(edv: float, share: float) -> None:
    percent = ejection_fraction_percent(edv, edv * share)

    assert percent is not None
    assert 0 <= percent <= 100
    assert percent == pytest.approx(100 * (1 - share), abs=1e-9)


@deterministic
@given(edv=millilitres, esv=millilitres, factor=st.floats(0.1, 10))
def test_ejection_fraction_does_not_depend_on_the_hearts_size(edv: float, esv: float, factor: float) -> None:
    assert ejection_fraction_percent(edv * factor, esv * factor) == pytest.approx(
        ejection_fraction_percent(edv, esv), abs=1e-6
    )


@deterministic
@given(
    seed=st.integers(0, 99),
    spacing_mm=st.tuples(*[st.floats(0.5, 12)] * 3),
    factor=st.floats(0.5, 3),
    axes=st.permutations(range(3)),
    flips=st.tuples(*[st.sampled_from([1, -1])] * 3),
)
def test_volumes_scale_with_the_voxel_and_ignore_how_it_was_stored(seed, spacing_mm, factor, axes, flips) -> None:
    mask = np.random.default_rng(seed).integers(0, 4, (5, 6, 4, 2)).astype(np.uint8)
    affine = np.diag([*spacing_mm, 1.0])
    volumes = volumes_ml(mask, Geometry((5, 6, 4), affine))
    larger = volumes_ml(mask, Geometry((5, 6, 4), np.diag([*(factor * mm for mm in spacing_mm), 1.0])))
    stored = mask.transpose(*axes, 3)[tuple(slice(None, None, flip) for flip in flips)]
    turned = np.eye(4)
    turned[:3, :3] = affine[:3, :3][:, axes] * flips
    same = volumes_ml(stored, Geometry(stored.shape[:3], turned))

    for name, values in volumes.items():
        assert larger[name] == pytest.approx([factor**3 * value for value in values])
        assert same[name] == pytest.approx(values)
