"""The gate lets every true heart pass, whatever its size and however few slices show it, and stops what is none."""

import numpy as np
import pytest

from bedside.plausibility import EF_PERCENT, PREFIX, SHARE, VOLUME_ML, PlausibilityGate, implausible_cine
from bedside.volumes import function, volumes_ml
from cinert.data.layouts import read_patients
from cinert.data.nifti import Geometry
from cinert.data.patients import load_frame
from cinert.quality import FEATURES

RV, MYO, LV = 1, 2, 3
SPACING_MM = (2.0, 2.0, 8.0)


def heart(slices=10, lv_mm=22.0):
    """(x, y, z): an LV that tapers in a wall of 9 mm, an RV beside it, in slices 1 to the last but one."""
    x, y = np.meshgrid(np.arange(80) * 2.0 - 80, np.arange(80) * 2.0 - 80, indexing="ij")
    mask = np.zeros((80, 80, slices), np.uint8)
    for z in range(1, slices - 1):
        radius = lv_mm * (0.5 + 0.5 * z / slices)
        mask[np.hypot(x + radius + 10, y) < radius, z] = RV
        mask[np.hypot(x, y) < radius + 9, z] = MYO
        mask[np.hypot(x, y) < radius, z] = LV
    return mask


def geometry_of(mask, spacing_mm=SPACING_MM):
    return Geometry(mask.shape, np.diag([*spacing_mm, 1.0]))


def reason(mask, spacing_mm=SPACING_MM, *, classes=("background", "rv", "myo", "lv"), seen=None):
    gate = PlausibilityGate(classes)
    gate.bind(geometry_of(mask, spacing_mm))
    return gate.reason(mask, seen)


def test_a_heart_passes():
    assert reason(heart()) == ""


@pytest.mark.parametrize("size", [0.4, 0.7, 1.4])
def test_a_heart_of_any_size_passes(size):
    assert reason(heart(), tuple(size * mm for mm in SPACING_MM)) == ""


def test_a_heart_passes_in_any_order_of_axes():
    mask = heart().transpose(2, 0, 1)
    gate = PlausibilityGate()
    gate.bind(Geometry(mask.shape, np.diag([*SPACING_MM, 1.0])[:, [2, 0, 1, 3]]))
    assert gate.reason(mask) == ""
    assert "RV was not found" in gate.reason(np.where(mask == RV, 0, mask).astype(np.uint8))


def without(label):
    mask = heart()
    mask[mask == label] = 0
    return mask


def small_rv():
    mask = without(RV)
    mask[28, 40, 4] = RV
    return mask


def huge_lv():
    mask = np.full((80, 80, 10), LV, np.uint8)
    mask[30:50, 30:50] = MYO
    mask[30:50, 50:60] = RV
    return mask


def in_pieces():
    mask = heart()
    mask[70:78, 2:20, 1:9] = LV
    return mask


def open_wall():
    mask = heart()
    mask[:, :40][mask[:, :40] == MYO] = 0
    return mask


def rv_elsewhere():
    mask = without(RV)
    mask[2:14, 30:50, 1:9] = RV
    return mask


def ragged():
    mask = heart()
    mask[:, :, 2:8:2] = np.where(mask[:, :, 2:8:2] == LV, MYO, mask[:, :, 2:8:2])
    return mask


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((80, 80, 10), np.uint8), "no heart was found"),
        (without(RV), "RV was not found"),
        (without(MYO), "MYO was not found"),
        (without(LV), "LV was not found"),
        (small_rv(), "RV of 0.032 ml"),
        (huge_lv(), "LV of"),
        (in_pieces(), FEATURES["fragments"]),
        (open_wall(), FEATURES["open_lv"]),
        (rv_elsewhere(), FEATURES["apart_rv"]),
        (ragged(), FEATURES["ragged"]),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_is_no_heart_is_stopped(mask, words):
    said = reason(mask)
    assert said.startswith(PREFIX)
    assert words in said


def test_flaws_that_are_each_within_their_limit_may_be_too_many_together():
    def opened(mask):
        part = mask[:, :40, 3:6]
        part[part == MYO] = 0
        return mask

    def with_a_piece(mask):
        mask[66:75, 2:12, 3:7] = RV
        return mask

    assert reason(opened(heart())) == ""
    assert reason(with_a_piece(heart())) == ""
    said = reason(with_a_piece(opened(heart())))
    assert said.startswith(f"{PREFIX}several flaws together, ")
    assert FEATURES["fragments"] in said
    assert FEATURES["open_lv"] in said


def test_a_structure_that_is_hardly_there_is_stopped_by_its_share():
    mask = without(RV)
    mask[28, 39:42, 2:8] = RV  # 0.58 ml, and less than a two-hundredth of the heart
    assert VOLUME_ML["rv"].low < 0.58
    assert SHARE["rv"].low > 18 / np.count_nonzero(mask)
    assert "RV is 0." in reason(mask)


def test_a_heart_at_the_edge_of_the_image_is_cut():
    mask = heart()[22:]  # through the RV
    assert FEATURES["cut"] in reason(mask)


