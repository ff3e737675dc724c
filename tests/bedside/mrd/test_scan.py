"""Gated scans whose slices do not agree in their phase numbers, and streams that must not be taken for such."""

import ismrmrd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.mrd.gather import Drop, Gathered, Gatherer


def image(number: int, phase: int, place: int = 0, repetition: int = 0, shape=(1, 1, 4, 4)):
    """Slice `number`; every pixel says its place among the images of the slice."""
    made = ismrmrd.Image(data=np.full(shape, place, np.uint16))
    made.slice, made.phase, made.repetition = number, phase, repetition
    made.field_of_view, made.position = (8, 8, 8), (0, 0, 8 * number)
    made.read_dir, made.phase_dir, made.slice_dir = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    return made


def by_trigger_time(times: list[list[int]], repetition: int = 0) -> list[list]:
    """Images of each slice in time; a phase number is the place among the trigger times of all slices."""
    every = sorted({time for row in times for time in row})
    return [
        [image(number, every.index(time), place, repetition) for place, time in enumerate(row)]
        for number, row in enumerate(times)
    ]


def gathered(images, slices: int) -> list:
    gatherer = Gatherer(slices, 10**8, by_order=True)
    events = [event for each in images for event in gatherer.add(each, 1)]
    return [*events, *gatherer.finish()]


def places(events) -> list[list[int]]:
    """Of the slices of each frame, the place that each had among its slice's images."""
    assert not [event.reason for event in events if isinstance(event, Drop)]
    return [event.frame.image[0, 0].tolist() for event in events]


ORDERS = {
    "slice by slice": lambda scan: [each for row in scan for each in row],
    "slice by slice, the last first": lambda scan: [each for row in reversed(scan) for each in row],
    "slice by slice, falling": lambda scan: [each for row in scan for each in reversed(row)],
    "slice by slice, odd phases last": lambda scan: [each for row in scan for each in [*row[::2], *row[1::2]]],
}
MOMENTS = {
    "moment by moment": lambda scan: [each for moment in zip(*scan, strict=True) for each in moment],
    "moment by moment, falling": lambda scan: [each for moment in [*zip(*scan, strict=True)][::-1] for each in moment],
}


