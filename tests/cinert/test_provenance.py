"""Whom a network was made from, in words that never call a phantom a patient."""

import pytest

from cinert.errors import BadInputError
from cinert.provenance import Provenance, counted, kind, merge_records, patient_record, provenance_words


def records(*phantom):
    return [patient_record(f"p{number}", f"{number:02}", value) for number, value in enumerate(phantom)]


@pytest.mark.parametrize(
    ("patients", "phantoms", "unknown", "words"),
    [
        (0, 0, 0, "nobody"),
        (1, 0, 0, "1 patient"),
        (16, 0, 0, "16 patients"),
        (0, 1, 0, "1 phantom"),
        (0, 5, 0, "5 phantoms"),
        (3, 2, 0, "3 patients and 2 phantoms"),
        (0, 0, 4, "4 of whom nobody wrote down whether they are patients or phantoms"),
    ],
)
def test_counted(patients, phantoms, unknown, words):
    assert counted(patients, phantoms, unknown) == words


def test_counted_with_an_adjective():
    assert counted(1, 2, adjective="held-out") == "1 held-out patient and 2 held-out phantoms"


@pytest.mark.parametrize(
    ("patients", "phantoms", "word"), [(3, 0, "patients"), (0, 3, "phantoms"), (1, 1, "patients and phantoms")]
)
def test_kind(patients, phantoms, word):
    assert kind(patients, phantoms) == word


@pytest.mark.parametrize(
    ("phantom", "words"),
    [
        ((False, False), "trained on 2 patients"),
        ((True, True), "trained on 2 phantoms, on no patient"),
        ((True, False), "trained on 1 patient and 1 phantom"),
        ((), "trained on nobody"),
    ],
)
def test_provenance_in_words(phantom, words):
    assert provenance_words(Provenance.of(records(*phantom))) == words


def test_weights_that_say_nothing():
    assert provenance_words(None) == "trained on data that its weights do not name"


def test_records_are_merged_and_what_is_known_of_them_is_kept():
    known, unknown = patient_record("a", "1", phantom=True), patient_record("a", "1", None)
    other = patient_record("a", "2", phantom=False)

    assert merge_records([unknown], [known, other]) == [known, other]
    assert merge_records([known], [unknown]) == [known]
    assert merge_records([unknown]) == [{"id": "a", "digest": "1"}]


def test_a_document_is_read_as_it_was_written():
    found = Provenance.of(records(True, False, None), ["background", "lv"])
    assert found.to_dict() == {"patients": 1, "phantoms": 1, "unknown": 1, "classes": ["background", "lv"]}
    assert Provenance.from_dict(found.to_dict(), source="manifest") == found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"patients": -1}, "patients is -1"),
        ({"phantoms": True}, "phantoms is True"),
        ({"classes": ["kidney"]}, "classes is"),
        ({"classes": "lv"}, "classes is 'lv'"),
        ({"surprise": 1}, "unknown key surprise"),
    ],
)
def test_bad_documents(change, words):
    document = {**Provenance.of(records(True)).to_dict(), **change}
    with pytest.raises(BadInputError, match=words):
        Provenance.from_dict(document, source="manifest")
