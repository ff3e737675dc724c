"""The estimate that a measurement is held against, and whether it speaks of this device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cinert.bundle import Bundle
from cinert.environment import binding_differences, device_name
from cinert.errors import BadInputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """An estimate and where it comes from."""

    values: Mapping[str, float]
    """{ms, low_ms, high_ms, throughput_fps}."""
    origin: Literal["lut", "manifest"]
    lut_id: str
    device: str
    """Device of the LUT, for people."""
    differences: Sequence[str]
    """How that device differs from this one; not empty only with --foreign-lut."""

    def to_dict(self) -> dict[str, Any]:
        """Where the estimate comes from, for verify.json."""
        return {
            "origin": self.origin,
            "id": self.lut_id,
            "device": self.device,
            "differences": list(self.differences),
        }


def find_reference(
    bundle: Bundle, lut_path: Path | None, here: Mapping[str, Any], *, allow_foreign: bool
) -> Reference | None:
    """Take the estimate from the LUT, or else from the bundle's manifest.

    Args:
        bundle: what is measured.
        lut_path: the user's LUT, or None.
        here: fingerprint of the measurement to come.
        allow_foreign: take an estimate for another device too.

    Returns:
        None where neither a LUT is given nor the manifest carries an estimate.

    Raises:
        BadInputError: the LUT cannot be read or lacks a part, or comes from another device; each difference is named.
    """
    reference = _from_manifest(bundle, here) if lut_path is None else _from_lut(bundle, lut_path, here)
    if reference is not None and reference.differences and not allow_foreign:
        source = f"the estimate in {bundle.folder}" if lut_path is None else f"LUT {lut_path}"
        raise BadInputError(
            f"{source} is of another device: {'; '.join(reference.differences)}.",
            hint="give a LUT measured here (bench-ops) with --lut, or say --foreign-lut to compare all the same.",
        )
    return reference


def _from_lut(bundle: Bundle, path: Path, here: Mapping[str, Any]) -> Reference:
    # The bundle's own estimate needs neither torch nor the LUT's reader.
    from latency.estimate import estimate  # noqa: PLC0415
    from latency.lut import load_lut  # noqa: PLC0415

    lut = load_lut(path)
    return Reference(
        values=estimate(bundle.arch, lut).to_dict(),
        origin="lut",
        lut_id=lut.id,
        device=lut.device_name,
        differences=binding_differences(lut.fingerprint, here),
    )


def _from_manifest(bundle: Bundle, here: Mapping[str, Any]) -> Reference | None:
    estimate, lut = bundle.estimate, bundle.manifest.lut
    if estimate is None or lut is None:
        return None
    # A manifest keeps the device's name, not its whole fingerprint: name, back end, precision and threads bind.
    name = device_name(here)
    same = lut["device"] == name
    return Reference(
        values=dict(estimate),
        origin="manifest",
        lut_id=lut["id"],
        device=lut["device"],
        differences=[] if same else [f"device: {lut['device']!r} there, {name!r} here"],
    )
