"""Opening a bundle that a key's owner has signed. Free of torch."""

from __future__ import annotations

from pathlib import Path

import click

from cinert.bundle import Bundle, open_bundle
from cinert.bundle_manifest import MANIFEST
from cinert.cli import Decorator
from cinert.errors import BadInputError
from cinert.files import read_bytes, sha256_of
from cinert.trust.signature import Signed, read_signature, signature_path

_ALONE = "."
"""Name of a file that was signed on its own."""


def trust_option() -> Decorator:
    """`--trust PUBLIC.pem`, or the environment variable CINERT_TRUST."""
    return click.option(
        "--trust",
        type=click.Path(path_type=Path),
        metavar="PUBLIC.pem",
        envvar="CINERT_TRUST",
        show_envvar=True,
        help="Use a bundle only if BUNDLE.sig was made with this key's private half.",
    )


def open_trusted(folder: Path, key: Path | None, signature: Path | None = None) -> Bundle:
    """Open a bundle; with a key, only one that was signed with it.

    The signature pins manifest.json, which pins the rest, and each file is hashed as it is read: what is deserialised
    later is what was signed, even if somebody exchanges a file in between.

    Args:
        folder: the bundle.
        key: public key in PEM; None opens a bundle that nobody signed.
        signature: where it lies; None looks beside the bundle.

    Raises:
        BadInputError: as `cinert.trust.signature.read_signature` and `cinert.bundle.open_bundle`.
    """
    return open_bundle(folder) if key is None else open_signed(folder, key, signature)[0]


def open_signed(folder: Path, key: Path, signature: Path | None = None) -> tuple[Bundle, Signed]:
    """As `open_trusted`, with what the signature says."""
    path = signature or signature_path(folder)
    if not folder.is_dir():
        raise BadInputError(f"there is no bundle {folder}.", hint="export-engine writes one.")
    signed = read_signature(path, key)
    if MANIFEST not in signed.files:
        raise BadInputError(f"{path} signs no bundle: it does not name {MANIFEST}.")
    try:
        bundle = open_bundle(folder, digest=signed.files[MANIFEST])
    except BadInputError as error:
        raise BadInputError(f"not what {path} signs: {error.message}", hint=error.hint) from error
    if {**bundle.manifest.files, MANIFEST: bundle.digest} != dict(signed.files):
        raise BadInputError(
            f"{path} does not sign the files that {folder / MANIFEST} lists.",
            hint="sign-bundle checks a bundle before it signs it.",
        )
    return bundle, signed


def check_signed_file(path: Path, key: Path, signature: Path | None = None) -> Signed:
    """Hold a file that was signed on its own, such as a certificate, against its signature.

    Raises:
        BadInputError: as `cinert.trust.signature.read_signature`, and where the file is not the one that was signed.
    """
    where = signature or signature_path(path)
    signed = read_signature(where, key)
    if signed.files != {_ALONE: sha256_of(read_bytes(path, "the file"))}:
        raise BadInputError(f"{path} is not the file that {where} signs.", hint="copy both again, or sign it again.")
    return signed
