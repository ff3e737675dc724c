"""Clients that are broken, slow or mean: their session ends with a reason, and the others are served."""

import dataclasses
import json
import re
import socket
import struct
import threading
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bedside.mrd.messages import Text
from bedside.mrd.wire import MessageReader


def refusal(client) -> str:
    """The last words of the server."""
    *_, words = client.rest()
    assert words.startswith("refused: "), words
    return words


def assert_still_serving(running, pixels) -> None:
    client = running.connect()
    client.start(1)
    client.image(pixels())
    client.close()
    assert len(client.rest()) == 1


class TestOrder:
    @pytest.mark.parametrize("name", ["", "simplefft", "os", "../../etc/passwd", "cinert.doctor", "ü" * 500])
    def test_a_configuration_that_is_not_in_the_list(self, serve, pixels, name: str) -> None:
        running = serve()
        client = running.connect()
        client.config(name)

        assert "not served here; known: cinert, openrecon" in refusal(client)
        assert_still_serving(running, pixels)

    def test_config_text_is_a_name_or_refused(self, serve, pixels) -> None:
        running = serve()
        good, bad = running.connect(), running.connect()
        good.text("cinert", 2)
        good.header(1)
        good.image(pixels())
        good.close()
        bad.text("<configuration><reader/></configuration>", 2)

        assert len(good.rest()) == 1
        assert "config text" in refusal(bad)

    def test_parameters_that_ask_for_another_configuration(self, serve) -> None:
        client = serve().connect()
        client.start(1)
        client.text(json.dumps({"parameters": {"config": "invertcontrast"}}))

        assert "'invertcontrast' is not served here" in refusal(client)

    def test_an_image_before_the_configuration(self, serve, pixels) -> None:
        client = serve().connect()
        client.image(pixels())

        assert "the first message is an image" in refusal(client)

    def test_an_image_before_the_header(self, serve, pixels) -> None:
        client = serve().connect()
        client.config()
        client.image(pixels())

        assert "the second message is an image" in refusal(client)

    def test_a_second_header(self, serve, pixels) -> None:
        client = serve().connect()
        client.start(1)
        client.header(2)

        assert "an XML header came again" in refusal(client)

    def test_nothing_but_close(self, serve) -> None:
        running = serve()
        client = running.connect()
        client.close()

        assert client.rest() == []
        assert "0 images" in running.wait_for_line("the client closed")


class TestHeader:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("not xml", "cannot be read"),
            ("<a/>", "cannot be read"),
            ("", "cannot be read"),
            ('<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>', "declares a document type"),
        ],
    )
    def test_that_is_no_header(self, serve, text: str, reason: str) -> None:
        client = serve().connect()
        client.config()
        client.text(text, 3)

        assert reason in refusal(client)

    @pytest.mark.parametrize(("last", "reason"), [(-1, "slices 0 to -1"), (999, "1000 slices in a frame; 16 are")])
    def test_of_impossible_slices(self, serve, last: int, reason: str) -> None:
        client = serve().connect()
        client.config()
        client.header(last + 1)

        assert reason in refusal(client)

    def test_without_slices_needs_the_servers_word(self, serve, pixels, header) -> None:
        silent, told = serve().connect(), serve(slices=1).connect()
        for client in (silent, told):
            client.config()
            client.text(re.sub("<slice>.*</slice>", "", header), 3)
        told.image(pixels())
        told.close()

        assert "--slices" in refusal(silent)
        assert len(told.rest()) == 1


