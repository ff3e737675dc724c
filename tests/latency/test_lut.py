import json
import re

import pytest

from cinert.errors import BadInputError
from cinert.sampling import random_arch
from cinert.spaces import load_space
from latency.compare import compare
from latency.cost import SpaceCosts
from latency.estimate import estimate
from latency.lut import load_lut, save_lut


@pytest.fixture
def saved(tmp_path, lut):
    path = tmp_path / "lut.json"
    save_lut(path, lut)
    return path


def test_reads_back_what_it_writes(saved, lut):
    again = load_lut(saved)
    assert again.id == lut.id
    assert again.space == lut.space
    assert again.rows == lut.rows
    arch = random_arch(lut.space, 0)
    assert estimate(arch, again) == estimate(arch, lut)


@pytest.mark.parametrize("ask", [SpaceCosts.from_lut, lambda lut, space: estimate(random_arch(space, 0), lut)])
def test_missing_keys_are_all_listed_with_the_command(saved, ask):
    lut, paper = load_lut(saved), load_space("small")
    with pytest.raises(BadInputError, match=r"lacks \d+ parts") as error:
        ask(lut, paper)
    assert "stem 1-48 10x64x56 k3 fp32" in str(error.value)
    assert re.search(r"head \d+-4 10x64x56 fp32", str(error.value))
    assert "bench-ops" in (error.value.hint or "")
    assert str(saved) in str(error.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(version=0), "version is 0"),
        (lambda d: d.update(extra=1), "unknown key extra"),
        (lambda d: d.update(calibration={"scale": 2}), "calibration: unknown key scale"),
        (lambda d: d.pop("load"), "missing key load"),
        (lambda d: d["load"].update(p99=float("inf")), "load.p99 is inf"),
        (lambda d: d["prices"].update(composition="product"), "expected one of sum, critical path"),
        (lambda d: d["prices"]["parts"][3].update(error_ms=float("nan")), "error_ms is nan"),
        (lambda d: d["prices"]["parts"][3].update(from_networks=-0.1), "from_networks is -0.1"),
        (lambda d: d["prices"].pop("constant_ms"), "missing key constant_ms"),
        (lambda d: d["prices"]["parts"][3].update(ms=-1.0), "is -1.0"),
        (lambda d: d["prices"]["parts"][3].update(ms="fast"), "is 'fast'"),
        (lambda d: d["rows"][0].update(quiet_ms=float("nan")), "is nan"),
        (lambda d: d["rows"][0]["key"].update(flavour=1), "unknown key flavour"),
        (lambda d: d["fingerprint"].pop("threads"), "missing key threads"),
        (lambda d: d.update(roofline={"copy_gb_s": 1.0}), "missing key matrix_gflop_s, protocol"),
        (lambda d: d.update(roofline={"copy_gb_s": 0, "matrix_gflop_s": 1.0, "protocol": {}}), "copy_gb_s is 0"),
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


def test_comparison_pairs_rows(lut):
    pairs = compare(lut, lut)
    assert len(pairs) == len(lut.rows)
    assert {pair.ratio for pair in pairs} == {1.0}
