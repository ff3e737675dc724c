import dataclasses
import math

import pytest
from PIL import Image

from latency.draw import draw_lut
from latency.lut import load_lut, save_lut
from latency.parts import PartCatalogue
from latency.roofline import MATRIX_SIZE, REPEATS, Roofline, measure_roofline, needed_flops

ROOFLINE = Roofline(copy_gb_s=10.0, matrix_gflop_s=100.0, protocol={"threads": 1})


@pytest.fixture
def catalogue(two_layers):
    return PartCatalogue(two_layers)


def test_the_slower_of_memory_and_arithmetic_bounds(catalogue):
    concat, conv = catalogue.concatenation(0), catalogue.op("conv", 0)
    assert ROOFLINE.bound(concat) == (pytest.approx(concat.bytes_moved / 10e9 * 1e3), "memory")
    assert ROOFLINE.bound(conv) == (pytest.approx(needed_flops(conv) / 100e9 * 1e3), "compute")
    fast = dataclasses.replace(ROOFLINE, matrix_gflop_s=1e9)
    assert fast.bound(conv)[1] == "memory"


@pytest.mark.parametrize("op", ["conv", "dilated", "maxpool", "identity"])
def test_taps_in_the_padding_are_not_needed(catalogue, op):
    key = catalogue.op(op, 1)
    taps = [step * key.dilation for step in range(-(key.kernel // 2), key.kernel // 2 + 1)]
    inside = 1
    for size in key.shape_out:
        inside *= sum(0 <= place + tap < size for place in range(size) for tap in taps)
    counted = key.kernel**3 * key.shape_out[0] * key.shape_out[1] * key.shape_out[2]
    assert needed_flops(key) == pytest.approx(key.flops * inside / counted)


def test_the_pointwise_half_of_a_separable_op_has_no_taps_in_the_padding(catalogue):
    """At 5 x 32 x 28 voxels: 27 taps less the share in the padding, and all of the 1x1x1 convolution."""
    key = catalogue.op("separable", 1)
    inside = math.prod((3 * size - 2) / (3 * size) for size in key.shape_out)
    voxels, channels = math.prod(key.shape_out), key.channels_in
    assert needed_flops(key) == pytest.approx(2 * voxels * channels * (27 * inside + channels))


def test_measured_here(monkeypatch):
    monkeypatch.setitem(MATRIX_SIZE, "cpu", 64)
    monkeypatch.setattr("latency.roofline.COPY_MIB", 1)
    found = measure_roofline(device="cpu", threads=1, precision="fp32")
    assert found is not None
    assert found.copy_gb_s > 0
    assert found.matrix_gflop_s > 0
    assert found.protocol == {"copy_mib": 1, "matrix_size": 64, "repeats": REPEATS, "threads": 1}
    assert measure_roofline(device="cpu", threads=1, precision="int8") is None


def test_a_table_keeps_it_and_one_without_keeps_its_id(tmp_path, lut):
    save_lut(tmp_path / "lut.json", lut)
    assert load_lut(tmp_path / "lut.json").roofline is None
    measured = dataclasses.replace(lut, roofline=ROOFLINE)
    assert "roofline" not in lut.to_dict()
    assert measured.id != lut.id
    save_lut(tmp_path / "lut.json", measured)
    assert load_lut(tmp_path / "lut.json").roofline == ROOFLINE


@pytest.mark.parametrize("roofline", [ROOFLINE, None])
def test_the_picture_has_a_panel_for_each_scale(tmp_path, lut, roofline):
    draw_lut(tmp_path / "lut.png", dataclasses.replace(lut, roofline=roofline))
    with Image.open(tmp_path / "lut.png") as picture:
        assert picture.size[0] > 1000
        assert picture.size[1] > 300 * lut.space.scales
