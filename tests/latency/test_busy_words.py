"""BUSY stands wherever figures of a table that was taken with --allow-busy appear, and "quiet" nowhere beside them."""

import dataclasses
import io
import json

import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.console import Console

from bench.model_document import model_title
from cinert.sampling import random_arch
from export.pricing import price
from latency.calibrate_cli import calibrate
from latency.calibration import GROUP_NAMES, Calibration, CalibrationNetwork, fit_calibration
from latency.cli import _summary, _verdict, bench_ops
from latency.compare import compare, comparison_table
from latency.draw import draw_lut
from latency.draw_compare import draw_comparison
from latency.estimate import estimate_record
from latency.lut import load_lut, save_lut
from search.problem import SearchProblem
from search.records import picture_title
from search.say import estimate_words


@pytest.fixture
def busy(lut):
    return dataclasses.replace(lut, protocol={"tolerant": True})


@pytest.fixture
def quiet(lut):
    return dataclasses.replace(lut, protocol={"tolerant": False})


def printed(what):
    stream = io.StringIO()
    Console(width=200, file=stream).print(what)
    return stream.getvalue()


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """What stands in a picture."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: figures.append(self) or path.touch())

    def drawn(draw, *arguments):
        draw(tmp_path / "picture.png", *arguments)
        return " ".join(text.get_text() for text in figures[-1].findobj(Text))

    return drawn


def test_a_table_is_busy_by_its_protocol_or_by_what_corrects_it(busy, quiet):
    assert busy.busy
    assert not quiet.busy
    assert busy.title == f"{busy.device_name}, BUSY"
    assert quiet.title == quiet.device_name
    assert calibrated(quiet, busy=True).busy
    assert not calibrated(quiet, busy=False).busy


def calibrated(lut, *, busy):
    groups = dict.fromkeys(GROUP_NAMES, 2.0)
    networks = [
        CalibrationNetwork(name=f"{seed:016x}", source="bench-model", group_ms=groups, measured_ms=11.0 + seed)
        for seed in range(10)
    ]
    return dataclasses.replace(lut, calibration=fit_calibration(networks, lut=lut.uncalibrated_id, busy=busy))


def test_a_correction_keeps_it_through_its_file_and_through_latency_calibrate(tmp_path, quiet):
    path = tmp_path / "lut.json"
    for was in (True, False):
        save_lut(path, calibrated(quiet, busy=was))
        assert load_lut(path).busy is was
        # Of a quiet one nothing is written, so that the id of a table from before stays the same.
        assert ("busy" in json.loads(path.read_text())["calibration"]) is was
        model = tmp_path / "model.json"
        head = {"schema": "cinert.model", "version": 1}
        model.write_text(json.dumps({**head, "calibration": load_lut(path).calibration.to_dict()}))
        result = CliRunner().invoke(calibrate, [str(path), "--from", str(model)])
        assert result.exit_code == 0, result.output
        assert ("BUSY: taken with --allow-busy" in " ".join(result.output.split())) is was
        assert load_lut(path).busy is was
    assert Calibration.from_dict(calibrated(quiet, busy=True).calibration.to_dict(), source="test").busy


def test_the_printed_table(busy, quiet):
    assert "BUSY machine (--allow-busy)" in printed(_summary(busy))
    assert f"{busy.device_name}, BUSY" in printed(_summary(busy))
    assert "quiet" not in printed(_summary(busy))
    assert "quiet machine" in printed(_summary(quiet))
    assert "BUSY" not in printed(_summary(quiet))


def test_the_closing_line(busy, quiet, tmp_path):
    figures = {name: {"mape": 0.03, "within_10": 0.98} for name in ("cross_validated", "raw_sum_of_isolated")}
    for lut in (busy, quiet):
        prices = dataclasses.replace(lut.prices, report={"figures": figures, "networks": []})
        line = _verdict(dataclasses.replace(lut, prices=prices), tmp_path)
        assert ("In 10% of the visits something else used the machine. BUSY: taken with" in line) == lut.busy


def test_the_picture(busy, quiet, drawn):
    assert "timed alone, BUSY machine (--allow-busy)" in drawn(draw_lut, busy)
    assert f"{busy.device_name}, BUSY" in drawn(draw_lut, busy)
    assert "quiet" not in drawn(draw_lut, busy)
    assert "timed alone, quiet machine" in drawn(draw_lut, quiet)


def test_comparisons(busy, quiet, drawn):
    both = printed(comparison_table(busy, busy))
    assert "milliseconds, BUSY machine (--allow-busy), batch 1" in both
    assert "quiet" not in both
    mixed = printed(comparison_table(quiet, busy))
    assert "A quiet machine, B BUSY machine (--allow-busy)" in mixed
    assert f"B: {busy.device_name}, BUSY" in mixed
    picture = drawn(draw_comparison, busy, quiet, compare(busy, quiet))
    assert "A BUSY machine (--allow-busy), B quiet machine" in picture
    assert f"A: {busy.device_name}, BUSY" in picture


def test_what_stores_an_estimate_keeps_it(busy, quiet, two_layers):
    arch = random_arch(two_layers, 0, paths=1)
    assert estimate_record(arch, busy)["busy"] is True
    assert "busy" not in estimate_record(arch, quiet)
    assert price(arch, busy).lut == {"id": busy.id, "device": busy.device_name, "busy": True}
    assert price(arch, quiet).lut == {"id": quiet.id, "device": quiet.device_name}
    assert "(BUSY LUT)" in estimate_words(estimate_record(arch, busy))
    assert "BUSY" not in estimate_words(estimate_record(arch, quiet))
    problem = SearchProblem(space=two_layers, lut=busy, data=None, budget_ms=50)
    assert "BUSY" in picture_title(arch, problem)


@pytest.mark.parametrize(
    ("lut_busy", "busy", "words"),
    [(False, False, ""), (True, False, ", LUT BUSY"), (False, True, ", measured BUSY")],
)
def test_what_bench_model_says(lut_busy, busy, words):
    lut = {"device": "Some CPU", "space": "demo", **({"busy": True} if lut_busy else {})}
    assert model_title({"lut": lut, "busy": busy}) == f"Some CPU, space demo{words}"


def test_the_printed_comparison_of_files(busy, tmp_path):
    save_lut(tmp_path / "a.json", busy)
    result = CliRunner().invoke(bench_ops, ["--compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")])
    assert result.exit_code == 0, result.output
    assert "BUSY" in result.stdout
    # The sentence is wrapped between words.
    sentence = result.stdout[result.stdout.index("From A to B") :]
    assert max(map(len, sentence.splitlines()[:-1])) <= 80