@pytest.mark.parametrize("order", ORDERS)
@given(phases=st.integers(1, 12), slices=st.integers(2, 5), step_ms=st.integers(25, 60), data=st.data())
def test_the_kth_image_of_each_slice_is_one_frame(order: str, phases: int, slices: int, step_ms: int, data) -> None:
    """R-R intervals up to 30 % apart from breath-hold to breath-hold, in whole ms: some numbers agree by chance."""
    stretch = [data.draw(st.floats(1.0, 1.3)) for _ in range(slices)]
    delay = [data.draw(st.integers(0, step_ms // 2 - 2)) for _ in range(slices)]
    times = [[round(delay[s] + t * step_ms * stretch[s]) for t in range(phases)] for s in range(slices)]

    frames = places(gathered(ORDERS[order](by_trigger_time(times)), slices))

    assert sorted(frames) == [[place] * slices for place in range(phases)]


@pytest.mark.parametrize("order", MOMENTS)
@given(phases=st.integers(1, 12), slices=st.integers(2, 5), delay=st.booleans())
def test_moment_by_moment_too(order: str, phases: int, slices: int, delay: bool) -> None:
    times = [[round(7 * delay * s + t * (60 + 0.7 * s), 2) for t in range(phases)] for s in range(slices)]

    frames = places(gathered(MOMENTS[order](by_trigger_time(times)), slices))

    assert sorted(frames) == [[place] * slices for place in range(phases)]


def test_numbers_that_agree_are_answered_as_soon_as_they_can_be() -> None:
    """All phases of a slice first: frame by frame with the last slice, none of them only when the client closes."""
    scan = by_trigger_time([[0, 40, 80]] * 3)
    gatherer = Gatherer(3, 10**8, by_order=True)
    events = [gatherer.add(each, 1) for each in ORDERS["slice by slice"](scan)]

    assert [len(each) for each in events] == [0] * 6 + [1] * 3
    assert places([event for each in events for event in each]) == [[0] * 3, [1] * 3, [2] * 3]
    assert gatherer.finish() == []


def test_frames_of_a_gated_scan_are_told_from_those_of_a_stream() -> None:
    scan = by_trigger_time([[0, 40, 80], [0, 44, 88]])

    assert all(event.gated for event in gathered(ORDERS["slice by slice"](scan), 2))
    scan = by_trigger_time([[0, 40, 80]] * 2)
    assert all(event.gated for event in gathered(ORDERS["slice by slice"](scan), 2))
    assert not any(event.gated for event in gathered(MOMENTS["moment by moment"](scan), 2))


@pytest.mark.parametrize("order", list(ORDERS)[:2])
def test_a_scan_without_phases_to_number_is_counted_as_it_comes(order: str) -> None:
    """Series that are not gated have no trigger times, and converters number all of their images 0."""
    scan = [[image(number, 0, place) for place in range(4)] for number in range(3)]

    assert places(gathered(ORDERS[order](scan), 3)) == [[place] * 3 for place in range(4)]
    assert places(gathered(ORDERS[order](scan) * 2, 3)) == [[place] * 3 for place in range(4)] * 2


def test_scans_are_counted_apart() -> None:
    """Two series, or two repetitions, of which one comes in the middle of the other."""
    one, other = (by_trigger_time([[0, 40, 80], [0, 44, 88]], repetition) for repetition in (0, 1))
    images = [*one[0], *other[0], *one[1], *other[1]]

    frames = gathered(images, 2)

    assert sorted((event.key.repetition, *event.frame.image[0, 0]) for event in frames) == [
        (repetition, place, place) for repetition in (0, 1) for place in range(3)
    ]


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        ((4, 4, 3), "3 of slices 0 to 1, 2 of slice 2"),
        ((4, 3, 4), "3 of slices 0 and 2, 2 of slice 1"),
        ((4, 4, 0), "4 of slices 0 to 1, none of slice 2"),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_slices_whose_counts_differ_are_said_in_words(lengths, words: str, reverse: bool) -> None:
    """The first phase is 0 everywhere and needs no counting; no other frame gets a mask."""
    times = [
        [round(place * (60 + 0.7 * number), 2) for place in range(length)] for number, length in enumerate(lengths)
    ]
    scan = by_trigger_time(times)
    events = gathered([each for row in (reversed(scan) if reverse else scan) for each in row], 3)

    frames, drops = (sorted_out(events, kind) for kind in (Gathered, Drop))
    assert [frame.frame.image[0, 0].tolist() for frame in frames] == [[0, 0, 0]] * all(lengths)
    assert len(drops) == len({time for row in times for time in row}) - len(frames)
    for drop in drops:
        assert " of 3 slices came: the client sent no more; the slices of this scan differ" in drop.reason
        assert drop.reason.endswith(words)


def sorted_out(events, kind) -> list:
    return [event for event in events if isinstance(event, kind)]


def test_an_image_that_is_missing_where_numbers_agree_costs_its_frame_alone() -> None:
    scan = by_trigger_time([[0, 40, 80, 120]] * 3)
    del scan[1][2]
    events = gathered(ORDERS["slice by slice"](scan), 3)

    assert [(drop.key.phase, drop.reason) for drop in sorted_out(events, Drop)] == [
        (2, "2 of 3 slices came: the client sent no more")
    ]
    assert [frame.frame.image[0, 0].tolist() for frame in sorted_out(events, Gathered)] == [[0] * 3, [1] * 3, [3] * 3]


def test_a_frame_of_other_phases_names_them_when_it_gets_no_mask() -> None:
    scan = by_trigger_time([[0, 40], [0, 44]])
    scan[1][1].field_of_view = (8, 9, 8)

    first, second = gathered(ORDERS["slice by slice"](scan), 2)

    assert isinstance(first, Gathered)
    assert (second.slices, second.phases) == ((0, 1), (1, 2))
    assert "another direction or field of view" in second.reason


def test_sizes_that_differ_from_slice_to_slice_are_said() -> None:
    scan = by_trigger_time([[10, 40], [12, 44]])
    larger = image(1, scan[1][1].phase, shape=(1, 1, 6, 4))

    (drop,) = sorted_out(gathered([*scan[0], scan[1][0], larger], 2), Drop)

    assert drop.reason == "slices of 4 x 4 x 1 and of 4 x 6 x 1 pixels"


class TestFreeRunning:
    """Streams whose numbers agree: an image belongs to the frame that it names, and to no other."""

    @given(
        slices=st.integers(2, 6),
        moments=st.integers(4, 30),
        joined=st.integers(0, 5),
        lost=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5)), max_size=6),
        turned=st.booleans(),
    )
    def test_lost_slices_cost_their_frames_alone(self, slices, moments, joined, lost, turned) -> None:
        """Joined in the middle of a stack; then a slice is lost now and then, of every third stack at most."""
        lost_at, moment = {}, 0
        for apart, number in lost:
            moment += 2 + apart
            lost_at[moment] = number % slices
        gatherer = Gatherer(slices, 10**8, by_order=True)
        whole = []
        for moment in range(moments):
            numbers = range(slices) if not turned else reversed(range(slices))
            sent = [number for number in numbers if lost_at.get(moment) != number]
            sent = sent[joined % slices :] if moment == 0 else sent
            events = [event for number in sent for event in gatherer.add(image(number, moment, moment), 1)]
            if len(sent) == slices:
                whole.append(moment)
                (event,) = events
                assert event.frame.image[0, 0].tolist() == [moment] * slices
            else:
                assert events == []
        rest = gatherer.finish()
        assert all(isinstance(event, Drop) for event in rest)
        assert len(rest) == moments - len(whole)

    def test_repetitions_end_the_wait_for_earlier_ones(self) -> None:
        images = [image(number, 0, repetition, repetition) for repetition in range(4) for number in range(3)]
        del images[4]
        events = gathered(images, 3)

        assert [(type(event), event.key.repetition) for event in events] == [
            (Gathered, 0),
            (Drop, 1),
            (Gathered, 2),
            (Gathered, 3),
        ]

    def test_a_stream_that_counts_neither_repetitions_nor_anything_else_goes_on(self) -> None:
        """Phases 0 to 3 again and again, in one scan."""
        images = [
            image(number, phase, 4 * beat + phase) for beat in range(5) for phase in range(4) for number in range(3)
        ]

        assert places(gathered(images, 3)) == [[moment] * 3 for moment in range(20)]
        gated = [
            image(number, phase, 4 * beat + phase) for beat in range(5) for number in range(3) for phase in range(4)
        ]
        assert places(gathered(gated, 3)) == [[moment] * 3 for moment in range(20)]


def test_what_waits_is_bounded_by_pixels_and_by_frames(monkeypatch) -> None:
    """Attributes count: a scan of small images with long ones is no way around the bound."""
    monkeypatch.setattr("bedside.mrd.gather._MAX_OPEN", 5)
    gatherer = Gatherer(2, 10**8, by_order=True)
    drops = [drop for phase in range(8) for drop in gatherer.add(image(0, phase), 1)]
    assert [drop.key.phase for drop in drops] == [0, 1, 2]

    gatherer = Gatherer(2, 1100, by_order=True)
    drops = []
    for phase in range(4):
        long = image(0, phase)
        long.meta = {"DicomJson": "x" * 300}
        drops += gatherer.add(long, 1)
    assert [drop.key.phase for drop in drops] == [0]
    assert "too many frames wait" in drops[0].reason
    assert len(gatherer.finish()) == 3
