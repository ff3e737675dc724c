"""The audit log of a command that serves: its options, and what its lines say of bundle and engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from bedside.audit.log import AuditLog
from cinert import __version__
from cinert.bundle import Bundle
from cinert.cli import Decorator, FiniteRange
from cinert.files import sha256_of


def audit_options() -> Decorator:
    """`--audit-log FILE` and `--audit-mib SIZE`."""
    log = click.option(
        "--audit-log",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Append a line per frame, each with the hash of the line before; cinert audit-verify checks it.",
    )
    size = click.option(
        "--audit-mib",
        default=1024.0,
        type=FiniteRange(min=1),
        help="Size of the audit log with its full files, FILE.000001 and so on; the oldest goes. An hour at 22 frames/s"
        " takes 45 MiB.",
    )
    return lambda function: log(size(function))


def engine_digest(bundle: Bundle) -> str:
    """SHA-256 of the engine's files, as `sha256sum FILE... | sha256sum` gives it in the manifest's order."""
    files = bundle.manifest.files
    return sha256_of("".join(f"{files[name]}  {name}\n" for name in bundle.manifest.engine).encode())


def service_log(
    path: Path,
    *,
    max_mib: float,
    service: str,
    bundle: Bundle,
    settings: Mapping[str, Any],
    tell: Callable[[str], None],
) -> AuditLog:
    """The audit log of a service with a bundle.

    Args:
        path: file to append to.
        max_mib: size of all files of the log.
        service: name of the command.
        bundle: what makes the masks.
        settings: what else the first line says, such as device and budget; plain values.
        tell: takes a line for the operator.

    Raises:
        BadInputError: as `AuditLog`.
    """
    identity = {"bundle": bundle.digest, "engine": engine_digest(bundle)}
    names = (*bundle.manifest.engine, *bundle.manifest.localiser)
    opened = {
        "service": service,
        "cinert": __version__,
        **identity,
        "engine_files": {name: bundle.manifest.files[name] for name in names},
        **settings,
    }
    return AuditLog(path, max_bytes=round(max_mib * 2**20), opened=opened, identity=identity, tell=tell)
