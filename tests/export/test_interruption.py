"""A bundle is there as a whole or not at all, whenever the export is killed or the disk is full."""

import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from cinert.bundle import open_bundle
from export.cli import export_engine

WORDS = ("--backend", "ort", "--threads", "1")
# Kills itself when it has written so many files of the bundle: no test could hit that moment from outside.
KILLED = """
import os, signal, sys
from pathlib import Path
write, left = Path.write_bytes, [int(sys.argv[1])]
def write_and_die(path, data):
    if ".partial-" in str(path):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
    return write(path, data)
Path.write_bytes = write_and_die
from export.cli import export_engine
export_engine(sys.argv[2:])
"""


def export(arch_file: Path, *more: object):
    return CliRunner().invoke(export_engine, [str(word) for word in (arch_file, *WORDS, *more)])


@pytest.fixture
def export_killed(run_python):
    def export_killed(arch_file: Path, files: int) -> None:
        process = run_python(KILLED, files, arch_file, *WORDS)
        assert process.returncode == -signal.SIGKILL, process.stderr

    return export_killed


def test_killed_while_it_writes(arch_file: Path, export_killed) -> None:
    """Before the engine: what was written lies elsewhere and is in nobody's way."""
    bundle = arch_file.parent / "bundle"

    export_killed(arch_file, 2)

    assert not bundle.exists()
    assert export(arch_file).exit_code == 0
    assert open_bundle(bundle).backend == "ort"


def test_killed_while_it_replaces_a_bundle(arch_file: Path, content, export_killed) -> None:
    bundle = arch_file.parent / "bundle"
    assert export(arch_file).exit_code == 0
    before = content(bundle)

    export_killed(arch_file, 1)

    assert content(bundle) == before
    assert export(arch_file).exit_code == 0
    assert open_bundle(bundle).manifest.parity.status == "passed"


@pytest.mark.parametrize("older", [False, True])
def test_a_full_disk_is_one_line_and_leaves_what_was(arch_file: Path, content, full_disk, older: bool) -> None:
    if older:
        assert export(arch_file).exit_code == 0
    before = content(arch_file.parent)
    full_disk((arch_file.parent / "weights.safetensors").stat().st_size - 100)

    result = export(arch_file)

    assert result.exit_code == 2
    assert result.stderr.startswith(f"export-engine: cannot write the folder {arch_file.parent / 'bundle'}")
    assert "File too large" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert content(arch_file.parent) == before
