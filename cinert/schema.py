"""Checks shared by every file with a schema: name, version, and no key that is unknown or missing."""

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
