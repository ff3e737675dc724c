"""The example package from outside: an op in one file goes through every stage, and nothing here knows its name."""

import importlib.util
import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from cinert.spaces import load_space


@pytest.fixture(scope="module")
def site(tmp_path_factory, repository):
    """A folder with the package in it, as pip installs it."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-compile", "--target", str(folder)]
    source = tmp_path_factory.mktemp("source")
    for path in (repository / "examples" / "inplane_op").iterdir():
        if path.is_file():
            (source / path.name).write_bytes(path.read_bytes())
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def run(site, repository, work):
    """Runs a command in a process that sees the package, or one that does not."""

    def run(*words, expect=(0,), installed=True):
        path = [*([str(site)] if installed else []), str(repository)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
        command = [str(Path(sys.executable).parent / words[0]), *map(str, words[1:])]
        result = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, check=False)
        assert result.returncode in expect, result.stdout + result.stderr
        return result

    return run


@pytest.fixture(scope="module")
def searched(run, work):
    """LUT, search, training and an engine for ONNX Runtime, of a space whose only op is the package's."""
    space = load_space("demo").to_dict()
    space.update(
        name="flat",
        layers=2,
        input_shape_DHW=[4, 16, 16],
        spacing_mm=[25.0, 12.5, 12.5],
        strides=[[1, 2, 2]],
        widths=[4, 8],
        ops=["inplane", "zero"],
    )
    (work / "space.yaml").write_text(yaml.safe_dump(space))
    run("make-phantom", "data", "--patients", 3)
    few = ["--threads", 1, "--networks", 10, "--allow-busy"]
    run("bench-ops", "--space", "space.yaml", "--backend", "ort", *few, "-o", "run/lut.json")
    run("nas-search", "--lut", "run/lut.json", "--data", "data", "--epochs", 2, "--device", "cpu", "-o", "run")
    training = ["--epochs", 1, "--localiser-steps", 2, "--device", "cpu"]
    run("train-arch", "run/arch.yaml", "--data", "data", *training, "-o", "run")
    run("export-engine", "run/arch.yaml", "--backend", "ort", "--threads", 1, "--lut", "run/lut.json", "--data", "data")
    return work / "run"


def test_it_is_measured_searched_trained_compiled_and_reported(run, searched):
    arch = yaml.safe_load((searched / "arch.yaml").read_text())
    assert {edge["op"] for cell in arch["cells"].values() for node in cell for edge in node} == {"inplane"}
    assert arch["provenance"]["versions"]["cinert-inplane"] == "1.0"
    assert arch["estimate"]["ms"] > 0
    rows = [row["key"] for row in json.loads((searched / "lut.json").read_text())["rows"]]
    kernels = {tuple(key["kernel"]) for key in rows if key["kind"] == "inplane"}
    assert kernels == {(1, 3, 3)}
    assert (searched / "bundle" / "manifest.json").exists()
    run("cinert", "report", searched)
    assert "inplane(pre)" in (searched / "report.html").read_text()


def test_the_bound_of_its_price_counts_nine_taps(searched, site, run_python):
    """At 4 x 16 x 16 voxels and 4 channels: 2 x 1024 x 4 x 4 x 9 operations, 4 x 4 x 9 + 4 weights."""
    program = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from latency.lut import load_lut
key = next(row.key for row in load_lut(Path(sys.argv[2])).rows if row.key.kind == "inplane")
print(key.label, key.flops, key.weight_count)
"""
    result = run_python(program, site, searched / "lut.json")
    assert result.stdout.split("\n")[0] == "inplane 4-4 4x16x16 k1x3x3 fp32 294912 148", result.stderr


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")
def test_tensorrt_rtx_builds_it_in_half_precision(run, searched):
    target = ["--backend", "trt-rtx", "--precision", "fp16", "--compute-capability", "8.6", "--data", "data"]
    run("export-engine", searched / "arch.yaml", *target, "-o", "rtx")
    manifest = json.loads((searched.parent / "rtx" / "manifest.json").read_text())
    assert manifest["precision"] == "fp16"
    assert (searched.parent / "rtx" / "trt-rtx-fp16-sm86.plan").stat().st_size > 0


def test_what_the_commands_wrote_is_as_the_schemas_say(repository, searched):
    schemas = [json.loads(path.read_text()) for path in (repository / "docs" / "schemas").glob("*.schema.json")]
    registry = Registry().with_resources((schema["$id"], Resource.from_contents(schema)) for schema in schemas)
    written = {
        "arch": searched / "arch.yaml",
        "lut": searched / "lut.json",
        "space": searched.parent / "space.yaml",
        "manifest": searched / "bundle" / "manifest.json",
    }
    for name, path in written.items():
        (schema,) = (schema for schema in schemas if schema["$id"] == f"urn:cinert:{name}")
        validator = Draft202012Validator(schema, registry=registry)
        document = json.loads(json.dumps(yaml.safe_load(path.read_text())))
        assert [error.message for error in validator.iter_errors(document)] == [], name


def test_without_the_package_what_it_made_is_refused_in_one_line(run, searched):
    command = ["nas-search", "--lut", searched / "lut.json", "--data", "data", "-o", "again"]
    result = run(*command, expect=(2,), installed=False)
    assert len(result.stderr.splitlines()) == 1
    assert "'inplane'" in result.stderr
    assert not (searched.parent / "again").exists()


def test_the_presets_name_no_op_of_a_package():
    texts = [path.read_text() for path in files("cinert").joinpath("presets").iterdir()]
    assert texts
    assert not any("inplane," in text.split("ops: ")[1] for text in texts if "ops: " in text)
