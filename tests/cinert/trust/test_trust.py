"""Only what the owner of a key has signed is opened; model-signing itself agrees about what that is."""

import base64
import json
import random
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from model_signing import verifying

import cinert.bundle
from cinert.bundle import open_bundle
from cinert.errors import BadInputError
from cinert.files import sha256_of_file
from cinert.trust.keys import is_encrypted
from cinert.trust.opening import check_signed_file, open_signed, open_trusted
from cinert.trust.signature import HASHES, read_signature, signature_path
from cinert.trust.signing import sign

FILES = ("arch.yaml", "manifest.json", "model.onnx", "ort-fp32.onnx", "preprocessing.json", "weights.safetensors")


@pytest.fixture
def signed(folder: Path, keys) -> Path:
    return sign(folder, keys.private)


@pytest.fixture
def nothing_is_read(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was used before the signature was checked")

    for name in ("arch_from_dict", "Engine"):
        monkeypatch.setattr(cinert.bundle, name, refuse)
    monkeypatch.setattr(cinert.bundle.PreprocessingSpec, "from_dict", refuse)


def model_signing_accepts(folder: Path, signature: Path, public: Path) -> bool:
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=public).verify(folder, signature)
    except ValueError:
        return False
    return True


def test_a_signed_bundle_is_opened(folder: Path, keys, signed: Path) -> None:
    bundle, statement = open_signed(folder, keys.public)

    assert signed == folder.parent / "bundle.sig"
    assert bundle.digest == sha256_of_file(folder / "manifest.json")
    assert statement.files == {name: sha256_of_file(folder / name) for name in FILES}
    assert model_signing_accepts(folder, signed, keys.public)


def test_without_a_key_nobody_asks_for_a_signature(folder: Path) -> None:
    assert open_trusted(folder, None).digest == open_bundle(folder).digest


@pytest.mark.usefixtures("nothing_is_read")
@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_refused(folder: Path, keys, signed: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1
    (folder / name).write_bytes(data)

    with pytest.raises(BadInputError, match=rf"not what .*bundle\.sig signs: .*{name}"):
        open_trusted(folder, keys.public)
    assert not model_signing_accepts(folder, signed, keys.public)


@pytest.mark.usefixtures("nothing_is_read")
@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(folder: Path, keys, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(BadInputError, match=name):
        open_trusted(folder, keys.public)


@pytest.mark.usefixtures("nothing_is_read")
@pytest.mark.parametrize("name", ["extra.onnx", ".gitignore", ".git", ".hidden"])
def test_an_extra_file_is_refused(folder: Path, keys, name: str) -> None:
    """model-signing passes over what belongs to git; a bundle has none of it."""
    (folder / name).write_text("x")

    with pytest.raises(BadInputError, match=rf"holds {name}, which its manifest does not list"):
        open_trusted(folder, keys.public)


@pytest.mark.usefixtures("nothing_is_read")
def test_a_manifest_that_fits_the_changed_files_is_refused(folder: Path, keys, signed: Path) -> None:
    """Whoever changes a file can write its new hash into the manifest too; only the signature shows it."""
    (folder / "ort-fp32.onnx").write_bytes(b"another engine")
    document = json.loads((folder / "manifest.json").read_text())
    document["files"]["ort-fp32.onnx"] = sha256_of_file(folder / "ort-fp32.onnx")
    (folder / "manifest.json").write_text(json.dumps(document))

    with pytest.raises(BadInputError, match=r"manifest\.json is not the expected one"):
        open_trusted(folder, keys.public)
    assert not model_signing_accepts(folder, signed, keys.public)


@pytest.mark.usefixtures("nothing_is_read")
def test_a_bundle_signed_with_another_key_is_refused(folder: Path, make_pair) -> None:
    with pytest.raises(BadInputError, match="made with another key than"):
        open_trusted(folder, make_pair("others").public)


def test_a_key_that_is_only_named_does_not_help(folder: Path, keys, make_pair) -> None:
    """The id of the key is not part of what is signed: anybody can write it there."""
    path = sign(folder, make_pair("others").private)
    foreign = json.loads(path.read_text())
    own = json.loads(sign(folder, keys.private).read_text())
    foreign["verificationMaterial"] = own["verificationMaterial"]
    path.write_text(json.dumps(foreign))

    with pytest.raises(BadInputError, match="does not hold"):
        open_trusted(folder, keys.public)


@pytest.mark.usefixtures("nothing_is_read")
def test_another_statement_under_the_same_signature_is_refused(folder: Path, keys, signed: Path) -> None:
    document = json.loads(signed.read_text())
    payload = base64.b64decode(document["dsseEnvelope"]["payload"]).replace(b'"bundle"', b'"bandle"')
    document["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    signed.write_text(json.dumps(document))

    with pytest.raises(BadInputError, match="does not hold"):
        open_trusted(folder, keys.public)


@pytest.mark.usefixtures("nothing_is_read")
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_signature_is_refused(folder: Path, keys, signed: Path, share: float) -> None:
    data = signed.read_bytes()
    signed.write_bytes(data[: int(len(data) * share)])

    with pytest.raises(BadInputError, match="is no signature of a bundle, or not a whole one"):
        open_trusted(folder, keys.public)


@pytest.mark.parametrize(
    "text", ["[]", "null", "{}", '"text"', "1" * 5000, "[" * 100_000, "\x00\xff", '{"mediaType": "other"}']
)
def test_anything_else_in_its_place_is_refused(folder: Path, keys, signed: Path, text: str) -> None:
    signed.write_bytes(text.encode("latin-1"))

    with pytest.raises(BadInputError, match="is no signature of a bundle"):
        open_trusted(folder, keys.public)


def test_a_spoiled_signature_never_signs_something_else(folder: Path, keys, signed: Path) -> None:
    """Some bytes carry nothing (the key's name, white space): with them changed it may hold, for the same files."""
    good, expected = signed.read_bytes(), read_signature(signed, keys.public)
    chance = random.Random(0)
    refused = 0
    for _ in range(400):
        data = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        signed.write_bytes(data)
        try:
            assert read_signature(signed, keys.public) == expected
        except BadInputError:
            refused += 1
    assert refused > 300


def test_no_signature_and_one_without_end(folder: Path, keys, signed: Path) -> None:
    signed.write_bytes(bytes(2**21))
    with pytest.raises(BadInputError, match="is no signature: it has 2097152 bytes"):
        open_trusted(folder, keys.public)
    signed.unlink()
    with pytest.raises(BadInputError, match=r"there is no signature .*bundle\.sig"):
        open_trusted(folder, keys.public)


def test_a_file_exchanged_after_the_check_is_not_what_runs(folder: Path, keys, signed: Path) -> None:
    bundle = open_trusted(folder, keys.public)

    (folder / "ort-fp32.onnx").write_bytes(b"another engine")

    assert dict(bundle.engine.files) == {"onnx": b"stands for an engine"}
    with pytest.raises(BadInputError, match=r"ort-fp32\.onnx is not the file"):
        open_bundle(folder, digest=bundle.digest)


def test_another_bundle_under_the_old_signature_is_refused(folder: Path, keys, signed: Path, tmp_path: Path) -> None:
    """An export in the same place leaves the signature of the bundle before."""
    document = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**document, "created": "2026-01-01T00:00:00+00:00"}))

    open_bundle(folder)
    with pytest.raises(BadInputError, match="is not the expected one"):
        open_trusted(folder, keys.public)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_every_curve_of_model_signing_does(folder: Path, tmp_path: Path, curve: ec.EllipticCurve) -> None:
    assert curve.name in HASHES
    key = ec.generate_private_key(curve)
    private, public = tmp_path / "p.pem", tmp_path / "q.pem"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )

    sign(folder, private)

    assert open_trusted(folder, public).digest == open_bundle(folder).digest
    assert model_signing_accepts(folder, signature_path(folder), public)