class TestSizes:
    @pytest.mark.parametrize("number", [2, 3, 5])
    def test_a_text_that_claims_4_gib(self, serve, number: int) -> None:
        client = serve().connect()
        if number != 2:
            client.config()
        if number == 5:
            client.header(1)
        client.send(struct.pack("<HI", number, 2**32 - 1))

        assert "has 4294967295 bytes; 65536 are allowed" in refusal(client)

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"matrix": (65535, 65535, 65535)}, "65535 x 65535 x 65535 pixels"),
            ({"matrix": (8, 6, 1), "channels": 65535}, "65535 channels"),
            ({"matrix": (0, 6, 1)}, "has 0 bytes"),
            ({"channels": 0}, "has 0 bytes"),
            ({"data_type": 4}, "data type 4 cannot be read"),
            ({"data_type": 99}, "data type 99 cannot be read"),
        ],
    )
    def test_an_image_that_claims_what_it_must_not(self, serve, make_image, pixels, changed, reason: str) -> None:
        client = serve().connect()
        client.start(1)
        client.send(make_image(pixels(), **changed))

        assert reason in refusal(client)

    def test_attributes_that_claim_18_exabytes(self, serve, make_image, pixels) -> None:
        client = serve().connect()
        client.start(1)
        data = bytearray(make_image(pixels()))
        data[200:208] = b"\xff" * 8
        client.send(bytes(data))

        assert "the attribute text of an image has 18446744073709551615 bytes" in refusal(client)

    @pytest.mark.parametrize(
        ("attributes", "reason"),
        [
            (b"<a>", "an image cannot be read"),
            (b"<a/>", "an image cannot be read"),
            (b"\xff\xfe", "the attribute text of an image is not UTF-8"),
            (b"<!DOCTYPE a><ismrmrdMeta/>", "declares a document type"),
        ],
    )
    def test_attributes_that_are_none(self, serve, make_image, pixels, attributes: bytes, reason: str) -> None:
        client = serve().connect()
        client.start(1)
        client.send(make_image(pixels(), attributes=attributes))

        assert reason in refusal(client)

    def test_what_is_claimed_and_never_sent_takes_no_memory(self, serve) -> None:
        running = serve(max_text_bytes=2**28)
        client = running.connect()
        client.config()
        tracemalloc.start()
        try:
            client.send(struct.pack("<HI", 3, 2**28) + b"<ismrmrdHeader>")
            client.socket.shutdown(socket.SHUT_WR)
            running.wait_for_line("client 1", "lost")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert peak < 2**23

    @pytest.mark.parametrize("size", [2**20 - 1, 2**20, 2**20 + 1, 5 * 2**20 + 3])
    def test_a_long_message_is_read_whole(self, limits, size: int) -> None:
        theirs, ours = socket.socketpair()
        words = ("cine" * (size // 4 + 1))[:size]
        data = struct.pack("<HI", 5, size) + words.encode()
        sender = threading.Thread(target=theirs.sendall, args=(data,))
        with theirs, ours:
            sender.start()
            message = MessageReader(ours, dataclasses.replace(limits, max_text_bytes=2**23)).read()
            sender.join()

        assert message == Text(words)

    def test_a_waveform_that_claims_17_gib(self, serve) -> None:
        client = serve().connect()
        client.start(1)
        client.waveform_head(channels=65535, samples=65535)

        assert "a waveform has 17179344900 bytes" in refusal(client)

    @pytest.mark.parametrize("number", [0, 6, 1008, 1030, 65535])
    def test_a_message_that_is_not_served(self, serve, number: int) -> None:
        client = serve().connect()
        client.start(1)
        client.send(struct.pack("<H", number))

        assert f"message {number} (" in refusal(client)

    def test_slices_that_are_never_completed_are_given_up(self, serve, make_image, pixels, declared) -> None:
        client = serve(max_held_bytes=5 * 96).connect()
        client.start(2)
        for repetition in range(8):
            client.image(pixels(), slice=0, repetition=repetition)
        client.close()

        drops = declared(client.rest())

        assert [drop["repetition"] for drop in drops] == list(range(8))
        assert ["too many frames wait" in drop["reason"] for drop in drops] == [True] * 3 + [False] * 5


class TestTime:
    def test_a_client_that_says_nothing(self, serve) -> None:
        client = serve(stall_s=0.05).connect()

        assert "no message for 0.05 s" in refusal(client)

    def test_a_client_that_falls_silent(self, serve, pixels) -> None:
        client = serve(idle_s=0.1).connect()
        with client.at_once():
            client.start(1)
            client.image(pixels())

        mask, words = client.rest()

        assert mask.slice == 0
        assert words == "refused: no message for 0.1 s"

    def test_a_client_that_drips(self, serve) -> None:
        """A byte now and then keeps a message open, but not for ever."""
        client = serve(stall_s=0.2).connect()
        with pytest.raises(OSError, match=r"."):  # noqa: PT012 - whichever send finds the connection closed
            for _ in range(500):
                client.send(b"\1")
                time.sleep(0.02)

    def test_a_client_that_takes_no_answers(self, serve, pixels) -> None:
        running = serve(stall_s=1.0, queue=1000, max_images_per_s=1e9)
        client = running.connect()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with client.at_once():
            client.start(1)
        big = np.ones((256, 256), np.uint16)
        try:
            for repetition in range(500):
                client.image(big, repetition=repetition)
        except OSError:
            pass

        running.wait_for_line("the peer took no data for 1 s")
        assert_still_serving(running, pixels)

    def test_a_client_that_sends_too_fast_is_read_no_faster(self, serve, pixels) -> None:
        client = serve(max_images_per_s=20, queue=99).connect()
        client.start(1)
        begin = time.monotonic()
        for repetition in range(30):
            client.image(pixels(), repetition=repetition)
        client.close()

        assert len(client.rest()) == 30
        # 20 at once, the rest at 20 a second: a lower bound, which no load can break.
        assert time.monotonic() - begin >= 0.45


class TestDisconnects:
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.99])
    def test_in_the_middle_of_an_image(self, serve, make_image, pixels, share: float) -> None:
        running = serve()
        client = running.connect()
        client.start(2)
        data = make_image(pixels())
        client.send(data[: int(share * len(data))])
        client.socket.close()

        line = running.wait_for_line("lost: ")

        assert ("in the middle of a message" in line) == (share > 0)
        assert_still_serving(running, pixels)

    def test_in_the_middle_of_a_frame(self, serve, pixels) -> None:
        running = serve()
        client = running.connect()
        client.start(3)
        client.image(pixels(), slice=0)
        client.socket.close()

        running.wait_for_line("lost: ", "1 images, 0 frames")
        assert_still_serving(running, pixels)


