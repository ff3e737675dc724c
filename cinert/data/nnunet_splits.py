"""nnU-Net's own folds: splits_final.json (its documentation/manual_data_splits.md) beside dataset.json."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cinert.data.nnunet_names import Case
from cinert.data.patients import Role
from cinert.errors import BadInputError

FILE = "splits_final.json"
_SIDES: tuple[Role, ...] = ("train", "val")
_HINT = 'it is a list of {"train": [CASE, ...], "val": [CASE, ...]}, one for each fold.'

Roles = dict[str, tuple[Role, ...]]
"""By case: on which side it is in each fold."""


def read_splits(path: Path, names: Collection[str]) -> Roles:
    """Read the file.

    Args:
        path: of it.
        names: of the cases that there are.

    Raises:
        BadInputError: it is no such file, names a case that is not there, or names one on both sides of a fold.
    """
    try:
        folds = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"cannot read nnU-Net's {path}: {error}.", hint=_HINT) from error
    if not isinstance(folds, list) or not folds:
        raise BadInputError(f"nnU-Net's {path} holds no folds.", hint=_HINT)
    roles: dict[str, list[Role]] = {name: [] for name in names}
    for number, fold in enumerate(folds):
        sides = {side: _cases(fold, side, number, path) for side in _SIDES}
        for name in sorted(sides["train"] | sides["val"]):
            if name not in roles:
                raise BadInputError(
                    f"{path} names the case {name} in fold {number}, and there is no such image.",
                    hint="names are without _0000 and file ending.",
                )
        if twice := sorted(sides["train"] & sides["val"]):
            raise BadInputError(f"{path} has the case {twice[0]} on both sides of fold {number}.")
        for name, own in roles.items():
            own.append(next((side for side in _SIDES if name in sides[side]), "out"))
    return {name: tuple(own) for name, own in roles.items()}


def separated(cases: Mapping[str, Case], roles: Roles) -> dict[str, list[str]]:
    """The patients whose cases are not all on the same side in every fold, with their cases."""
    by_patient: dict[str, list[str]] = defaultdict(list)
    for name, case in cases.items():
        by_patient[case.patient_id].append(name)
    return {id_: own for id_, own in by_patient.items() if len({roles[name] for name in own}) > 1}


def refuse_separated(cases: Mapping[str, Case], roles: Roles, path: Path) -> None:
    """Refuse folds in which a patient is learnt from and held out.

    Raises:
        BadInputError: names the first patient, and cases that are on different sides.
    """
    for id_, own in sorted(separated(cases, roles).items()):
        one = own[0]
        other = next(name for name in own if roles[name] != roles[one])
        fold = next(number for number, (a, b) in enumerate(zip(roles[one], roles[other], strict=True)) if a != b)
        raise BadInputError(
            f"{path} has cases of the patient {id_} on different sides of fold {fold}: {one} ({roles[one][fold]}) and"
            f" {other} ({roles[other][fold]}).",
            hint="a score on images of people that the network saw flatters; keep all cases of a patient together.",
        )


def _cases(fold: Any, side: str, number: int, path: Path) -> set[str]:
    names = fold.get(side) if isinstance(fold, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInputError(f"fold {number} in nnU-Net's {path} has no list of cases for {side!r}.", hint=_HINT)
    return set(names)
