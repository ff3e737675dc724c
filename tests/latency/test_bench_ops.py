"""The command as a user runs it, on a space that takes seconds."""

import pytest
import yaml
from click.testing import CliRunner

from cinert.spaces import load_space
from latency.cli import bench_ops
from latency.lut import load_lut


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    document = load_space("demo").to_dict()
    document.update(name="tiny", input_shape_DHW=[4, 8, 8], strides=[[2, 2, 2]], widths=[4, 8], layers=3)
    path = tmp_path_factory.mktemp("space") / "tiny.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def run(*arguments):
    return CliRunner().invoke(bench_ops, [str(argument) for argument in arguments])


@pytest.mark.parametrize("backend", ["ort", "openvino", "torch"])
def test_a_table_holds_every_part(tmp_path, tiny, backend):
    output = tmp_path / "lut.json"
    result = run("--space", tiny, "--backend", backend, "--networks", 12, "--threads", 1, "--allow-busy", "-o", output)
    assert result.exit_code == 0, result.output
    assert "prices from 12 networks" in result.output
    lut = load_lut(output)
    assert (lut.backend, lut.precision, lut.fingerprint["threads"]) == (backend, "fp32", 1)
    assert {row.key.label for row in lut.rows} == set(lut.prices.parts)
    assert all(row.quiet_ms > 0 and row.timing["n"] >= 5 for row in lut.rows)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["lut.json", "lut.png"]
    assert lut.roofline is not None
    assert lut.roofline.protocol["threads"] == 1
    compared = run("--compare", output, output)
    assert compared.exit_code == 0
    assert "1.00x" in compared.output


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--backend", "trt"], 3, "back end trt is not available because"),
        (["--backend", "trt-rtx"], 3, "back end trt-rtx is not available because"),
        (["--space", "papr"], 2, "neither a preset nor a file"),
        (["--backend", "ort", "--precision", "fp16"], 2, "precision 'fp16' is not supported by back end ort"),
        (["--backend", "ort", "--precision", "fp8"], 2, "'fp8' is not one of"),
        (["--backend", "ort", "--device", "gpu"], 2, "unknown device 'gpu'"),
        (["--backend", "ort", "--device", "cuda:0"], 3, "on the CPU, not on cuda:0"),
        (["--backend", "ort", "-o", "/proc/none/lut.json"], 2, "cannot write /proc/none/lut.json"),
        (["--backend", "ort", "-o", "lut.png"], 2, "its picture goes there"),
        (["--compare", "none.json", "none.json"], 2, "none.json"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == code
    assert says in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
