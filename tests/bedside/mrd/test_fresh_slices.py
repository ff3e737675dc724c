"""`--fresh-slices`: single slices in the stack's last state, answered one by one; what is older says so."""

import json

import numpy as np
import pytest


@pytest.fixture
def session(serve):
    """A client whose whole stack of three slices was answered."""

    def start(pixels, **named):
        running = serve(**{"fresh_slices": 1, "queue": 9, **named})
        client = running.connect()
        client.start(3)
        for number in range(3):
            client.image(pixels(number), slice=number)
        assert [client.receive().slice for _ in range(3)] == [0, 1, 2]
        return running, client

    return start


def test_a_fresh_slice_gets_its_own_mask_from_the_whole_stack(session, pixels) -> None:
    running, client = session(pixels)
    client.image(pixels(7), slice=1, repetition=4)
    mask = client.receive()
    client.close()

    assert (mask.slice, mask.repetition) == (1, 4)
    np.testing.assert_array_equal(mask.pixels_YX, np.where(pixels(7) > 500, 3, 0))
    assert not [message for message in client.rest() if not isinstance(message, str)]
    first, second = (frame.image.T for frame in running.runners[0].frames)
    np.testing.assert_array_equal(first, [pixels(0), pixels(1), pixels(2)])
    np.testing.assert_array_equal(second, [pixels(0), pixels(7), pixels(2)])


def test_the_age_of_every_slice_travels_along(session, pixels) -> None:
    running, client = session(pixels)
    client.image(pixels(7), slice=1)
    mask = client.receive()

    _, frame, answer = running.seen[-1]
    assert len(answer.slice_age_ms) == 3
    assert answer.slice_age_ms[0] > answer.slice_age_ms[2] > answer.slice_age_ms[1] > 0
    assert frame.arrived_ns == frame.slice_arrived_ns[1]
    assert float(mask.meta["CineRT_slice_age_ms"]) == pytest.approx(answer.slice_age_ms[1], abs=1e-3)
    assert float(mask.meta["CineRT_oldest_slice_ms"]) == pytest.approx(answer.slice_age_ms[0], abs=1e-3)


def test_the_stack_is_stale_to_viewers_and_the_fresh_slice_live_to_its_client(session, pixels) -> None:
    running, client = session(pixels, stale_ms=1e-6)
    client.image(pixels(7), slice=1)
    mask = client.receive()

    assert mask.meta["CineRT_state"] == "live"
    place, _, answer = running.seen[-1]
    assert (place, answer.state) == (1, "stale")
    assert answer.reason.startswith("3 of 3 slices are older than 1e-06 ms, the oldest is 0.")
    assert answer.mask.shape[2] == 3


def test_a_frame_that_waits_is_not_changed_by_the_next_slice(session, pixels) -> None:
    running, client = session(pixels)
    runner = running.runners[0]
    runner.go.clear()
    for seed in (5, 6):
        client.image(pixels(seed), slice=0)
    running.wait_for(lambda: len(running.arrived) == 3)
    runner.go.set()

    assert [client.receive().slice for _ in range(2)] == [0, 0]
    np.testing.assert_array_equal([frame.image.T[0] for frame in runner.frames], [pixels(0), pixels(5), pixels(6)])


def test_two_fresh_slices_are_answered_together(session, pixels, declared) -> None:
    running, client = session(pixels, fresh_slices=2)
    for number, seed in ((2, 7), (2, 8), (0, 9), (1, 3)):
        client.image(pixels(seed), slice=number, phase=seed)
    client.close()
    messages = client.rest()

    masks = [message for message in messages if not isinstance(message, str)]
    assert [(mask.slice, mask.phase) for mask in masks] == [(0, 9), (2, 8)]
    np.testing.assert_array_equal(masks[1].pixels_YX, np.where(pixels(8) > 500, 3, 0))
    again, last = declared(messages)
    assert (again["slices"], again["phase"]) == ([2], 7)
    assert "came again" in again["reason"]
    assert (last["slices"], last["phase"]) == ([1], 3)
    assert "1 of 2 fresh slices came: the client sent no more" in last["reason"]
    assert len(running.runners[0].frames) == 2


def test_a_slice_that_was_overtaken_names_itself(session, pixels) -> None:
    running, client = session(pixels, queue=1)
    runner = running.runners[0]
    runner.go.clear()
    client.image(pixels(5), slice=0)
    running.wait_for(lambda: len(runner.frames) == 2)
    for number in (1, 2):
        client.image(pixels(6), slice=number)
    running.wait_for(lambda: len(running.arrived) == 4)
    runner.go.set()

    messages = [client.receive() for _ in range(3)]

    drop = json.loads(messages[1])
    assert (drop["state"], drop["slices"]) == ("dropped", [1])
    assert messages[2].slice == 2
    # Its pixels are in the stack all the same.
    np.testing.assert_array_equal(runner.frames[-1].image.T[1], pixels(6))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"slice": 3}, "slice 3, counted from 0, is not in the stack"),
        ({"slice": 1, "image_type": 2}, "image type 2"),
        ({"slice": 1, "read": (1.0, 1.0, 0.0)}, "not perpendicular"),
    ],
)
def test_a_slice_that_cannot_be_used_leaves_the_stack_as_it_was(session, pixels, changed, reason) -> None:
    running, client = session(pixels)
    client.image(pixels(7), **changed)
    drop = json.loads(client.receive())
    client.image(pixels(8), slice=0)

    assert (drop["state"], drop["slices"]) == ("dropped", [changed["slice"]])
    assert reason in drop["reason"]
    assert client.receive().slice == 0
    np.testing.assert_array_equal(running.runners[0].frames[-1].image.T[1], pixels(1))


@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, "pixels that are NaN or infinite"), (7.5, "float32 values, the stack holds uint16")],
)
def test_values_that_the_stack_cannot_hold(session, pixels, value: float, reason: str) -> None:
    _, client = session(pixels)
    client.image(np.full((6, 8), value, np.float32), slice=1)

    assert json.loads(client.receive())["reason"] == reason


def test_a_scan_that_is_planned_anew_begins_with_a_whole_stack(session, pixels, declared) -> None:
    running, client = session(pixels)
    for number in range(3):
        client.image(pixels(5), slice=number, repetition=1, position=(30.0, 0.0, 8.0 * number))
    masks = [client.receive() for _ in range(3)]
    client.image(pixels(6), slice=1, repetition=2, position=(30.0, 0.0, 8.0))

    assert [mask.slice for mask in masks] == [0, 1, 2]
    assert client.receive().slice == 1
    assert len(running.runners[0].frames) == 3
    assert running.runners[0].frames[-1].geometry.affine[0, 3] == pytest.approx(
        running.runners[0].frames[0].geometry.affine[0, 3] - 30
    )


def test_more_fresh_slices_than_the_stack_has_are_refused(serve) -> None:
    client = serve(fresh_slices=4).connect()
    client.start(3)

    assert "a stack of 3 slices, and this server answers 4 fresh ones" in client.rest()[0]
