"""What continues interrupted work asks first: was it begun with the same settings?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cinert.errors import BadInputError


def refuse_other_settings(path: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to continue work that was begun with other settings.

    Raises:
        BadInputError: naming every setting that differs, and both values.
    """
    there, here = _flat(was), _flat(now)
    differing = [
        f"{key} {there.get(key)!r} there, {here.get(key)!r} now"
        for key in dict.fromkeys((*here, *there))
        if there.get(key) != here.get(key)
    ]
    if differing:
        raise BadInputError(
            f"{path} was begun with other settings: {'; '.join(differing)}.",
            hint="choose another output with -o, or start anew with --restart.",
        )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings within settings by names such as `protocol.tolerant`, so that one that differs is told alone."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
