"""Commands of bench run the engine of a bundle only if it was signed, where a key is given."""

import json
import shutil

import pytest
from click.testing import CliRunner

from bench.accuracy_cli import evaluate_bundle
from bench.engine_cli import bench_engine
from bench.quality_cli import calibrate_quality
from bench.robustness_cli import bench_robustness
from cinert.trust.keys import PRIVATE, PUBLIC, make_keys
from cinert.trust.signing import sign


def run(command, *words):
    return CliRunner().invoke(command, [str(word) for word in words])


@pytest.fixture
def signed(bundle, tmp_path):
    """A signed copy of the bundle."""
    folder = tmp_path / "bundle"
    shutil.copytree(bundle.folder, folder)
    make_keys(tmp_path / "keys", None)
    sign(folder, tmp_path / "keys" / PRIVATE)
    return folder


@pytest.fixture
def stranger(tmp_path):
    """A public key that nothing was signed with."""
    make_keys(tmp_path / "stranger", None)
    return tmp_path / "stranger" / PUBLIC


@pytest.mark.parametrize("command", [evaluate_bundle, calibrate_quality, bench_robustness, bench_engine])
def test_what_another_key_signed_is_refused(command, signed, stranger, patients_folder):
    before = {path.name: path.read_bytes() for path in signed.iterdir()}
    result = run(command, signed, "--data", patients_folder, "--trust", stranger)
    assert result.exit_code == 2
    assert "bundle.sig" in result.output
    assert {path.name: path.read_bytes() for path in signed.iterdir()} == before


def test_the_served_bundle_is_held_against_the_same_key(signed, tmp_path):
    output = tmp_path / "verify.json"
    words = ["--mode", "paced", "--frames", 5, "--warmup", 1, "--fps", 5, "--budget-ms", 60_000, "--no-certificate"]
    trusted = ["--trust", signed.parent / "keys" / PUBLIC, "--through", "mrd", "-o", output]
    result = run(bench_engine, signed, *words, *trusted)
    served = json.loads(output.read_text())["served"]
    # A frame may be dropped where other programs take the core; then the verdict is told, and no other.
    assert result.exit_code == (0 if served["misses"] == 0 else 1), result.output
    assert sum(served["states"].values()) == 5


def test_a_certificate_of_a_bundle_that_nobody_signed_is_not_looked_at(signed, stranger):
    result = run(bench_engine, signed, "--check-certificate", "--trust", stranger)
    assert result.exit_code == 2
    assert "bundle.sig" in result.output
