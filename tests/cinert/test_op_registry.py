"""Ops that packages add by entry point: what is good is an op like any other, what is broken is named in one line."""

import dataclasses
import re
import sys

import pytest
from click.testing import CliRunner

from cinert.errors import BadInputError
from cinert.op_registry import BUILT_IN, find_op, known_ops, plugged_in
from cinert.spaces import load_space
from latency.cli import bench_ops

GOOD = """
from cinert.op_spec import OpSpec, convolution_flops, convolution_weights

def make(channels):
    from torch import nn
    return nn.Conv3d(channels, channels, (1, 3, 3), padding=(0, 1, 1))

OP = OpSpec(
    name="flat", make=make, kernel_DHW=(1, 3, 3), flops=convolution_flops, weights=convolution_weights,
    price_group="convolution", colour="#E69F00",
)
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package with one module on the path, as pip would; its entry points belong to `cinert.ops`."""

    def install(module, content, *entries, package="acme-ops"):
        site = tmp_path / package
        info = site / f"{package.replace('-', '_')}-2.1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.1\n")
        (info / "entry_points.txt").write_text("\n".join(["[cinert.ops]", *entries, ""]))
        (site / f"{module}.py").write_text(content)
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, module, raising=False)
        plugged_in.cache_clear()

    yield install
    plugged_in.cache_clear()


def test_an_op_of_a_package_is_known(install):
    install("acme_flat", GOOD, "flat = acme_flat:OP")
    assert known_ops() == (*BUILT_IN, "zero", "flat")
    assert find_op("flat").kernel_DHW == (1, 3, 3)
    assert plugged_in()["flat"].origin == "acme-ops 2.1"
    dataclasses.replace(load_space("demo"), ops=("flat", "zero"))
    assert find_op("unheard_of") is None


@pytest.mark.parametrize(
    ("content", "entry", "says"),
    [
        (GOOD, "conv = acme_op:OP", "declares the op conv (cinert.ops), which CineRT itself has"),
        (GOOD, "zero = acme_op:OP", "declares the op zero (cinert.ops), which CineRT itself has"),
        (GOOD, "merge = acme_op:OP", "declares the op merge (cinert.ops), which CineRT itself has"),
        (GOOD, "even = acme_op:OP", "has name 'flat', expected that of its entry point"),
        (GOOD, "flat = acme_op:ABSENT", "cannot be imported: AttributeError: module 'acme_op' has no attribute"),
        (GOOD, "flat = acme_nowhere:OP", "cannot be imported: ModuleNotFoundError: No module named 'acme_nowhere'"),
        (GOOD, "flat = acme_op:make", "is a function, expected a cinert.op_spec.OpSpec"),
        ("raise SystemExit('no\\nlicence')", "flat = acme_op:OP", "cannot be imported: SystemExit: no licence"),
        ("import", "flat = acme_op:OP", "cannot be imported: SyntaxError: "),
        (GOOD.replace("kernel_DHW=(1, 3, 3), ", ""), "flat = acme_op:OP", "argument: 'kernel_DHW'"),
        (GOOD.replace("kernel_DHW=(1, 3, 3)", "kernel_DHW=None"), "flat = acme_op:OP", "has kernel_DHW None, expected"),
        (GOOD.replace("(1, 3, 3), f", "(1, 2, 3), f"), "flat = acme_op:OP", "has kernel_DHW (1, 2, 3), expected three"),
        (GOOD.replace("(1, 3, 3), f", "3, f"), "flat = acme_op:OP", "has kernel_DHW 3, expected three odd numbers"),
        (GOOD.replace('price_group="convolution", ', ""), "flat = acme_op:OP", "argument: 'price_group'"),
        (GOOD.replace('"convolution"', '"cheap"'), "flat = acme_op:OP", "has price_group 'cheap', expected one of"),
        (GOOD.replace("flops=convolution_flops", "flops=7"), "flat = acme_op:OP", "has flops 7, expected a function"),
        (GOOD.replace("#E69F00", "red"), "flat = acme_op:OP", "has colour 'red', expected #rrggbb"),
        (GOOD.replace("colour=", 'fast_path="copy", colour='), "flat = acme_op:OP", "has fast_path 'copy', expected"),
    ],
)
def test_a_broken_package_is_named_in_one_line(install, tmp_path, content, entry, says):
    install("acme_op", content, entry)
    words = ["--space", "demo", "--backend", "ort", "-o", str(tmp_path / "lut.json")]
    result = CliRunner().invoke(bench_ops, words, catch_exceptions=False)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert "package acme-ops 2.1" in result.stderr
    assert says in result.stderr
    assert "pip uninstall acme-ops" in result.stderr
    assert not (tmp_path / "lut.json").exists()


def test_two_packages_with_one_name_are_both_named(install):
    install("acme_flat", GOOD, "flat = acme_flat:OP")
    install("bolt_flat", GOOD, "flat = bolt_flat:OP", package="bolt-ops")
    both = "package bolt-ops 2.1 declares the op flat (cinert.ops), which package acme-ops 2.1 declares too"
    with pytest.raises(BadInputError, match=re.escape(both)):
        load_space("demo")


def test_an_op_is_read_without_torch(run_python):
    program = "import sys; from cinert.spaces import load_space; load_space('demo'); print('torch' in sys.modules)"
    result = run_python(program)
    assert result.stdout.strip() == "False", result.stderr
