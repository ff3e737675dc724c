"""Whom a network was made from: how many patients and how many phantoms. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from cinert.errors import BadInputError
from cinert.schema import check_keys
from cinert.space import CLASSES


def patient_record(patient_id: str, digest: str, phantom: bool | None) -> dict[str, Any]:
    """A patient in `seen_patients`; `phantom` is None where nobody wrote it down."""
    return {"id": patient_id, "digest": digest, **({} if phantom is None else {"phantom": phantom})}


def merge_records(*groups: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Union of patient records, sorted by id.

    Raises:
        TypeError: an item is no mapping.
        KeyError: a record lacks id or digest.
    """
    found: dict[tuple[str, str], bool | None] = {}
    for record in (record for group in groups for record in group):
        key = str(record["id"]), str(record["digest"])
        found[key] = record.get("phantom", found.get(key))
    return [patient_record(*key, found[key]) for key in sorted(found)]


def counted(patients: int, phantoms: int, unknown: int = 0, *, adjective: str = "") -> str:
    """`16 patients`, `5 held-out phantoms`, `16 patients and 5 phantoms`: nobody is called what they are not."""
    parts = [
        " ".join(filter(None, (str(count), adjective, noun if count != 1 else noun.removesuffix("s"))))
        for count, noun in ((patients, "patients"), (phantoms, "phantoms"))
        if count
    ]
    if unknown:
        parts.append(f"{unknown} of whom nobody wrote down whether they are patients or phantoms")
    return " and ".join(parts) if parts else "nobody"


def kind(patients: int, phantoms: int) -> str:
    """What they are called together: `patients`, `phantoms`, or `patients and phantoms`."""
    return "patients and phantoms" if patients and phantoms else "phantoms" if phantoms else "patients"


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Whom architecture, weights, localiser and ranges of a network were made from."""

    patients: int
    phantoms: int
    unknown: int
    """Of whom an older release did not write down which of the two they are."""
    classes: tuple[str, ...] | None
    """Of `cinert.space.CLASSES`, those that their labels hold; None where nobody wrote it down."""

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]], classes: Sequence[str] | None = None) -> Self:
        """Count `seen_patients`."""
        kinds = [record.get("phantom") for record in records]
        return cls(
            patients=kinds.count(False),
            phantoms=kinds.count(True),
            unknown=kinds.count(None),
            classes=None if classes is None else tuple(classes),
        )

    @property
    def words(self) -> str:
        """`trained on 64 patients`."""
        if self.phantoms and not (self.patients or self.unknown):
            return f"trained on {counted(0, self.phantoms)}, on no patient"
        return f"trained on {counted(self.patients, self.phantoms, self.unknown)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "classes": None if self.classes is None else list(self.classes)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            BadInputError: an unknown or missing key, or a value of the wrong kind.
        """
        check_keys(document, required=cls.__dataclass_fields__, source=source)
        for key in ("patients", "phantoms", "unknown"):
            if not isinstance(document[key], int) or isinstance(document[key], bool) or document[key] < 0:
                raise BadInputError(f"{source}: {key} is {document[key]!r}, expected a count.")
        classes = document["classes"]
        if classes is not None and not (isinstance(classes, list) and set(classes) <= set(CLASSES)):
            raise BadInputError(f"{source}: classes is {classes!r}, expected some of {', '.join(CLASSES)}, or null.")
        return cls(**{**document, "classes": None if classes is None else tuple(classes)})


UNSAID = "trained on data that its weights do not name"
"""In place of `Provenance.words` where nobody wrote anything down."""


def provenance_words(provenance: Provenance | None) -> str:
    """Whom a network was trained on, in words."""
    return UNSAID if provenance is None else provenance.words
