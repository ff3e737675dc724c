"""Signing by `model-signing`, which is not needed at the bedside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_signing import signing

from cinert.bundle import open_bundle
from cinert.errors import BadInputError
from cinert.files import atomic_path
from cinert.trust.keys import public_half
from cinert.trust.opening import check_signed_file, open_signed
from cinert.trust.signature import signature_path


def sign(target: Path, private_key: Path, password: str | None = None, *, output: Path | None = None) -> Path:
    """Sign a bundle, after its files were checked, or a single file such as a certificate.

    Args:
        target: bundle folder, or file.
        private_key: EC key in PEM, on P-256, P-384 or P-521.
        password: of the key, where it has one.
        output: signature to write; None writes beside the target.

    Returns:
        The signature.

    Raises:
        BadInputError: the bundle is not what was exported, the key cannot be used, or nothing can be written.
    """
    public = public_half(private_key, password)
    if target.is_dir():
        open_bundle(target)
    elif not target.is_file():
        raise BadInputError(f"there is no bundle or file {target}.")
    path = output or signature_path(target)
    if target.is_dir() and path.resolve().parent == target.resolve():
        raise BadInputError(f"{path} lies in the bundle, which may hold what its manifest lists and nothing else.")
    if path.resolve() in {target.resolve(), private_key.resolve()}:
        raise BadInputError(f"the signature {path} would overwrite what it is made of.", hint="name another with -o.")
    with atomic_path(path) as partial:
        # The package hands the password on to `cryptography`, which takes bytes, though it is annotated as text.
        secret: Any = None if password is None else password.encode()
        config = signing.Config()
        try:
            config.use_elliptic_key_signer(private_key=private_key, password=secret).sign(target, partial)
        except ValueError as error:
            raise BadInputError(f"cannot sign {target}: {error}.") from error
        # What is written is what a verifier will find, also if a file was changed meanwhile.
        verifying = partial.with_suffix(".pem")
        verifying.write_bytes(public)
        if target.is_dir():
            open_signed(target, verifying, partial)
        else:
            check_signed_file(target, verifying, partial)
    return path
