"""Key pairs that bundles are signed with."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cinert.errors import BadInputError
from cinert.files import atomic_path, read_bytes
from cinert.trust.signature import HASHES, NO_SUCH_KEY, key_id

PRIVATE, PUBLIC = "private.pem", "public.pem"


def make_keys(folder: Path, password: str | None) -> str:
    """Write a new key pair on P-256: `private.pem`, which only its owner can read, and `public.pem`.

    Args:
        folder: made where it is missing.
        password: encrypts the private key; None leaves it in clear.

    Returns:
        The key's id.

    Raises:
        BadInputError: there are keys already, or the folder cannot be written.
    """
    if present := [name for name in (PRIVATE, PUBLIC) if (folder / name).exists()]:
        raise BadInputError(
            f"{folder / present[0]} exists: a key that was overwritten is lost for good.", hint="name another folder."
        )
    key = ec.generate_private_key(ec.SECP256R1())
    protection = (
        serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password.encode())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    # Readable by nobody else from its first byte on.
    with (
        atomic_path(folder / PRIVATE) as partial,
        os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream,
    ):
        stream.write(private)
    with atomic_path(folder / PUBLIC) as partial:
        partial.write_bytes(public)
    return key_id(key.public_key())


def is_encrypted(private_key: Path) -> bool:
    """Whether a private key asks for a password.

    Raises:
        BadInputError: it cannot be read.
    """
    return b"ENCRYPTED" in read_bytes(private_key, "the private key")


def public_half(private_key: Path, password: str | None) -> bytes:
    """The public key in PEM that belongs to a private one.

    Raises:
        BadInputError: the private key cannot be read, or is of another kind.
    """
    data = read_bytes(private_key, "the private key")
    try:
        key = serialization.load_pem_private_key(data, None if password is None else password.encode())
    except (ValueError, TypeError) as error:
        wrong = "its password is another one" if is_encrypted(private_key) else "it is no private key in PEM"
        raise BadInputError(f"cannot use the key {private_key}: {wrong}.", hint="cinert keygen makes one.") from error
    except UnsupportedAlgorithm as error:
        raise BadInputError(f"{private_key} {NO_SUCH_KEY}", hint="cinert keygen makes one.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in HASHES:
        raise BadInputError(f"{private_key} {NO_SUCH_KEY}", hint="cinert keygen makes one.")
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
