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
    differing = [
        f"{key} {was.get(key)!r} there, {now.get(key)!r} now"
        for key in [*now, *(key for key in was if key not in now)]
        if was.get(key) != now.get(key)
    ]
    if differing:
        raise BadInputError(
            f"{path} was begun with other settings: {'; '.join(differing)}.",
            hint="choose another output with -o, or start anew with --restart.",
        )
