"""Signatures of bundles: what was signed, and by whose key. Offline, and free of torch.

The format is that of `model-signing` (Sigstore): a Sigstore bundle (v0.3, JSON) holds a DSSE envelope, which holds an
in-toto statement with the SHA-256 of every file, signed by ECDSA. `cinert.trust.signing` writes it with that package.
It is read here, with `cryptography` alone, for two reasons: `model-signing` hashes the folder itself and says yes or
no, so that what is loaded later may be something else; and it brings 27 packages, among them a web client, to the
bedside.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cinert.errors import BadInputError
from cinert.files import read_bytes

SUFFIX = ".sig"
_MAX_BYTES = 2**20
_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_SHA256 = re.compile(r"[0-9a-f]{64}")
HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}
"""Curves that `model-signing` takes, with the hash that goes with each."""
NO_SUCH_KEY = "is not an elliptic-curve key on P-256, P-384 or P-521."


@dataclass(frozen=True, slots=True)
class Signed:
    """What a valid signature says."""

    files: Mapping[str, str]
    """SHA-256 by name; a file that was signed alone is named `.`."""
    key_id: str
    """Of the key that signed."""


def signature_path(target: Path) -> Path:
    """Where the signature of a bundle or file lies: beside it, because a bundle holds what its manifest lists."""
    named = target.resolve() if target.name in {"", ".."} else target
    return named.with_name(f"{named.name}{SUFFIX}")


def load_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Read a public key in PEM.

    Raises:
        BadInputError: it cannot be read, or is not an EC key on P-256, P-384 or P-521.
    """
    data = read_bytes(path, "the public key")
    try:
        key = serialization.load_pem_public_key(data)
    except ValueError as error:
        private = b"PRIVATE KEY" in data
        raise BadInputError(
            f"{path} is no public key in PEM{': it is a private key' if private else ''}.",
            hint="cinert keygen writes private.pem and public.pem; the public one goes here.",
        ) from error
    except UnsupportedAlgorithm as error:
        raise BadInputError(f"{path} {NO_SUCH_KEY}", hint="see cinert keygen.") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in HASHES:
        raise BadInputError(f"{path} {NO_SUCH_KEY}", hint="see cinert keygen.")
    return key


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the public key's PEM, by which signatures name it."""
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def read_signature(path: Path, public_key: Path) -> Signed:
    """Read a signature and hold it against a key; nothing that it says is used before that.

    Raises:
        BadInputError: signature or key cannot be read, the signature was made with another key, or does not hold.
    """
    key = load_public_key(public_key)
    if not path.is_file():
        raise BadInputError(f"there is no signature {path}.", hint="sign-bundle writes one beside the bundle.")
    if path.stat().st_size > _MAX_BYTES:
        raise BadInputError(f"{path} is no signature: it has {path.stat().st_size} bytes.")
    try:
        document = json.loads(read_bytes(path, "the signature"))
        if document["mediaType"] != _MEDIA_TYPE:
            raise ValueError(f"media type {document['mediaType']!r}")
        envelope = document["dsseEnvelope"]
        if envelope["payloadType"] != _PAYLOAD_TYPE:
            raise ValueError(f"payload type {envelope['payloadType']!r}")
        (entry,) = envelope["signatures"]
        payload, signature = (base64.b64decode(text, validate=True) for text in (envelope["payload"], entry["sig"]))
        hint = document["verificationMaterial"]["publicKey"]["hint"]
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise BadInputError(
            f"{path} is no signature of a bundle, or not a whole one: {_words(error)}.", hint="copy it again."
        ) from error
    if hint != key_id(key):
        raise BadInputError(
            f"the signature {path} was made with another key than {public_key}.", hint="whose bundle is it?"
        )
    try:
        key.verify(signature, _encoded(payload), ec.ECDSA(HASHES[key.curve.name]()))
    except InvalidSignature as error:
        raise BadInputError(
            f"the signature {path} does not hold: it was changed.", hint="copy it again, or sign the bundle again."
        ) from error
    return Signed(_files(payload, path), key_id(key))


def _encoded(payload: bytes) -> bytes:
    """What is signed (DSSE 1.0, pre-authentication encoding)."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def _files(payload: bytes, path: Path) -> dict[str, str]:
    try:
        statement: dict[str, Any] = json.loads(payload)
        predicate = statement["predicate"]
        if (statement["_type"], statement["predicateType"]) != (_STATEMENT, _PREDICATE):
            raise ValueError(f"a statement of the type {statement['predicateType']!r}")
        if predicate["serialization"]["method"] != "files":
            raise ValueError(f"serialisation by {predicate['serialization']['method']!r}")
        resources = predicate["resources"]
        files = {str(item["name"]): str(item["digest"]) for item in resources if item["algorithm"] == "sha256"}
        if not files or len(files) != len(resources) or not all(map(_SHA256.fullmatch, files.values())):
            raise ValueError("files without a SHA-256 of their own")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInputError(f"{path} signs something else than a bundle: {_words(error)}.") from error
    return files


def _words(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split()) or type(error).__name__
