"""What the commands on bundles share: data, where the engine runs, and how a bundle is named in what they write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cinert.backends import resolve_backend
from cinert.bundle import Bundle
from cinert.device_lock import device_of
from cinert.environment import fingerprint
from cinert.errors import BadInputError

GOOD_DICE, CATCH = 0.7, 0.9
"""Defaults of calibrate-quality, and what bench-robustness asks of a bundle without a calibration."""


def device_options(function: Any) -> Any:
    """`--threads` and `--device`."""
    threads = click.option(
        "--threads", type=click.IntRange(min=1), show_default="physical cores", help="CPU threads of the engine."
    )
    device = click.option("--device", default="auto", metavar="auto|cpu|cuda:N", help="Where the engine runs.")
    return device(threads(function))


def require_data(data: Path | None) -> Path:
    """Refuse to start without data.

    Raises:
        BadInputError: there is none.
    """
    if data is None:
        raise BadInputError("no data: neither --data nor CINERT_DATA is given.", hint="make-phantom writes a data set.")
    return data


def describe(bundle: Bundle) -> dict[str, Any]:
    """A bundle in the documents of these commands."""
    return {"folder": str(bundle.folder), "digest": bundle.digest, "arch_digest": bundle.arch.digest}


def device_used(bundle: Bundle, device: str) -> str:
    """`cpu` or `cuda:N`, to be locked.

    Raises:
        BadInputError: unknown device.
        BackendUnavailableError: the bundle's back end does not run here.
    """
    return device_of(resolve_backend(bundle.backend, device, bundle.precision), device)


def fingerprint_here(bundle: Bundle, device: str, threads: int) -> dict[str, Any]:
    """Fingerprint of a measurement of the bundle to come."""
    backend = resolve_backend(bundle.backend, device, bundle.precision)
    return fingerprint(backend, device=device, threads=threads, precision=bundle.precision)
