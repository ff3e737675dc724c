"""The estimate that a measurement is held against, and whether it speaks of this device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cinert.bundle import Bundle
from cinert.environment import binding_differences, device_name
from cinert.errors import BadInputError

if TYPE_CHECKING:
    from latency.lut import Lut


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """An estimate and where it comes from."""

    values: Mapping[str, float]
    """{ms, low_ms, high_ms, p50_ms, p99_ms, throughput_fps}."""
    origin: Literal["lut", "manifest"]
    lut_id: str
    device: str
    """Device of the LUT, for people."""
    differences: Sequence[str]
    """How that device differs from this one; not empty only with --foreign-lut."""
    busy: bool = False
    """Whether the LUT was taken with --allow-busy."""
    lut: Lut | None = None
    """Where one was given."""

    @property
    def lut_with_anchor(self) -> Lut | None:
        """The LUT, where its anchor can be held against this machine: it is of this device and keeps the time."""
        return None if self.lut is None or self.differences or self.lut.anchor_ms is None else self.lut

    def to_dict(self) -> dict[str, Any]:
        """Where the estimate comes from, for verify.json."""
        return {
            "origin": self.origin,
            "id": self.lut_id,
            "device": self.device,
            "differences": list(self.differences),
            "busy": self.busy,
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
    if lut_path is not None:
        # Its reader is not needed for the bundle's own estimate.
        from latency.estimate import estimate  # noqa: PLC0415 - slow to import: torch
        from latency.lut import load_lut  # noqa: PLC0415 - slow to import: torch

        lut = load_lut(lut_path)
        differences = binding_differences(lut.fingerprint, here)
        _refuse(f"LUT {lut_path}", differences, allow_foreign=allow_foreign)
        return Reference(
            values=estimate(bundle.arch, lut).to_dict(),
            origin="lut",
            lut_id=lut.id,
            device=lut.device_name,
            differences=differences,
            busy=lut.busy,
            lut=lut,
        )
    stored, origin = bundle.estimate, bundle.manifest.lut
    if stored is None or origin is None:
        return None
    # A manifest keeps the device's name, not its whole fingerprint: name, back end, precision and threads bind.
    name = device_name(here)
    differences = [] if origin["device"] == name else [f"device: {origin['device']!r} there, {name!r} here"]
    _refuse(f"the estimate in {bundle.folder}", differences, allow_foreign=allow_foreign)
    return Reference(
        values=dict(stored),
        origin="manifest",
        lut_id=origin["id"],
        device=origin["device"],
        differences=differences,
        busy=bool(origin.get("busy", False)),
    )


def _refuse(source: str, differences: Sequence[str], *, allow_foreign: bool) -> None:
    if differences and not allow_foreign:
        engine = any(line.startswith(("backend:", "precision:")) for line in differences)
        raise BadInputError(
            f"{source} is of another {'engine' if engine else 'device'}: {'; '.join(differences)}.",
            hint="give a LUT measured here (bench-ops) with --lut, or say --foreign-lut to compare all the same.",
        )