SECP112R1 = "MDIwEAYHKoZIzj0CAQYFK4EEAAYDHgAELQ7VvMdwAdeKsMrtkpbXKARmrrqAY2/E\nMXpzLg=="
"""A public key on a curve that `cryptography` does not know."""


def test_what_is_no_key_of_the_right_kind_is_refused(folder: Path, keys, signed: Path, tmp_path: Path) -> None:
    other = tmp_path / "ed25519.pem"
    other.write_bytes(
        ed25519.Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    unknown = tmp_path / "secp112r1.pem"
    unknown.write_text(f"-----BEGIN PUBLIC KEY-----\n{SECP112R1}\n-----END PUBLIC KEY-----\n")
    for path, words in {
        other: "not an elliptic-curve key",
        unknown: "not an elliptic-curve key",
        keys.private: "it is a private key",
        signed: "no public key in PEM",
        tmp_path / "missing.pem": "cannot read the public key",
    }.items():
        with pytest.raises(BadInputError, match=words):
            open_trusted(folder, path)
    with pytest.raises(BadInputError, match="no private key in PEM"):
        sign(folder, keys.public)


def test_an_encrypted_key_takes_its_password(folder: Path, make_pair) -> None:
    pair = make_pair("encrypted", "correct horse")

    assert is_encrypted(pair.private)
    for wrong in (None, "battery staple"):
        with pytest.raises(BadInputError, match="its password is another one"):
            sign(folder, pair.private, wrong)
    assert not signature_path(folder).exists()
    sign(folder, pair.private, "correct horse")
    open_trusted(folder, pair.public)


def test_a_bundle_that_was_changed_is_not_signed(folder: Path, keys) -> None:
    (folder / "model.onnx").write_bytes(b"x")

    with pytest.raises(BadInputError, match="is not the file that was exported"):
        sign(folder, keys.private)
    assert not signature_path(folder).exists()


def test_a_file_that_changes_while_it_is_signed_leaves_no_signature(
    folder: Path, keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_and_change(path: Path) -> None:
        open_bundle(path)
        (path / "model.onnx").write_bytes(b"x")

    monkeypatch.setattr("cinert.trust.signing.open_bundle", open_and_change)

    with pytest.raises(BadInputError, match=r"model\.onnx is not the file"):
        sign(folder, keys.private)
    assert not signature_path(folder).exists()


def test_a_certificate_is_signed_on_its_own(folder: Path, keys, tmp_path: Path) -> None:
    certificate = tmp_path / "bundle.certificate.json"
    certificate.write_text('{"bundle": "0123"}')

    path = sign(certificate, keys.private)

    assert path == tmp_path / "bundle.certificate.json.sig"
    check_signed_file(certificate, keys.public)
    certificate.write_text('{"bundle": "0124"}')
    with pytest.raises(BadInputError, match="is not the file that"):
        check_signed_file(certificate, keys.public)
    shutil.copy(path, signature_path(folder))
    with pytest.raises(BadInputError, match="signs no bundle"):
        open_trusted(folder, keys.public)


def test_the_private_key_is_its_owners(keys) -> None:
    assert keys.private.stat().st_mode & 0o077 == 0


def test_the_signature_lies_beside_the_bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for name in (folder, Path(f"{folder}/"), Path(), Path("../bundle")):
        assert signature_path(name).resolve() == folder.parent / "bundle.sig"
