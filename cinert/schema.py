"""What every file with a schema shares: name, version, no key that is unknown or missing, and how values are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cinert.errors import BadInputError


def check_schema(document: Mapping[str, Any], *, schema: str, version: int, source: str) -> None:
    """Refuse a document of another schema or version.

    Raises:
        BadInputError: `schema` or `version` is missing or differs.
    """
    if document.get("schema") != schema:
        raise BadInputError(f"{source}: schema is {document.get('schema')!r}, expected {schema!r}.")
    if document.get("version") != version:
        raise BadInputError(
            f"{source}: version is {document.get('version')!r}, this release reads version {version}.",
            hint="write the file again with this release.",
        )


def check_keys(
    document: Mapping[str, Any], *, required: Iterable[str], optional: Iterable[str] = (), source: str
) -> None:
    """Refuse keys that nobody reads, and name those that are missing.

    Raises:
        BadInputError: an unknown or a missing key.
    """
    required, optional = list(required), list(optional)
    unknown = sorted(set(map(str, document)) - {*required, *optional})
    if unknown:
        raise BadInputError(
            f"{source}: unknown key {', '.join(unknown)}.", hint=f"known keys: {', '.join(required + optional)}."
        )
    missing = [key for key in required if key not in document]
    if missing:
        raise BadInputError(f"{source}: missing key {', '.join(missing)}.")


def plain(value: Any) -> Any:
    """Tuples as lists, all the way down, as YAML and JSON write them."""
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def read_number(value: Any, kind: type) -> Any:
    """Read an int or a float; raises TypeError for anything else, a bool too."""
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        raise TypeError(f"{value!r} is not {'a whole' if kind is int else 'a'} number")
    return kind(value)


def read_triple(value: Any, kind: type) -> Any:
    """Read three numbers, for D, H, W; raises TypeError for anything else."""
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise TypeError("expected three numbers, for D, H, W")
    return tuple(read_number(item, kind) for item in value)