def test_a_heart_at_the_edge_of_what_the_network_saw_is_cut():
    assert reason(heart(), seen=(slice(0, 80), slice(0, 80), slice(0, 10))) == ""
    clipped = heart()
    clipped[:, 44:] = 0
    assert FEATURES["cut"] in reason(clipped, seen=(slice(0, 80), slice(0, 44), slice(0, 10)))
    assert FEATURES["cut"] not in reason(clipped)


@pytest.mark.parametrize("slices", [1, 2, 3, 5])
def test_nothing_is_asked_that_a_few_slices_cannot_show(slices):
    mask = np.ascontiguousarray(without(RV)[:, :, 4 : 4 + slices])
    assert reason(mask) == ""


@pytest.mark.parametrize(("slices", "said"), [(1, ""), (2, ""), (3, f"{PREFIX}no heart was found")])
def test_one_slice_may_lie_beside_the_heart_and_three_may_not(slices, said):
    assert reason(np.zeros((80, 80, slices), np.uint8)) == said


def test_a_few_slices_cannot_hold_more_than_a_heart():
    assert "LV of" in reason(np.full((80, 80, 3), LV, np.uint8), (4.0, 4.0, 10.0))


@pytest.mark.parametrize("found", [(LV,), (MYO, LV), (RV,)])
def test_nothing_is_asked_of_classes_that_the_network_cannot_find(found):
    mask = heart()
    mask[~np.isin(mask, found)] = 0
    classes = tuple(name for number, name in enumerate(("background", "rv", "myo", "lv")) if number in (0, *found))
    assert reason(mask, classes=classes) == ""
    assert "was not found" in reason(mask)


def test_a_gate_has_to_be_bound_and_a_fork_too():
    gate = PlausibilityGate()
    gate.bind(geometry_of(heart()))
    for unbound in (PlausibilityGate(), gate.fork()):
        with pytest.raises(RuntimeError, match="bind"):
            unbound.reason(heart())


class TestCine:
    def of(self, *masks, frames=None, classes=("background", "rv", "myo", "lv")):
        mask = np.stack(masks, axis=3)
        volumes = volumes_ml(mask, geometry_of(mask[..., 0]))
        frames = frames or [""] * len(masks)
        return implausible_cine(frames, volumes, function(volumes), geometry_of(mask[..., 0]), classes)

    def beat(self, phases=12):
        return [heart(lv_mm=18 + 4 * np.cos(2 * np.pi * phase / phases)) for phase in range(phases)]

    def test_a_beat_passes(self):
        assert self.of(*self.beat()) == ""

    def test_two_phases_that_hardly_differ_pass(self):
        assert self.of(heart(), heart()) == ""

    def test_a_heart_that_stands_still_over_a_beat_does_not(self):
        assert "LV EF 0 %" in self.of(*[heart()] * 12)

    def test_an_lv_that_all_but_vanishes(self):
        low = np.where(heart() == LV, MYO, heart()).astype(np.uint8)
        low[39:41, 39:41, 1:9] = LV
        ef = 100 * (1 - np.count_nonzero(low == LV) / np.count_nonzero(heart() == LV))
        assert ef > EF_PERCENT["lv"].high
        assert f"LV EF {ef:.0f} %" in self.of(heart(), low)

    def test_an_rv_that_grows_while_the_lv_contracts(self):
        large, small = heart(), heart(lv_mm=14)
        small[:20, 20:60, 1:9] = RV
        assert "RV EF -" in self.of(large, small)

    def test_muscle_keeps_its_volume(self):
        thick = heart()
        thick[12:70, 12:70, 1:9][thick[12:70, 12:70, 1:9] == 0] = MYO
        assert "the volume of the myocardium changes" in self.of(heart(), thick)

    def test_no_heart_in_any_phase(self):
        empty = np.zeros((80, 80, 1), np.uint8)
        assert self.of(empty, empty) == f"{PREFIX}no heart was found in any phase"

    def test_phases_are_counted_and_the_first_is_named(self):
        frames = ["", f"{PREFIX}no heart was found", f"{PREFIX}RV was not found"]
        said = self.of(heart(), heart(), heart(), frames=frames)
        assert said == f"{PREFIX}2 of 3 phases, e.g. phase 2: no heart was found"

    def test_one_phase_has_no_ejection_fraction_to_judge(self):
        assert self.of(heart()) == ""

    def test_of_few_slices_and_absent_classes_no_figure_is_judged(self):
        still = [np.ascontiguousarray(heart()[:, :, 4:6])] * 12
        assert self.of(*still) == ""
        lv = [np.where(mask == LV, LV, 0).astype(np.uint8) for mask in self.beat()]
        assert self.of(*lv, classes=("background", "lv")) == ""


def test_every_labelled_heart_passes(shared):
    for patient in read_patients(shared / "acdc"):
        frames = [load_frame(frame) for frame in patient.frames]
        gate, reasons = PlausibilityGate(), []
        for _, label, geometry in frames:
            gate.bind(geometry)
            reasons.append(gate.reason(label))
        mask = np.stack([label for _, label, _ in frames], axis=3)
        volumes = volumes_ml(mask, frames[0][2])
        assert implausible_cine(reasons, volumes, function(volumes), frames[0][2]) == "", patient.id
