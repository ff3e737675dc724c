"""A command that is refused leaves nothing where its output would have gone, and nothing is written into a bundle."""

import json
from importlib.metadata import entry_points

import pytest
from click.testing import CliRunner

from cinert.bundle_manifest import MANIFEST, SCHEMA
from cinert.device_lock import hold_device
from cinert.errors import BadInputError
from cinert.files import bundle_around, check_output_file, check_writable, write_json

OUT = "new/folder"
"""Where outputs go; made for none of these commands."""
COMMANDS = {
    "nas-search": f"--lut none.json --data DATA -o {OUT}",
    "nas-sweep": f"--lut none.json --data DATA -o {OUT}",
    "train-arch": f"ARCH --data nowhere -o {OUT}",
    "bench-ops": f"--space demo --backend torch -o {OUT}/lut.json",
    "bench-compare": f"--suite zeng2020-table2 --space demo --data DATA -o {OUT}",
    "export-engine": f"ARCH -o {OUT}/bundle --open-recon {OUT}/recon.json",
    "evaluate-bundle": f"none --data DATA --plot {OUT}/plot.png -o {OUT}/accuracy.json",
    "bench-robustness": f"none --data DATA --plot {OUT}/plot.png -o {OUT}/robustness.json",
    "bench-engine": f"none --plot {OUT}/plot.png -o {OUT}/verify.json",
    "segment-cine": f"none none.nii.gz -o {OUT}/mask.nii.gz --overlay {OUT}/o.gif --plot {OUT}/p.png",
    "send-mrd": f"none.nii.gz -o {OUT}/mask.nii.gz",
    "cinert layers": f"none -o {OUT}",
    "cinert baseline": f"unet3d --space none -o {OUT}/arch.yaml",
    "sign-bundle": f"none --key none.pem -o {OUT}/bundle.sig",
}


def run(name, words):
    program, *subcommand = name.split()
    (entry,) = entry_points(group="console_scripts", name=program)
    return CliRunner().invoke(entry.load(), [*subcommand, *words.split()], catch_exceptions=False)


@pytest.fixture
def where(tmp_path, monkeypatch):
    """An empty folder to work in, and a file of an architecture outside of it."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    (outside / "data").mkdir(parents=True)
    arch = outside / "arch.yaml"
    assert run("cinert baseline", f"unet3d --space demo -o {arch}").exit_code == 0
    return inside, lambda words: words.replace("ARCH", str(arch)).replace("DATA", str(outside / "data"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_refused_command_leaves_no_folder(where, name):
    folder, filled = where
    with hold_device("cpu", "compute", "train-arch"):
        result = run(name, filled(COMMANDS[name]))
    assert result.exit_code in {2, 3}, result.output
    assert list(folder.iterdir()) == []


@pytest.fixture
def bundle(where):
    folder, _ = where
    write_json(folder / "new" / MANIFEST, {"schema": SCHEMA})
    assert run("cinert baseline", f"unet3d --space demo -o {folder.parent / 'outside' / 'arch.yaml'}").exit_code == 0
    (folder / "new" / "arch.yaml").write_bytes((folder.parent / "outside" / "arch.yaml").read_bytes())
    return folder / "new"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *COMMANDS.items(),
        # Whose outputs are beside what they are given, if nothing is said.
        ("train-arch", "new/arch.yaml --data DATA"),
        ("export-engine", "new/arch.yaml"),
        ("make-phantom", "new/phantom"),
        ("cinert report", "new"),
        ("cinert report", "new --format md"),
    ],
)
def test_nothing_is_written_into_a_bundle(where, bundle, content, name, words):
    before = content(bundle)
    result = run(name, where[1](words))
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert f"the bundle {bundle}" in result.stderr
    assert content(bundle) == before
    assert sorted(each.name for each in bundle.iterdir()) == ["arch.yaml", MANIFEST]


def test_a_report_of_a_bundle_names_the_run_folder(bundle):
    assert f"Hint: give the run folder, e.g. {bundle.parent}." in run("cinert report", str(bundle)).stderr


def test_what_lies_around_an_output(tmp_path):
    write_json(tmp_path / "bundle" / MANIFEST, {"schema": SCHEMA})
    (tmp_path / "link").symlink_to(tmp_path / "bundle")
    for name in ("bundle/a", "bundle/deep/er/a", "link/a", "other/../bundle/a"):
        assert bundle_around(tmp_path / name) == tmp_path / "bundle"
    assert bundle_around(tmp_path / "bundle") is None
    for text in ("{}", "{", json.dumps({"schema": "another"})):
        (tmp_path / "bundle" / MANIFEST).write_text(text)
        assert bundle_around(tmp_path / "bundle" / "a") is None


@pytest.mark.parametrize("name", ["a", "new/a", "new/er/a", "new/../a", "new/../../x/a"])
def test_checking_an_output_makes_no_folder(tmp_path, name):
    (tmp_path / "in").mkdir()
    check_writable(tmp_path / "in" / name)
    assert [each.name for each in tmp_path.rglob("*")] == ["in"]


def test_what_could_not_be_written_in_the_end_is_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "not" / "there")
    for name in ("file/a", "file/er/a", "nowhere/a", f"{'x' * 300}/a", "x" * 300, f"new/{'x' * 300}"):
        with pytest.raises(BadInputError, match="cannot write"):
            check_output_file(tmp_path / name)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "nowhere"]