class TestSideBySide:
    def test_a_client_that_stands_still_blocks_nobody(self, serve, make_image, pixels) -> None:
        running = serve()
        half, silent = running.connect(), running.connect()
        half.start(1)
        half.send(make_image(pixels())[:100])

        assert_still_serving(running, pixels)
        assert silent.socket.fileno() > 0

    def test_clients_have_frames_of_their_own(self, serve, pixels) -> None:
        running = serve()
        one, other = running.connect(), running.connect()
        for client in (one, other):
            client.start(2)
        one.image(pixels(1), slice=0)
        other.image(pixels(2), slice=0)
        one.image(pixels(3), slice=1)
        other.image(pixels(4), slice=1)
        for client in (one, other):
            client.close()

        for client, seeds in ((one, (1, 3)), (other, (2, 4))):
            masks = client.rest()
            for mask, seed in zip(masks, seeds, strict=True):
                np.testing.assert_array_equal(mask.pixels_YX > 0, pixels(seed) > 500)
        assert len(running.runners) == 2

    def test_one_too_many_is_told_so(self, serve, pixels) -> None:
        running = serve(max_clients=1)
        first = running.connect()
        first.config()
        running.wait_for_line("client 1", "connected")
        second = running.connect()

        assert "every place is taken" in refusal(second)
        first.socket.close()
        running.wait_for_line("client 1", "lost")
        assert_still_serving(running, pixels)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_spoiled_stream_ends_and_the_server_goes_on(fuzzed, data) -> None:
    """A whole session with bytes changed, cut out or put in: an answer or a refusal, and no thread that dies."""
    running, stream = fuzzed
    spoiled = bytearray(stream)
    for _ in range(data.draw(st.integers(1, 4))):
        # Mostly where lengths and fields are: behind the 1026 bytes of the configuration.
        place = data.draw(st.one_of(st.integers(0, len(spoiled)), st.integers(1026, min(len(spoiled), 2500))))
        cut = data.draw(st.integers(0, 8))
        spoiled[place : place + cut] = data.draw(st.binary(max_size=8))
    client = running.connect()
    try:
        client.send(bytes(spoiled))
        client.socket.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    client.rest()
    client.socket.close()


@pytest.fixture
def fuzzed(serve, make_image, pixels, monkeypatch):
    """A server, and the bytes of a good session; at the end nothing is left of the spoiled ones."""
    died = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    running = serve(max_clients=8)
    recorder = running.connect()
    parts = []
    recorder.send = parts.append
    recorder.start(2)
    recorder.text('{"parameters": {"config": "cinert"}}')
    attributes = b"<ismrmrdMeta><meta><name>ImageRowDir</name><value>1</value></meta></ismrmrdMeta>"
    for repetition in range(2):
        for number in range(2):
            recorder.image(pixels(number), slice=number, repetition=repetition, attributes=attributes)
    recorder.close()
    recorder.socket.close()

    yield running, b"".join(parts)

    assert_still_serving(running, pixels)
    assert not died, died
    assert not [line for line in running.lines if "an error of the server" in line]
