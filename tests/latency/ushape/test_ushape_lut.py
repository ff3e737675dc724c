"""A LUT of U-shaped networks as a file; those of cells are as they were."""

import dataclasses
import json

import pytest
from PIL import Image

from cinert.errors import BadInputError
from cinert.spaces import load_any_space, load_space
from latency.compare import by_scale, compare, comparison_table, gain_sentence
from latency.cost import SpaceCosts
from latency.draw import draw_lut
from latency.estimate import estimate
from latency.lut import load_lut, save_lut
from latency.roofline import Roofline
from latency.ushape.design import anchor_ushape, seeded_ushape

ROOFLINE = Roofline(copy_gb_s=10.0, matrix_gflop_s=100.0, protocol={"threads": 1})


@pytest.fixture
def lut(tiny, made_up_terms):
    return made_up_terms(tiny)


@pytest.fixture
def saved(tmp_path, lut):
    save_lut(tmp_path / "lut.json", lut)
    return tmp_path / "lut.json"


def test_reads_back_what_it_writes(saved, lut, tiny):
    again = load_lut(saved)
    assert (again.id, again.space, again.rows, again.prices) == (lut.id, lut.space, lut.rows, lut.prices)
    arch = seeded_ushape(tiny, 0)
    assert estimate(arch, again) == estimate(arch, lut)
    save_lut(saved.with_name("again.json"), again)
    assert saved.with_name("again.json").read_bytes() == saved.read_bytes()


def test_what_only_u_shapes_have_does_not_stand_in_a_table_of_cells(made_up_lut):
    document = made_up_lut(load_space("demo"), lambda key: 1.0).to_dict()
    assert "terms" not in document["prices"]
    assert {type(part["key"]["kernel"]) for part in document["prices"]["parts"]} == {int}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d["prices"]["terms"].update(extra=1), "prices.terms: unknown key extra"),
        (lambda d: d["prices"]["terms"].update(own="yes"), "own is 'yes'"),
        (lambda d: d["prices"]["terms"]["terms"][3].update(ms=-1.0), "ms is -1.0"),
        (lambda d: d["prices"]["terms"]["terms"][3].update(ms=float("nan")), "ms is nan"),
        (lambda d: d["prices"]["terms"]["terms"][3].update(unit="bytes"), "unit is 'bytes'"),
        (lambda d: d["prices"]["terms"]["terms"][3].update(name="conv: warmth"), "conv: warmth is no term"),
        (lambda d: d["prices"]["terms"]["terms"][3].pop("error_ms"), "missing key error_ms"),
        (lambda d: d["prices"]["terms"]["rounding"].update(channels_out=0), "channels_out is 0"),
        (lambda d: d["prices"]["terms"]["rounding"].update(channels_in=1.5), "channels_in is 1.5"),
        (lambda d: d["prices"]["terms"]["rounding"].pop("channels_in"), "missing key channels_in"),
        (lambda d: d["prices"]["terms"].update(cache_mib=0), "cache_mib is 0"),
        (lambda d: d["prices"]["terms"].update(cache_mib="large"), "cache_mib is 'large'"),
        (lambda d: d["prices"].pop("terms"), "prices: missing key terms"),
        (lambda d: d["space"].update(schema="cinert.space"), "unknown key"),
        (lambda d: d["protocol"].update(clock="sundial"), "protocol.clock is 'sundial'"),
    ],
)
def test_bad_tables_are_refused(saved, change, says):
    document = json.loads(saved.read_text())
    change(document)
    saved.write_text(json.dumps(document))
    with pytest.raises(BadInputError) as error:
        load_lut(saved)
    assert says in str(error.value)
    assert str(saved) in str(error.value)


def test_terms_without_a_space_of_u_shapes_are_refused(saved, made_up_lut, tmp_path):
    cells = made_up_lut(load_space("demo"), lambda key: 1.0)
    document = cells.to_dict()
    document["prices"]["terms"] = json.loads(saved.read_text())["prices"]["terms"]
    path = tmp_path / "mixed.json"
    path.write_text(json.dumps(document))
    with pytest.raises(BadInputError, match="prices: unknown key terms"):
        load_lut(path)


def test_a_search_of_cells_refuses_it(lut):
    with pytest.raises(BadInputError, match=r"lacks \d+ parts"):
        SpaceCosts.from_lut(lut, load_space("demo"))


@pytest.mark.parametrize("roofline", [ROOFLINE, None])
def test_the_picture_has_a_panel_for_each_level_of_each_grid(tmp_path, lut, roofline):
    draw_lut(tmp_path / "lut.png", dataclasses.replace(lut, roofline=roofline))
    with Image.open(tmp_path / "lut.png") as picture:
        # 2 grids of 3 levels and the head, and 96 rows.
        assert picture.height > 0.2 * 130 * len(lut.rows)


def test_two_tables_side_by_side(lut):
    items = compare(lut, lut)
    assert len(items) == len(lut.rows)
    headings = [heading for heading, _ in by_scale(items)]
    assert headings[:3] == ["grid 4x16x16: head", "grid 4x16x16, level 0: 4x8x8", "grid 4x16x16, level 1: 4x4x4"]
    assert len(headings) == len(set(headings)) == 8
    names = [item.name for _, members in by_scale(items) for item in members]
    assert "conv 1x3x3 4\N{RIGHTWARDS ARROW}4" in names
    assert "conv 1x3x3 d1x2x2 6\N{RIGHTWARDS ARROW}6" in names
    assert "enlarge 8\N{RIGHTWARDS ARROW}6 from 2x2x2" in names
    assert comparison_table(lut, lut).row_count == len(items) + len(headings)


def test_what_dilated_and_depthwise_ones_gain_is_told(lut):
    rows = [
        dataclasses.replace(row, timing={**row.timing, "quiet_ms": row.quiet_ms / (4 if row.key.kind == "conv" else 1)})
        for row in lut.rows
    ]
    sentence = gain_sentence(compare(lut, dataclasses.replace(lut, rows=tuple(rows))))
    assert "a plain 3D convolution runs 4.00 times as fast (geometric mean over" in sentence
    assert "parts)" in sentence
    assert "a dilated one 4.00 times" in sentence
    assert "a depthwise one 1.00 times" in sentence
    assert "the dilated one gains as much as the plain one" in sentence
    assert "the depthwise one gains less than the plain one" in sentence


def test_the_anchor_is_the_smallest_network_on_the_smallest_grid():
    space = load_any_space("cardiac")
    anchor = anchor_ushape(space)
    assert anchor.shape == space.smallest
    assert anchor.input_shape_DHW == (10, 96, 96)
