"""A gated cine through the server, numbered as converters from DICOM number it: every image gets its mask."""

import json
import re
import threading

import numpy as np
import pytest

from bedside.frames import Frame
from bedside.mrd.gather import Drop, Gathered
from bedside.mrd.outbox import Outbox
from bedside.mrd.scan import FrameKey
from cinert.data.nifti import Geometry

SLICES, PHASES = 3, 5


def numbered(phases_of=lambda number: PHASES) -> list[tuple[int, int, int]]:
    """(slice, phase, place in the slice), all phases of a slice first; R-R differs from slice to slice."""
    times = [[round(place * (60 + 0.7 * number), 2) for place in range(phases_of(number))] for number in range(SLICES)]
    every = sorted({time for row in times for time in row})
    return [(number, every.index(time), place) for number, row in enumerate(times) for place, time in enumerate(row)]


def without_slices(header: str) -> str:
    return re.sub("<slice>.*</slice>", "", header)


@pytest.fixture
def start(serve, header):
    """A client of a server that was told the slices, whose own header does not say them."""

    def start(**named):
        running = serve(slices=SLICES, **named)
        client = running.connect()
        client.config()
        client.text(without_slices(header), 3)
        return running, client

    return start


def test_every_image_gets_its_mask_with_a_queue_of_one(start, pixels) -> None:
    running, client = start(queue=1)
    with client.at_once():
        for number, phase, place in numbered():
            client.image(pixels(10 * place + number), slice=number, phase=phase)
        client.close()

    masks = client.rest()

    assert sorted((mask.slice, mask.phase) for mask in masks) == [(number, phase) for number, phase, _ in numbered()]
    places = {(number, phase): place for number, phase, place in numbered()}
    for mask in masks:
        seed = 10 * places[mask.slice, mask.phase] + mask.slice
        np.testing.assert_array_equal(mask.pixels_YX, np.where(pixels(seed) > 500, 3, 0))
    for place, frame in enumerate(running.runners[0].frames):
        np.testing.assert_array_equal(frame.image.T, [pixels(10 * place + number) for number in range(SLICES)])


def test_slices_whose_counts_differ_are_said(start, pixels, declared) -> None:
    _, client = start()
    for number, phase, _ in numbered(lambda number: PHASES - (number == 1)):
        client.image(pixels(), slice=number, phase=phase)
    client.close()

    messages = client.rest()

    # The first phase is 0 in every slice.
    assert len([message for message in messages if not isinstance(message, str)]) == SLICES
    drops = declared(messages)
    assert len(drops) == SLICES * (PHASES - 1) - 1
    for drop in drops:
        assert drop["reason"].endswith(
            "the slices of this scan differ in their number of images: 4 of slices 0 and 2, 3 of slice 1"
        )


def test_a_frame_without_a_mask_names_the_phases_of_its_slices(start, pixels, declared) -> None:
    _, client = start()
    scan = numbered()
    client.image(pixels(), slice=0, phase=scan[0][1])
    for number, phase, _ in scan[1:]:
        client.image(np.full((6, 8), np.nan, np.float32) if phase else pixels(), slice=number, phase=phase)
    client.close()

    drops = declared(client.rest())

    assert [drop["slices"] for drop in drops] == [[0, 1, 2]] * (PHASES - 1)
    named = {(number, phase) for drop in drops for number, phase in zip(drop["slices"], drop["phases"], strict=True)}
    assert named == {(number, phase) for number, phase, _ in scan if phase}
    assert {drop["reason"] for drop in drops} == {"pixels that are NaN or infinite"}


def test_a_client_that_falls_silent_gets_what_waits_before_it_is_sent_away(start, pixels) -> None:
    _, client = start(idle_s=0.2)
    with client.at_once():
        for number, phase, _ in numbered():
            client.image(pixels(), slice=number, phase=phase)

    *masks, words = client.rest()

    assert len(masks) == SLICES * PHASES
    assert words == "refused: no message for 0.2 s"


def test_a_header_without_slices_is_told_the_option(serve, header) -> None:
    client = serve().connect()
    client.config()
    client.text(without_slices(header), 3)

    assert "serve-mrd --slices N says how many slices a frame has" in client.refusal()


def gathered(phase: int, *, gated: bool) -> Gathered:
    frame = Frame(np.zeros((4, 4, 2), np.uint16), Geometry((4, 4, 2), np.eye(4)), 0)
    return Gathered(FrameKey(0, 1, 0, 0, 0, phase, 0), [], frame, fresh=(), gated=gated)


class TestOutbox:
    def test_frames_of_a_gated_scan_are_not_overtaken_and_live_ones_are(self) -> None:
        outbox = Outbox(1)
        for phase, gated in enumerate([True, False, True, False, True]):
            outbox.put(gathered(phase, gated=gated))

        items = [outbox.take() for _ in range(5)]

        assert [item.key.phase for item in items] == [0, 1, 2, 3, 4]
        assert [type(item) for item in items] == [Gathered, Drop, Gathered, Gathered, Gathered]

    def test_what_is_kept_is_bounded(self) -> None:
        """The thread that receives waits, and so does the client's own sending."""
        outbox = Outbox(1, max_gated_bytes=150)
        for phase in range(2):
            outbox.put(gathered(phase, gated=True))
        third = threading.Thread(target=outbox.put, args=(gathered(2, gated=True),))
        third.start()
        third.join(0.2)
        assert third.is_alive()

        assert outbox.take().key.phase == 0
        third.join(60)
        assert not third.is_alive()

    def test_one_frame_larger_than_the_bound_is_kept(self) -> None:
        outbox = Outbox(1, max_gated_bytes=1)
        outbox.put(gathered(0, gated=True))

        assert outbox.take().key.phase == 0


def test_declarations_of_streams_name_no_phases(serve, pixels, declared) -> None:
    client = serve().connect()
    client.start(3)
    client.image(pixels(), slice=0, phase=4)
    client.close()

    (drop,) = declared(client.rest())

    assert {"slices", "phases"}.isdisjoint(drop)
    assert json.loads(json.dumps(drop))["phase"] == 4
