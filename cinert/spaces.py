"""Spaces of either family: cells on a grid of layers and scales (`cinert.space`), and U-shapes (`cinert.ushape`)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from cinert.errors import BadInputError
from cinert.files import read_yaml
from cinert.space import PRESETS as CELL_PRESETS
from cinert.space import Space
from cinert.ushape import space as ushape
from cinert.ushape.space import UShapeSpace

AnySpace = Space | UShapeSpace
USHAPE_PRESETS = ("cardiac", "cardiac-small")
PRESETS = (*CELL_PRESETS, *USHAPE_PRESETS)


def space_from_dict(document: Mapping[str, Any], *, source: str) -> AnySpace:
    """Read the space of a document by its schema.

    Raises:
        BadInputError: another schema, an unknown or missing key, or a value that does not fit.
    """
    if document.get("schema") == ushape.SCHEMA:
        return UShapeSpace.from_dict(document, source=source)
    return Space.from_dict(document, source=source)


def load_any_space(name_or_file: str) -> AnySpace:
    """Load a preset by name, or a YAML file by path.

    Raises:
        BadInputError: neither a preset nor a readable file, or a file that does not describe a space.
    """
    if name_or_file in PRESETS:
        with resources.as_file(resources.files("cinert") / "presets" / f"{name_or_file}.yaml") as path:
            return space_from_dict(read_yaml(path, "the space"), source=f"preset {name_or_file}")
    path = Path(name_or_file)
    if not path.is_file():
        raise BadInputError(
            f"space {name_or_file!r} is neither a preset nor a file.", hint=f"presets: {', '.join(PRESETS)}."
        )
    return space_from_dict(read_yaml(path, "the space"), source=str(path))


def load_space(name_or_file: str) -> Space:
    """Load a space of cells; raises BadInputError as `load_any_space`, and for a space of U-shapes."""
    return cells_only(load_any_space(name_or_file))


def cells_only(space: AnySpace) -> Space:
    """A space of cells as it is; raises BadInputError for a space of U-shapes."""
    if isinstance(space, UShapeSpace):
        raise BadInputError(
            f"space {space.name} is one of U-shaped networks, and this needs layers and scales of cells.",
            hint=f"spaces of cells: {', '.join(CELL_PRESETS)}.",
        )
    return space
