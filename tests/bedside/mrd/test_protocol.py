"""What a client sees that was written from the specification alone: order, one answer per frame, geometry, names."""

import json
import threading
import time

import numpy as np
import pytest

SERIES, ATTRIBUTE_LENGTH = 38, 55
"""Places in the image header."""


def send_frame(client, pixels, slices, **named) -> None:
    for number in range(slices):
        client.image(pixels(number), slice=number, **named)


def test_a_frame_gets_a_mask_for_each_slice_in_a_new_series(serve, pixels) -> None:
    client = serve().connect()
    client.start(3)
    send_frame(client, pixels, 3, phase=4, repetition=2)
    client.close()

    masks = client.rest()

    assert [mask.slice for mask in masks] == [0, 1, 2]
    for mask in masks:
        np.testing.assert_array_equal(mask.pixels_YX, np.where(pixels(mask.slice) > 500, 3, 0))
        assert (mask.phase, mask.repetition) == (4, 2)
        assert mask.series == 1003
        assert mask.meta["CineRT_classes"] == ["0 background", "1 RV", "2 MYO", "3 LV"]
        assert mask.meta["CineRT_state"] == "live"
        assert mask.meta["CineRT_bundle"] == "b" * 64
        assert mask.meta["Keep_image_geometry"] == "1"


def test_the_header_of_the_slice_is_kept_bit_for_bit(serve, pixels, make_image) -> None:
    client = serve().connect()
    client.start(1)
    turned = {"read": (0.0, 0.6, 0.8), "phase_dir": (1.0, 0.0, 0.0), "position": (-3.5, 11.25, 40.0)}
    client.image(pixels(), **turned)
    client.close()

    (mask,) = client.rest()

    sent = list(client.head.unpack(make_image(pixels(), **turned)[2:200]))
    received = list(mask.fields)
    sent[SERIES], sent[ATTRIBUTE_LENGTH] = 1003, received[ATTRIBUTE_LENGTH]
    assert received == sent


def test_what_the_client_said_about_the_image_stays(serve, pixels) -> None:
    client = serve().connect()
    client.start(1)
    attributes = (
        "<ismrmrdMeta><meta><name>ImageRowDir</name><value>1</value><value>0</value><value>0</value></meta>"
        "<meta><name>Empty</name><value></value></meta>"
        "<meta><name>SOPInstanceUID</name><value>1.2.3</value></meta></ismrmrdMeta>"
    )
    client.image(pixels(), attributes=attributes.encode())
    client.close()

    (mask,) = client.rest()

    assert mask.meta["ImageRowDir"] == ["1", "0", "0"]
    assert mask.meta.get("Empty", []) in ([], "")
    assert "SOPInstanceUID" not in mask.meta


@pytest.mark.parametrize("order", ["slice by slice of a moment", "all phases of a slice first"])
def test_frames_are_gathered_in_either_order(serve, pixels, order: str) -> None:
    running = serve(queue=4)
    client = running.connect()
    client.start(3)
    images = [(number, phase) for phase in range(4) for number in range(3)]
    if order == "all phases of a slice first":
        images.sort()
    for number, phase in images:
        client.image(pixels(10 * phase + number), slice=number, phase=phase)
    client.close()

    masks = client.rest()

    assert [(mask.slice, mask.phase) for mask in masks] == [
        (number, phase) for phase in range(4) for number in range(3)
    ]
    for mask in masks:
        np.testing.assert_array_equal(mask.pixels_YX > 0, pixels(10 * mask.phase + mask.slice) > 500)


def test_parameters_and_waveforms_and_words_are_taken(serve, pixels) -> None:
    client = serve().connect()
    client.config("openrecon")
    client.header(1)
    client.text(json.dumps({"version": "1.1.0", "parameters": {"config": "cinert", "colour": "red"}}))
    client.waveform(channels=2, samples=5)
    client.image(pixels())
    client.text("the patient moved")
    client.close()

    unused, mask = client.rest()

    assert "'colour'" in unused
    assert mask.slice == 0


