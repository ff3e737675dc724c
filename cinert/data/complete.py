"""No patient vanishes from a folder in silence: folds follow from who is there, and all of them would change."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import chain
from pathlib import Path

from cinert.data.nifti_file import is_nifti_name
from cinert.errors import BadInputError

# Left by archives and file managers.
_NOBODYS = ("__MACOSX", "lost+found", "$RECYCLE.BIN")


def refuse_left_out(folder: Path, patients: Collection[str], lacks: str, *, letters_vary: bool = False) -> None:
    """Refuse a folder in which something looks like a patient and was not read as one.

    That is a folder with volumes in it, or whatever is named like the patients that were found; hidden files are not.

    Args:
        folder: of patients.
        patients: names of the folders in it that were read.
        lacks: why another folder is none, in words: "it has no Info.cfg".
        letters_vary: patients differ in letters as well as in digits, as A1D0Q7 and B2F4K9 do.

    Raises:
        BadInputError: names the first such folder.
    """
    shapes = {_shape(name, letters_vary=letters_vary) for name in patients}
    for path in sorted(_entries(folder)):
        if path.name in patients or path.name.startswith(".") or path.name in _NOBODYS:
            continue
        alike = _shape(path.name, letters_vary=letters_vary) in shapes
        if not path.is_dir():
            reason = "it is no folder" if alike else ""
        else:
            reason = lacks if alike or _holds_volumes(path) else ""
        if reason:
            raise BadInputError(
                f"{path} cannot be read as a patient: {reason}.",
                hint=f"repair it, or move it out of {folder}: without it, all folds are others.",
            )


def _shape(name: str, *, letters_vary: bool) -> str:
    """What names of one kind share: patient007 and Patient_012 are both patient#."""
    shape = re.sub(r"[\s_-]+", "", re.sub(r"\d+", "#", name)).casefold()
    return re.sub(r"[a-z]", "a", shape) if letters_vary else shape


def _holds_volumes(folder: Path) -> bool:
    """In itself or a folder in it."""
    inside = _entries(folder)
    below = chain.from_iterable(_entries(path) for path in inside if path.is_dir() and not path.is_symlink())
    return any(is_nifti_name(path.name) for path in chain(inside, below))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise BadInputError(
            f"cannot read {folder}: {error.strerror}.", hint="it may hold a patient, and folds depend on who is there."
        ) from error
