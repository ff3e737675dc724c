"""`bench-ops --compare`: what stands in its table, its sentence and its picture, on LUTs with made-up times."""

import dataclasses
import io

import pytest
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

from cinert.errors import BadInputError
from latency.cli import bench_ops
from latency.compare import by_scale, compare, comparison_table, gain_sentence
from latency.lut import save_lut
from latency.roofline import Roofline

A_ROOFLINE = Roofline(copy_gb_s=10.0, matrix_gflop_s=100.0, protocol={})
B_ROOFLINE = Roofline(copy_gb_s=20.0, matrix_gflop_s=1e9, protocol={})


def run(*words):
    return CliRunner().invoke(bench_ops, [str(word) for word in words])


def faster(lut, factors, *, roofline=B_ROOFLINE, precision="fp32", **changes):
    """The LUT with each part's time divided by the factor of its kind, 1 where none is named."""
    rows = []
    for row in lut.rows:
        timing = {**row.timing, "quiet_ms": row.quiet_ms / factors.get(row.key.kind, 1.0)}
        rows.append(dataclasses.replace(row, key=dataclasses.replace(row.key, precision=precision), timing=timing))
    parts = {row.key.label: price for row, price in zip(rows, lut.prices.parts.values(), strict=True)}
    prices = dataclasses.replace(lut.prices, parts=parts)
    return dataclasses.replace(lut, rows=tuple(rows), prices=prices, roofline=roofline, **changes)


@pytest.fixture
def slow(lut):
    return dataclasses.replace(lut, roofline=A_ROOFLINE)


def test_times_ratio_price_and_bound_of_both_sides(slow):
    fast = faster(slow, {"conv": 4.0}, precision="fp16")
    items = {(item.name, item.scale): item for item in compare(slow, fast)}
    conv = items["conv 8\N{RIGHTWARDS ARROW}8", 0]
    # The made-up LUT has 2 x 4 ms alone and a price of 4 ms.
    assert (conv.a.ms, conv.b.ms, conv.ratio) == (8.0, 2.0, 4.0)
    assert (conv.a.price_ms, conv.b.price_ms) == (4.0, 4.0)
    assert conv.a.bound == A_ROOFLINE.bound(conv.key)
    # Half the bytes in fp16, and twice the bandwidth; no longer limited by arithmetic.
    assert conv.a.bound[1] == "compute"
    assert conv.b.bound == (pytest.approx(conv.key.bytes_moved / 2 / 20e9 * 1e3), "memory")
    assert any("from scale 1" in name for name, _ in items)


def test_scales_come_in_order_and_lose_nothing(slow):
    items = compare(slow, slow)
    assert len(items) == len(slow.rows)
    assert [heading.split(":")[0] for heading, _ in by_scale(items)] == ["scale 0", "scale 1"]


def test_luts_with_nothing_in_common_are_refused(slow):
    with pytest.raises(BadInputError, match="have no part in common"):
        compare(dataclasses.replace(slow, rows=slow.rows[:1]), dataclasses.replace(slow, rows=slow.rows[1:]))


def test_what_gains_less_and_what_gains_as_much_is_told(slow):
    # By hand: alone, dilated takes 5/4 of a plain one's time, separable 2/4.
    fast = faster(slow, {"conv": 4.0, "dilated": 3.8, "separable": 1.0})
    assert gain_sentence(compare(slow, fast)) == (
        "From A to B a plain 3D convolution runs 4.00 times as fast (geometric mean over 2 scales), a dilated one 3.80"
        " times (1.25 of a plain one's time on A, 1.32 on B) and a depthwise-separable one 1.00 times (0.50 of a plain"
        " one's time on A, 2.00 on B): the dilated one gains as much as the plain one, the depthwise-separable one"
        " gains less than the plain one."
    )


def test_both_may_gain_more(slow):
    sentence = gain_sentence(compare(slow, faster(slow, {"dilated": 2.0, "separable": 3.0})))
    assert sentence.endswith(": the dilated one and the depthwise-separable one gain more than the plain one.")


@pytest.mark.parametrize("missing", [{"conv"}, {"dilated", "separable"}])
def test_without_something_to_hold_against_something_nothing_is_claimed(slow, missing):
    few = dataclasses.replace(slow, rows=tuple(row for row in slow.rows if row.key.kind not in missing))
    assert gain_sentence(compare(few, slow)).startswith("Nothing can be said about dilated and separable")


def test_only_one_of_the_two_is_in_the_space(slow):
    few = dataclasses.replace(slow, rows=tuple(row for row in slow.rows if row.key.kind != "dilated"))
    sentence = gain_sentence(compare(few, slow))
    assert "dilated" not in sentence
    assert "depthwise-separable one gains as much as" in sentence


@pytest.mark.parametrize("roofline", [B_ROOFLINE, None])
def test_the_table_fits_80_columns(slow, roofline):
    stream = io.StringIO()
    Console(width=80, file=stream).print(comparison_table(slow, faster(slow, {}, roofline=roofline)))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    conv = next(line.split() for line in lines if line.strip().startswith("conv 8\N{RIGHTWARDS ARROW}8 "))
    assert conv[2:5] == ["8.000", "8.000", "1.00x"]
    assert ("mem" in conv) == (roofline is not None)
    assert ("not measured" in stream.getvalue()) == (roofline is None)


@pytest.fixture
def files(slow, tmp_path):
    save_lut(tmp_path / "torch_lut.json", slow)
    save_lut(tmp_path / "trt_lut.json", faster(slow, {"conv": 4.0}))
    return tmp_path / "torch_lut.json", tmp_path / "trt_lut.json"


def test_the_picture_lies_beside_the_first(files, tmp_path):
    result = run("--compare", *files)
    assert result.exit_code == 0, result.output
    assert "4.00x" in result.stdout
    assert "From A to B a plain 3D convolution runs 4.00 times as fast" in result.stdout
    with Image.open(tmp_path / "torch_lut_vs_trt_lut.png") as picture:
        assert picture.size[0] > 1000


def test_or_where_it_is_asked_for_or_nowhere(files, tmp_path):
    assert run("--compare", *files, "-o", tmp_path / "out" / "compare.png").exit_code == 0
    assert (tmp_path / "out" / "compare.png").is_file()
    assert run("--compare", *files, "--no-plot").exit_code == 0
    assert not (tmp_path / "torch_lut_vs_trt_lut.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "compare.json"], "name it .png"),
        (["-o", "/proc/none/compare.png"], "cannot write /proc/none/compare.png"),
        (["-o", "compare.png", "--no-plot"], "nothing else to write"),
    ],
)
def test_an_output_that_cannot_be_written_is_one_line(files, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    result = run("--compare", *files, *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.output.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["torch_lut.json", "trt_lut.json"]
