"""Whose image a case of an nnU-Net folder is. The layout does not say: only names tell, and people name as they like.

Certain is what a name says in words: ED or ES, a frame, a slice, a visit. Bare numbers are guessed at: they count the
images of a person where several persons have them (patient000_00, patient000_01, patient001_00 ...), and persons where
one name has them all (heart_001, heart_002 ...).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cinert.data.patients import Phase

_WORD = re.compile(r"[^_\-. ]+")
_PHASES: dict[str, Phase] = {"ed": "ED", "es": "ES"}
_WHOLE = r"frame|phase|time|timepoint|tp|slice|visit|session|ses"
# A single letter may count persons as well: s08 of ACDC_s08 is one.
_LETTER = r"fr|sl|s|t|z"
_COUNTED = re.compile(rf"(?P<what>{_WHOLE}|{_LETTER})(?P<number>\d+)", re.IGNORECASE)
_COUNTER = re.compile(_WHOLE, re.IGNORECASE)
_BEAT = re.compile(r"fr(ame)?|phase", re.IGNORECASE)
# nnU-Net's own conversion of M&Ms: patient, time step, vendor, centre.
_VENDOR = re.compile(r"(?P<patient>.+)_(?P<number>\d+)_[A-Z]_\d+")
_NUMBERED = re.compile(r"(?P<patient>.*[^_\-. ])[_\-. ]+(?P<number>\d+)")
_RUN = re.compile(r"(?P<stem>.*?)(?P<number>\d+)")
_MANY_PEOPLE = re.compile(
    r"(.*[^a-z])?(site|centre|center|vendor|scanner|hospital|study|cohort|dataset|data|group|set|batch|part|task|fold)"
    r"[_\-. ]?[a-z]?\d*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Case:
    """What a name says.

    Attributes:
        patient_id: whose image it is.
        index: of the frame, slice or visit, counted from 1.
        phase: as in `cinert.data.patients.Frame`.
        of_a_beat: whether further cases of this patient are other frames of the same heart beat, so that of two the one
            with more LV is end diastole.
        guessed: the patient was guessed from a bare number, or one with a single letter before it.
    """

    patient_id: str
    index: int
    phase: Phase
    of_a_beat: bool = True
    guessed: bool = False


def parse(names: Collection[str]) -> dict[str, Case]:
    """Find whose image each case is, by what its own name says."""
    both = {"ed", "es"} <= {_words(name)[0].group().lower() for name in names}
    return {name: _parse(name, phase_first=both) for name in names}


def group(cases: Mapping[str, Case]) -> dict[str, Case]:
    """Put cases together whose patients differ in a bare number that counts images."""
    plain = {name for name, case in cases.items() if case == Case(name, 1, "unknown")}
    pairs = _numbered(plain)
    if max(Counter(match["patient"] for match in pairs.values()).values(), default=0) == 2:
        # Past two of a kind the number may count patients, not the frames of one.
        frames = {name: (match["patient"], int(match["number"]) + 1) for name, match in pairs.items()}
        return {**cases, **{name: Case(*frame, "unknown", guessed=True) for name, frame in frames.items()}}
    images = _images_of_people({case.patient_id for case in cases.values()})

    def put(name: str, case: Case) -> Case:
        if case.patient_id not in images:
            return case
        person, number = images[case.patient_id]
        index = number if name in plain else case.index
        return Case(person, index, case.phase, of_a_beat=False, guessed=True)

    return {name: put(name, case) for name, case in cases.items()}


def _parse(name: str, *, phase_first: bool) -> Case:
    if match := _VENDOR.fullmatch(name):
        return Case(match["patient"], int(match["number"]) + 1, "unknown")
    words = _words(name)
    at = [place for place, word in enumerate(words) if word.group().lower() in _PHASES]
    if len(at) != 1 or len(words) == 1 or (at[0] == 0 and not phase_first):
        rest = _without_counts(words)
        return Case(_joined(name, rest.words), rest.number, "unknown", rest.of_a_beat, rest.guessed)
    before, after = words[: at[0]], words[at[0] + 1 :]
    phase = _PHASES[words[at[0]].group().lower()]
    whole = _without_counts([*before, *after])
    if not before or not _is_person(_joined(name, before)):
        # What stands behind is the person, or part of it: ED_P001, heart_ED_001.
        return Case(_joined(name, whole.words), whole.number, phase, guessed=whole.guessed)
    bare = [int(word.group()) for word in after if word.group().isdigit()]
    person = _without_counts(before)
    return Case(_joined(name, person.words), bare[0] if bare else whole.number, phase, guessed=person.guessed)


class _Rest(NamedTuple):
    """Of a name, without the words that count."""

    words: list[re.Match[str]]
    number: int
    """The first of those that counted; 1 where none did."""
    of_a_beat: bool
    """Frames were counted, and neither slices nor visits."""
    guessed: bool
    """A single letter alone said that something was counted."""


def _without_counts(words: list[re.Match[str]]) -> _Rest:
    """Take the words that count frames, slices and visits off the end; a first word stays."""
    kept, first, of_a_beat, guessed = list(words), 1, True, False
    while len(kept) > 1:
        counted = _COUNTED.fullmatch(kept[-1].group())
        if counted and (_COUNTER.fullmatch(counted["what"]) or _is_person(kept[-2].group())):
            what, number, rest = counted["what"], counted["number"], kept[:-1]
        elif len(kept) > 2 and kept[-1].group().isdigit() and _COUNTER.fullmatch(kept[-2].group()):
            what, number, rest = kept[-2].group(), kept[-1].group(), kept[:-2]
        else:
            break
        kept, of_a_beat = rest, of_a_beat and bool(_BEAT.fullmatch(what))
        guessed = guessed or not _COUNTER.fullmatch(what)
        first = int(number)
    return _Rest(kept, first, of_a_beat, guessed)


def _images_of_people(ids: set[str]) -> dict[str, tuple[str, int]]:
    """Person and number of the image, by id; of those ids alone whose last number counts images.

    What stands before the number is a person where it has a number of its own, or where there are more of its kind than
    images of each, and does not name a site or a data set.
    """
    numbered = _numbered(ids)
    shared = Counter(match["patient"] for match in numbered.values())
    several = {name for name, count in shared.items() if count > 1}
    if len(several) <= max(shared.values(), default=0):
        several = {name for name in several if _is_person(name)}
    if len(several) > 1:
        return {
            id_: (match["patient"], int(match["number"]) + 1)
            for id_, match in numbered.items()
            if match["patient"] in several
        }
    return _digits_of_people(ids)


def _digits_of_people(ids: set[str]) -> dict[str, tuple[str, int]]:
    """The same for ids as genius_0801, in which the last digits count the images of person 08.

    Only where every person has images 0, 1, 2, ... or 1, 2, ..., all begin alike, numbers are left out between one
    person and the next, and there are more persons than images of one.
    """
    runs = [match for id_ in ids if (match := _RUN.fullmatch(id_))]
    if len(runs) < len(ids) or len({(run["stem"], len(run["number"])) for run in runs}) != 1:
        return {}
    for digits in range(len(runs[0]["number"]) - 1, 0, -1):
        images: dict[str, list[int]] = defaultdict(list)
        for run in runs:
            images[run["stem"] + run["number"][:-digits]].append(int(run["number"][-digits:]))
        firsts, most = {min(own) for own in images.values()}, max(map(len, images.values()))
        gapless = all(sorted(own) == list(range(min(own), min(own) + len(own))) for own in images.values())
        if 1 < most < len(images) and len(firsts) == 1 and firsts <= {0, 1} and gapless and most < 10**digits - 1:
            return {
                run.group(): (run["stem"] + run["number"][:-digits], int(run["number"][-digits:]) + 1) for run in runs
            }
    return {}


def _numbered(names: set[str]) -> dict[str, re.Match[str]]:
    """Names that end in a bare number, which does not stand behind a site's or a data set's."""
    found = ((name, _NUMBERED.fullmatch(name)) for name in names)
    return {name: match for name, match in found if match and not _MANY_PEOPLE.fullmatch(match["patient"])}


def _is_person(words: str) -> bool:
    """Whether a part of a name may stand for one person: it has a number, and none of a site or a data set."""
    return any(letter.isdigit() for letter in words) and not _MANY_PEOPLE.fullmatch(words)


def _words(name: str) -> list[re.Match[str]]:
    return list(_WORD.finditer(name)) or list(re.finditer(".*", name))[:1]


def _joined(name: str, words: list[re.Match[str]]) -> str:
    """Words of a name with what stands between them; where one was taken out, an underscore."""
    text = ""
    for place, word in enumerate(words):
        if place:
            between = name[words[place - 1].end() : word.start()]
            text += between if not _WORD.search(between) else "_"
        text += word.group()
    return text