def test_220_frames_at_22_fps_get_220_answers(serve, pixels) -> None:
    """The pace of an intervention; whether in time is measured elsewhere."""
    client = serve().connect()
    client.start(3)
    messages = []
    receiver = threading.Thread(target=lambda: messages.extend(client.rest()))
    receiver.start()
    begin = time.monotonic()
    for number in range(220):
        time.sleep(max(0.0, begin + number / 22 - time.monotonic()))
        send_frame(client, pixels, 3, phase=number % 20, repetition=number // 20)
    client.close()
    receiver.join(60)

    masks = [(message.repetition, message.phase) for message in messages if not isinstance(message, str)]
    dropped = [(each["repetition"], each["phase"]) for each in map(json.loads, filter(is_text, messages))]
    assert sorted(masks[::3] + dropped) == [divmod(number, 20) for number in range(220)]
    assert masks[::3] == masks[1::3] == masks[2::3]


def is_text(message) -> bool:
    return isinstance(message, str)


class TestFreshestFirst:
    def test_a_busy_engine_serves_the_newest_and_declares_the_rest(self, serve, pixels, declared) -> None:
        running = serve()
        client = running.connect()
        client.start(1)
        client.image(pixels(), repetition=0)
        running.wait_for(lambda: running.runners and running.runners[0].frames)
        running.runners[0].go.clear()
        client.image(pixels(), repetition=1)
        running.wait_for(lambda: len(running.runners[0].frames) == 2)
        for repetition in (2, 3, 4):
            client.image(pixels(), repetition=repetition)
        client.close()
        running.wait_for(lambda: len(running.arrived) == 5)
        running.runners[0].go.set()

        messages = client.rest()

        assert [message.repetition for message in messages if not is_text(message)] == [0, 1, 4]
        drops = declared(messages)
        assert [drop["repetition"] for drop in drops] == [2, 3]
        assert all(drop["state"] == "dropped" and "newer frame" in drop["reason"] for drop in drops)
        line = running.wait_for_line("3 live", "2 dropped")
        assert "5 images, 5 frames" in line

    def test_a_gated_cine_keeps_every_frame_with_a_longer_queue(self, serve, pixels, declared) -> None:
        running = serve(queue=5)
        client = running.connect()
        client.start(1)
        for phase in range(5):
            client.image(pixels(), phase=phase)
        client.close()

        messages = client.rest()

        assert [message.phase for message in messages] == [0, 1, 2, 3, 4]


class TestWithoutAMask:
    """A frame that cannot be segmented is declared once, and the session goes on."""

    def answers(self, serve, declared, *images, slices=1):
        client = serve(queue=9).connect()
        client.start(slices)
        for data in images:
            client.send(data)
        client.close()
        messages = client.rest()
        return declared(messages), [message for message in messages if not is_text(message)]

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"image_type": 2}, "image type 2"),
            ({"slice": 1}, "slice 1, counted from 0, of 1"),
            ({"field_mm": (0.0, 18.0, 8.0)}, "voxels of 0 x 3 x 8 mm"),
            ({"field_mm": (16.0, 18.0, float("nan"))}, "field of view"),
            ({"position": (float("inf"), 0.0, 0.0)}, "position"),
            ({"read": (1.0, 1.0, 0.0)}, "not perpendicular unit vectors"),
            (
                {"attributes": b"<ismrmrdMeta><meta><name>ImageRowDir</name><value>x</value></meta></ismrmrdMeta>"},
                "ImageRowDir",
            ),
        ],
    )
    def test_an_image_that_says_nothing_usable(self, serve, declared, pixels, make_image, changed, reason) -> None:
        drops, masks = self.answers(
            serve, declared, make_image(pixels(), phase=1, **changed), make_image(pixels(), phase=2)
        )

        assert [drop["phase"] for drop in drops] == [1]
        assert reason in drops[0]["reason"]
        assert [mask.phase for mask in masks] == [2]

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_pixels_that_are_no_numbers(self, serve, declared, make_image, value: float) -> None:
        image = np.ones((6, 8), np.float32)
        image[3, 4] = value

        drops, masks = self.answers(serve, declared, make_image(image))

        assert "NaN or infinite" in drops[0]["reason"]
        assert not masks

    def test_coil_images(self, serve, declared, make_image) -> None:
        stacked = np.ones((12, 8), np.float32)

        drops, _ = self.answers(serve, declared, make_image(stacked, channels=2, matrix=(8, 6, 1)))

        assert "2 channels" in drops[0]["reason"]

    def test_another_matrix_in_the_middle_of_a_frame(self, serve, declared, pixels, make_image) -> None:
        other = np.ones((6, 10), np.uint16)

        drops, masks = self.answers(
            serve,
            declared,
            make_image(pixels(), slice=0, phase=1),
            make_image(other, slice=1, phase=1),
            make_image(pixels(), slice=2, phase=1),
            *(make_image(pixels(), slice=number, phase=2) for number in range(3)),
            slices=3,
        )

        assert [drop["phase"] for drop in drops] == [1]
        assert "8 x 6 x 1 and of 10 x 6 x 1" in drops[0]["reason"]
        assert [mask.phase for mask in masks] == [2, 2, 2]

    def test_another_matrix_from_frame_to_frame_is_served(self, serve, declared, pixels, make_image) -> None:
        drops, masks = self.answers(
            serve, declared, make_image(pixels(), phase=1), make_image(np.ones((9, 5), np.uint16), phase=2)
        )

        assert not drops
        assert [mask.pixels_YX.shape for mask in masks] == [(6, 8), (9, 5)]

    def test_slices_that_never_came(self, serve, declared, pixels, make_image) -> None:
        drops, masks = self.answers(serve, declared, make_image(pixels(), slice=0), slices=3)

        assert not masks
        assert "1 of 3 slices came" in drops[0]["reason"]

    def test_an_engine_that_fails_and_recovers(self, serve, pixels, declared) -> None:
        running = serve()
        client = running.connect()
        client.start(1)
        client.image(pixels(), phase=1)
        running.wait_for(lambda: running.runners and running.runners[0].frames)
        running.runners[0].failure = RuntimeError("out of memory")
        first = client.receive()
        client.image(pixels(), phase=2)
        second = json.loads(client.receive())
        running.runners[0].failure = None
        client.image(pixels(), phase=3)
        third = client.receive()

        assert (first.phase, third.phase) == (1, 3)
        assert (second["state"], second["phase"], second["reason"]) == ("failed", 2, "out of memory")
