"""Corruptions do what they say, to a copy, and the same again with the same seed."""

import numpy as np
import pytest

from bench.corruptions import CORRUPTIONS, Scan
from bench.corruptions.scan import stored
from cinert.data.nifti import Geometry

SPACING = (10.0, 2.0, 2.0)


@pytest.fixture
def scan():
    """A bright LV in a dark wall, an RV beside, in 8 slices; the other phase is smaller."""
    y, x = np.ogrid[:64, :48]
    distance = np.hypot(y - 32, x - 26) * 2.0

    def phase(endo_mm, epi_mm):
        plane = np.zeros((64, 48), np.uint8)
        plane[(np.hypot(y - 32, x - 12) * 2.0 < 16) & (distance > epi_mm)] = 1
        plane[distance < epi_mm] = 2
        plane[distance < endo_mm] = 3
        label = np.zeros((8, 64, 48), np.uint8)
        label[1:7] = plane
        return np.array([300, 600, 200, 900], np.float32)[label], label

    image, label = phase(18, 26)
    return Scan(image, label, SPACING, other=phase(10, 24))


def apply(name, scan, strength, seed=0):
    return CORRUPTIONS[name].apply(scan, strength, np.random.default_rng(seed))


def change(scan, other):
    return float(np.abs(other.image_DHW - scan.image_DHW).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_leaves_the_scan_alone_and_depends_on_the_seed_only(name, scan):
    image, label = scan.image_DHW.copy(), scan.label_DHW.copy()
    strength = CORRUPTIONS[name].strengths[1]
    first, again, other = (apply(name, scan, strength, seed) for seed in (0, 0, 1))

    np.testing.assert_array_equal(scan.image_DHW, image)
    np.testing.assert_array_equal(scan.label_DHW, label)
    np.testing.assert_array_equal(first.image_DHW, again.image_DHW)
    assert change(first, other) > 0
    assert first.image_DHW.dtype == np.float32
    assert first.image_DHW.shape == image.shape
    assert np.isfinite(first.image_DHW).all()
    assert first.image_DHW.min() >= 0


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_stronger_changes_more(name, scan):
    changes = [
        np.mean([change(scan, apply(name, scan, strength, seed)) for seed in range(5)])
        for strength in CORRUPTIONS[name].strengths
    ]
    assert list(CORRUPTIONS[name].strengths) == sorted(CORRUPTIONS[name].strengths)
    assert changes == sorted(changes)
    assert changes[0] > 0


def test_noise_in_air_is_rayleigh(scan):
    dark = Scan(
        np.where(np.arange(48) < 24, 0, 1000).astype(np.float32) * np.ones((8, 64, 1), np.float32),
        scan.label_DHW,
        SPACING,
    )
    noisy = apply("noise", dark, 10).image_DHW
    # Standard deviation 100 in each channel: a Rayleigh mean of 100 sqrt(pi / 2).
    assert noisy[..., :24].mean() == pytest.approx(100 * np.sqrt(np.pi / 2), rel=0.02)
    assert noisy[..., 24:].std() == pytest.approx(100, rel=0.03)


def test_undersampling_measures_one_line_in_so_many(scan):
    # A point has the same energy in all lines, of which one in four is left.
    point = np.zeros_like(scan.image_DHW)
    point[:, 32, 24] = 1
    spoiled = apply("undersampling", Scan(point, scan.label_DHW, SPACING), 4).image_DHW
    assert (spoiled**2).sum(axis=(1, 2)) == pytest.approx(np.full(8, 1 / 4), rel=1e-4)


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in ("arrhythmia", "void")])
def test_no_strength_no_change(name, scan):
    # Arrhythmia takes one slice at least, and a void has a radius.
    np.testing.assert_allclose(apply(name, scan, CORRUPTIONS[name].none).image_DHW, scan.image_DHW, atol=0.1)


def test_labels_move_with_their_slices(scan):
    shifted = apply("shift", scan, 6)
    found = [
        np.argwhere(shifted.label_DHW[index] == 3).mean(axis=0) - np.argwhere(scan.label_DHW[index] == 3).mean(axis=0)
        for index in range(1, 7)
    ]
    assert np.std(found, axis=0).min() > 0.5
    assert shifted.image_DHW[shifted.label_DHW == 3].mean() > 850


def test_phases_are_mixed_slice_by_slice(scan):
    mixed = apply("arrhythmia", scan, 50)
    old = [bool((mixed.label_DHW[i] == scan.label_DHW[i]).all()) for i in range(1, 7)]
    new = [bool((mixed.label_DHW[i] == scan.other[1][i]).all()) for i in range(1, 7)]
    assert (old.count(True), new.count(True)) == (3, 3)
    assert [bool((mixed.image_DHW[i] == scan.other[0][i]).all()) for i in range(1, 7)] == new


def test_phases_cannot_be_mixed_without_another(scan):
    with pytest.raises(ValueError, match="other phase"):
        apply("arrhythmia", Scan(scan.image_DHW, scan.label_DHW, SPACING), 50)


def test_a_void_is_dark_within_its_radius_in_every_slice(scan):
    spoiled = apply("void", scan, 8).image_DHW
    dark = (spoiled < 0.3 * scan.image_DHW).sum(axis=(1, 2)) * SPACING[1] * SPACING[2]
    # exp(-r^6) leaves 30 % of the signal at 0.84 of the radius.
    assert dark == pytest.approx(np.pi * (0.84 * 8) ** 2, rel=0.35)


def test_stored_axes_lead_there_and_back():
    geometry = Geometry((9, 7, 5), np.diag([-1.5, -1.5, 8.0, 1.0]))
    image = np.random.default_rng(0).random(geometry.shape, dtype=np.float32)
    scan = Scan.of(image, np.zeros(geometry.shape, np.uint8), geometry)

    assert scan.spacing_mm[0] == 8.0
    np.testing.assert_array_equal(stored(scan.image_DHW, geometry), image)
