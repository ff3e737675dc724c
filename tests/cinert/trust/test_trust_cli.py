"""keygen, sign-bundle, verify-bundle and --trust: the whole way, and bad input in one line."""

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cinert.main import main
from cinert.trust.cli import keygen, sign_bundle, verify_bundle


def run(command, *arguments: object, **more) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], **more)


def assert_refused(result: Result, *words: str, code: int = 2) -> None:
    assert result.exit_code == code, result.output
    assert result.output.count("\n") == 1, result.output
    for word in words:
        assert word in result.output


def test_the_whole_way(folder: Path, tmp_path: Path) -> None:
    made = run(main, "keygen", "-o", tmp_path / "k")
    signed = run(sign_bundle, folder, "--key", tmp_path / "k" / "private.pem")
    verified = run(verify_bundle, folder, "--key", tmp_path / "k" / "public.pem")

    assert [result.exit_code for result in (made, signed, verified)] == [0, 0, 0]
    assert f"wrote {folder}.sig" in signed.output
    assert "is what was signed with the key" in verified.output
    assert "6 files" in verified.output


def test_keys_made_by_openssl_do(folder: Path, tmp_path: Path) -> None:
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    for line in (
        f"openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {private}",
        f"openssl pkey -in {private} -pubout -out {public}",
    ):
        subprocess.run(line.split(), check=True, capture_output=True)

    assert run(sign_bundle, folder, "--key", private).exit_code == 0
    assert run(verify_bundle, folder, "--key", public).exit_code == 0


def test_an_encrypted_key_asks(folder: Path, tmp_path: Path) -> None:
    made = run(keygen, "--encrypt", "-o", tmp_path / "k", input="horse\nhorse\n")
    wrong = run(sign_bundle, folder, "--key", tmp_path / "k" / "private.pem", input="donkey\n")
    right = run(sign_bundle, folder, "--key", tmp_path / "k" / "private.pem", input="horse\n")

    assert (made.exit_code, wrong.exit_code, right.exit_code) == (0, 2, 0)
    assert "horse" not in made.output + right.output
    assert "its password is another one" in wrong.output


def test_a_key_is_never_written_over(keys) -> None:
    before = keys.private.read_bytes()

    assert_refused(run(keygen, "-o", keys.private.parent), "keygen: ", "private.pem exists")
    assert keys.private.read_bytes() == before


def test_a_signature_in_another_place(folder: Path, keys, tmp_path: Path) -> None:
    elsewhere = tmp_path / "signatures" / "heart.sig"

    assert run(sign_bundle, folder, "--key", keys.private, "-o", elsewhere).exit_code == 0
    assert run(verify_bundle, folder, "--key", keys.public, "--signature", elsewhere).exit_code == 0
    assert_refused(run(verify_bundle, folder, "--key", keys.public), "verify-bundle: ", "there is no signature")


def test_a_signature_may_not_lie_in_the_bundle(folder: Path, keys) -> None:
    result = run(sign_bundle, folder, "--key", keys.private, "-o", folder / "bundle.sig")

    assert_refused(result, "sign-bundle: ", "lies in the bundle")
    assert not (folder / "bundle.sig").exists()


def test_a_signature_does_not_take_the_place_of_what_it_signs(keys, tmp_path: Path) -> None:
    certificate = tmp_path / "bundle.certificate.json"
    certificate.write_text("{}")
    before = keys.private.read_bytes()

    for place in (certificate, keys.private):
        assert_refused(run(sign_bundle, certificate, "--key", keys.private, "-o", place), "would overwrite")
    assert (certificate.read_text(), keys.private.read_bytes()) == ("{}", before)


def test_a_link_is_not_signed(keys, tmp_path: Path) -> None:
    (tmp_path / "certificate.json").write_text("{}")
    (tmp_path / "link.json").symlink_to(tmp_path / "certificate.json")

    assert_refused(run(sign_bundle, tmp_path / "link.json", "--key", keys.private), "cannot sign", "link.json")
    assert not (tmp_path / "link.json.sig").exists()


@pytest.mark.parametrize("command", [sign_bundle, verify_bundle])
def test_what_is_not_there_is_one_line(command, keys, tmp_path: Path) -> None:
    key = keys.private if command is sign_bundle else keys.public

    assert_refused(run(command, tmp_path / "none", "--key", key), "there is no bundle or file")
    assert_refused(run(command, keys.public, "--key", tmp_path / "none.pem"), "cannot read the", "none.pem")


def test_a_tampered_bundle_is_one_line(folder: Path, keys) -> None:
    run(sign_bundle, folder, "--key", keys.private)
    (folder / "ort-fp32.onnx").write_bytes(b"another engine")

    result = run(verify_bundle, folder, "--key", keys.public)

    assert_refused(result, "verify-bundle: ", "not what", "ort-fp32.onnx")


VERIFY_ALONE = """
import sys
names = ["torch", "monai", "onnx", "matplotlib", "safetensors", "model_signing", "sigstore", "pydantic", "requests"]
sys.modules.update(dict.fromkeys(names))
import socket
def refuse(*_, **__):
    raise AssertionError("a network was used")
socket.socket.connect = socket.getaddrinfo = refuse
from cinert.trust.cli import sign_bundle, verify_bundle
(verify_bundle if sys.argv[1] == "verify" else sign_bundle)(sys.argv[2:])
"""


def test_the_bedside_verifies_without_torch_model_signing_or_network(folder: Path, keys, run_python) -> None:
    run(sign_bundle, folder, "--key", keys.private)

    verified = run_python(VERIFY_ALONE, "verify", folder, "--key", keys.public)
    signed = run_python(VERIFY_ALONE, "sign", folder, "--key", keys.private)

    assert verified.returncode == 0, verified.stderr
    assert signed.returncode == 3, signed.stderr
    assert signed.stderr.startswith("sign-bundle: signing needs the package model-signing")
