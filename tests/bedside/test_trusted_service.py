"""serve-mrd and segment-cine with --trust and --audit-log: what is not signed is not served, every frame is logged."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

import cinert.backends.onnxruntime
from bedside.audit.verify import verify_audit
from bedside.cli import segment_cine
from bedside.mrd.send_cli import send_mrd
from bedside.mrd.serve_cli import serve_mrd
from cinert.bundle import open_bundle
from cinert.trust.keys import PRIVATE, PUBLIC, make_keys
from cinert.trust.signature import key_id, load_public_key
from cinert.trust.signing import sign


def run(command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys", None)
    return tmp_path / "keys" / PUBLIC


@pytest.fixture
def signed(make_bundle, key: Path) -> Path:
    folder = make_bundle("ort")
    sign(folder, key.parent / PRIVATE)
    return folder


@pytest.fixture
def serve(tmp_path: Path):
    """Starts serve-mrd in a process without torch and without model-signing; gives it and its port."""
    running = []

    def serve(*words: object) -> tuple[subprocess.Popen, int]:
        names = ["torch", "monai", "onnx", "matplotlib", "safetensors", "model_signing", "sigstore", "requests"]
        code = (
            f"import sys; sys.modules.update(dict.fromkeys({names}));"
            "from bedside.mrd.serve_cli import serve_mrd; serve_mrd(sys.argv[1:])"
        )
        # On a machine that is busy with other tests an engine may stand still for seconds.
        fixed = ["--port", "0", "--threads", "1", "--device", "cpu", "--hang-ms", "60000"]
        command = [sys.executable, "-c", code, *map(str, words), *fixed]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        running.append(process)
        for line in process.stdout:
            if found := re.search(r"serving MRD on 127\.0\.0\.1:(\d+)", line):
                return process, int(found[1])
        raise AssertionError("serve-mrd ended")

    yield serve
    for process in running:
        process.kill()
        process.communicate()


def test_every_frame_that_was_served_is_in_the_log(
    signed: Path, key: Path, serve, cine, tmp_path: Path, repository: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    process, port = serve(signed, "--trust", key, "--audit-log", log)

    sent = run(send_mrd, cine[0], "-o", tmp_path / "mask.nii.gz", "--port", port)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)

    assert sent.exit_code == 0, sent.output
    report = verify_audit(log)
    assert not report.problems
    assert not report.notes
    assert report.states.total() == 6
    opened, *frames, closed = map(json.loads, log.read_text().splitlines())
    assert (opened["service"], opened["budget_ms"], closed["kind"]) == ("serve-mrd", 50.0, "closed")
    assert opened["key"] == key_id(load_public_key(key))
    schema = json.loads((repository / "docs" / "schemas" / "audit-line.schema.json").read_text())
    for each in (opened, *frames, closed):
        assert [error.message for error in Draft202012Validator(schema).iter_errors(each)] == []
    assert {each["bundle"] for each in frames} == {open_bundle(signed).digest}
    assert {each["place"] for each in frames} == {1}
    files = sorted(signed.glob("ort-*"))
    sums = subprocess.run(["sha256sum", *(each.name for each in files)], cwd=signed, capture_output=True, check=True)
    whole = subprocess.run(["sha256sum"], input=sums.stdout, capture_output=True, check=True).stdout.decode()
    assert {each["engine"] for each in frames} == {whole.split()[0]}


def test_the_log_of_a_killed_service_holds(make_bundle, serve, cine, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    folder = make_bundle("ort")
    process, port = serve(folder, "--audit-log", log)
    assert run(send_mrd, cine[0], "--port", port).exit_code == 0
    process.kill()
    process.wait()

    _, port = serve(folder, "--audit-log", log)
    assert run(send_mrd, cine[0], "--port", port).exit_code == 0

    report = verify_audit(log)
    assert not report.problems
    assert report.states.total() >= 6


@pytest.mark.parametrize("command", [serve_mrd, segment_cine], ids=lambda command: command.name)
def test_what_is_not_signed_is_refused_before_an_engine_is_loaded(
    command, signed: Path, key: Path, cine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an engine was deserialised")

    monkeypatch.setattr(cinert.backends.onnxruntime.OnnxRuntimeBackend, "load", refuse)
    rest = () if command is serve_mrd else (cine[0], "-o", tmp_path / "mask.nii.gz")
    make_keys(tmp_path / "others", None)
    engine = next(signed.glob("ort-*"))
    good = engine.read_bytes()

    def refused(words: str, trust: Path = key) -> None:
        result = run(command, signed, *rest, "--trust", trust)
        assert result.exit_code == 2, result.output
        assert result.output.count("\n") == 1
        assert words in result.output
        assert not (tmp_path / "mask.nii.gz").exists()

    refused("made with another key", tmp_path / "others" / PUBLIC)
    engine.write_bytes(good + b"\0")
    refused("is not the file that was exported")
    engine.write_bytes(good)
    (signed / "extra.onnx").write_bytes(good)
    refused("holds extra.onnx")
    (signed / "extra.onnx").unlink()
    signed.with_name(f"{signed.name}.sig").unlink()
    refused("there is no signature")


def test_a_site_can_ask_for_signatures_everywhere(signed: Path, key: Path, ball, tmp_path: Path, monkeypatch) -> None:
    image, affine = ball
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "cine.nii.gz")
    monkeypatch.setenv("CINERT_TRUST", str(key))
    words = (signed, tmp_path / "cine.nii.gz", "-o", tmp_path / "mask.nii.gz", "--threads", 1)

    assert run(segment_cine, *words).exit_code == 0
    assert np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj).any()
    signed.with_name(f"{signed.name}.sig").unlink()
    assert run(segment_cine, *words).exit_code == 2


def test_a_log_that_cannot_be_written_is_one_line(make_bundle, tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("dear reader\n")

    for path, words in {tmp_path: "it is a folder", letter: "is no audit log"}.items():
        result = run(serve_mrd, make_bundle("ort"), "--threads", 1, "--port", 0, "--audit-log", path)
        assert result.exit_code == 2, result.output
        assert result.output.startswith("serve-mrd: ")
        assert words in result.output
    assert letter.read_text() == "dear reader\n"
