"""What the commands on bundles share: data, and how a bundle and where it runs are named in what they write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cinert.backends import resolve_backend
from cinert.bundle import Bundle
from cinert.device_lock import device_of
from cinert.environment import fingerprint
from cinert.errors import BadInputError

GOOD_DICE, CATCH = 0.7, 0.9
"""Defaults of calibrate-quality, and what bench-robustness asks of a bundle without a calibration."""


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
