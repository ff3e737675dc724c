"""Slices to frames: what completes, what is overtaken, and that no frame is answered twice."""

from collections import Counter

import ismrmrd
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bedside.mrd.gather import Drop, Gathered, Gatherer


def image(number, phase=0, repetition=0, value=0, shape=(1, 1, 4, 4)):
    made = ismrmrd.Image(data=np.full(shape, value, np.uint16))
    made.slice, made.phase, made.repetition = number, phase, repetition
    made.field_of_view, made.position = (8, 8, 8 * shape[1]), (0, 0, 8 * number)
    made.read_dir, made.phase_dir, made.slice_dir = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    return made


def test_pixels_lie_on_the_frames_axes() -> None:
    gatherer = Gatherer(2, 10**6)
    first = image(0)
    first.data[0, 0, 1, 3] = 7

    assert gatherer.add(image(1, value=5), 1) == []
    (gathered,) = gatherer.add(first, 2)

    assert gathered.frame.image.shape == gathered.frame.geometry.shape == (4, 4, 2)
    assert gathered.frame.image[3, 1, 0] == 7
    assert (gathered.frame.image[..., 1] == 5).all()
    assert gathered.frame.arrived_ns == 2


def test_a_3d_image_is_a_frame() -> None:
    (gathered,) = Gatherer(9, 10**6).add(image(0, shape=(1, 3, 4, 4)), 1)

    assert gathered.frame.image.shape == (4, 4, 3)


def test_a_later_repetition_ends_the_wait_for_earlier_ones_even_where_the_counter_wraps() -> None:
    gatherer = Gatherer(2, 10**6)
    gatherer.add(image(0, repetition=65535), 1)
    gatherer.add(image(0, repetition=1), 1)
    gatherer.add(image(0, repetition=0), 1)

    events = gatherer.add(image(1, repetition=0), 1)

    assert [(type(event), event.key.repetition) for event in events] == [(Drop, 65535), (Gathered, 0)]
    assert [type(event) for event in gatherer.add(image(1, repetition=1), 1)] == [Gathered]


def test_a_slice_that_comes_again_begins_the_frame_anew() -> None:
    """Some sequences count phases and never repetitions."""
    gatherer = Gatherer(2, 10**6)
    gatherer.add(image(0), 1)

    (drop,) = gatherer.add(image(0), 1)
    (gathered,) = gatherer.add(image(1), 1)

    assert "slice 0 came again" in drop.reason
    assert isinstance(gathered, Gathered)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2), st.sampled_from([4, 5])), max_size=60)
)
def test_every_slice_belongs_to_exactly_one_answer(images) -> None:
    """In whatever order they come, doubled or of another matrix: answers per key are the rounds that were begun."""
    gatherer = Gatherer(3, 10**6)
    answers: Counter = Counter()
    rounds: Counter = Counter()
    seen: dict = {}
    for number, phase, repetition, width in images:
        events = gatherer.add(image(number, phase, repetition, shape=(1, 1, 4, width)), 1)
        answers.update(event.key for event in events)
        for event in events:
            if isinstance(event, Drop) and ("later repetition" in event.reason):
                seen.pop((event.key.phase, event.key.repetition), None)
        key = phase, repetition
        if key not in seen or number in seen[key]:
            rounds[key] += 1
            seen[key] = set()
        seen[key].add(number)
        if len(seen[key]) == 3:
            del seen[key]
    answers.update(drop.key for drop in gatherer.finish())

    assert {(key.phase, key.repetition): count for key, count in answers.items()} == dict(rounds)
    assert gatherer.finish() == []
