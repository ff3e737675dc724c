"""The commands `sign-bundle`, `verify-bundle` and `cinert keygen`."""

from __future__ import annotations

from pathlib import Path

import click

from cinert.cli import command, console
from cinert.errors import BackendUnavailableError, BadInputError
from cinert.files import check_output_file
from cinert.trust.opening import check_signed_file, open_signed
from cinert.trust.signature import signature_path


@command(
    "keygen",
    examples="""
cinert keygen -o keys
cinert keygen --encrypt -o /media/offline/keys
""",
)
@click.option("--encrypt", is_flag=True, help="Ask for a password that the private key is encrypted with.")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for private.pem and public.pem."
)
def keygen(encrypt: bool, output: Path) -> None:
    """Make a key pair to sign bundles with: an elliptic-curve key on P-256, as openssl would.

    private.pem stays with whoever answers for the bundles, best on a medium that is not connected to anything.
    public.pem goes to every machine that uses them; --trust names it there.
    """
    from cinert.trust.keys import PRIVATE, PUBLIC, make_keys

    for name in (PRIVATE, PUBLIC):
        check_output_file(output / name)
    password = click.prompt("Password", hide_input=True, confirmation_prompt=True) if encrypt else None
    number = make_keys(output, password)
    console.print(f"wrote {output / PRIVATE} and {output / PUBLIC}, key {number[:12]}", markup=False)


@command(
    "sign-bundle",
    examples="""
sign-bundle bundle --key keys/private.pem
sign-bundle bundle.certificate.json --key keys/private.pem
""",
)
@click.argument("target", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--key", required=True, type=click.Path(path_type=Path), help="Private key in PEM; an encrypted one asks."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Signature to write. [default: BUNDLE.sig]")
def sign_bundle(target: Path, key: Path, output: Path | None) -> None:
    """Sign a bundle, or a file that lies beside it, such as its certificate.

    The bundle is checked first. The signature lies beside it, as BUNDLE.sig, because a bundle holds what its manifest
    lists and nothing else. The format is that of model-signing, which verifies it too; no network is used.
    """
    from cinert.trust.keys import is_encrypted

    try:
        from cinert.trust.signing import sign
    except ImportError as error:
        raise BackendUnavailableError(
            f"signing needs the package model-signing: {error}.",
            hint="a bundle is signed where it is made; the bedside only verifies.",
        ) from error
    check_output_file(output or signature_path(target))
    password = click.prompt("Password", hide_input=True) if is_encrypted(key) else None
    path = sign(target, key, password, output=output)
    console.print(f"wrote {path}", markup=False)


@command(
    "verify-bundle",
    examples="""
verify-bundle bundle --key keys/public.pem
verify-bundle bundle --key public.pem --signature received/bundle.sig
verify-bundle bundle.certificate.json --key public.pem
""",
)
@click.argument("target", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option("--key", required=True, type=click.Path(path_type=Path), help="Public key in PEM.")
@click.option("--signature", type=click.Path(path_type=Path), help="Signature. [default: BUNDLE.sig]")
def verify_bundle(target: Path, key: Path, signature: Path | None) -> None:
    """Say whether a bundle, or a file beside it, is what the owner of a key has signed.

    No engine is loaded and no network is used. A changed byte, a file too many or too few, another key or a
    spoiled signature is one line and exit code 2.
    """
    if target.is_dir():
        bundle, signed = open_signed(target, key, signature)
        what = f"bundle {bundle.digest[:12]}, {len(signed.files)} files"
    elif target.is_file():
        signed = check_signed_file(target, key, signature)
        what = "1 file"
    else:
        raise BadInputError(f"there is no bundle or file {target}.")
    console.print(f"{target} is what was signed with the key {signed.key_id[:12]}: {what}", markup=False)
