from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinert.data.folds import split
from cinert.errors import BadInputError

IDS = [f"patient{number:03d}" for number in range(1, 21)]


@settings(derandomize=True, deadline=None, database=None)
@given(count=st.integers(5, 60))
def test_every_patient_is_held_out_once(count):
    ids = [f"p{number:02d}" for number in range(count)]
    splits = [split(reversed(ids), fold) for fold in range(5)]
    assert sorted(patient for one in splits for patient in one.validation) == ids
    for one in splits:
        assert sorted(one.train + one.validation) == ids


def test_the_documented_shuffle():
    expected = sorted(IDS)
    np.random.RandomState(1234).shuffle(expected)
    assert split(IDS, 2).validation == expected[2::5]


def test_the_split_stays_what_it_was():
    assert split(IDS, 0).validation == split(IDS[::-1], 0).validation
    assert len(split(IDS, 0).validation) == 4


def test_all_holds_nobody_out():
    assert split(IDS, None).train == IDS
    assert split(IDS, None).validation == []


@pytest.mark.parametrize(
    ("ids", "fold", "word"),
    [
        ([], None, "0 patient"),
        (["a"], 0, "1 patient"),
        (["a", "a", "b"], 0, "a is listed twice"),
        (IDS, 5, "no fold 5"),
        (IDS, -1, "no fold -1"),
        (["a", "b"], 2, "fold 2 of 2"),
    ],
)
def test_splits_that_cannot_be(ids, fold, word):
    with pytest.raises(BadInputError, match=word):
        split(ids, fold)
