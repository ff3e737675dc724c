"""Clients that are broken, slow or mean: their session ends with a reason, and the others are served."""

import json
import re
import socket
import struct
import time

import numpy as np
import pytest


class TestOrder:
    @pytest.mark.parametrize("name", ["", "simplefft", "os", "../../etc/passwd", "cinert.doctor", "ü" * 500])
    def test_a_configuration_that_is_not_in_the_list(self, serve, pixels, name: str) -> None:
        running = serve()
        client = running.connect()
        client.config(name)

        assert "not served here; known: cinert, openrecon" in client.refusal()
        running.assert_still_serving(pixels)

    def test_config_text_is_a_name_or_refused(self, serve, pixels) -> None:
        running = serve()
        good, bad = running.connect(), running.connect()
        good.text("cinert", 2)
        good.header(1)
        good.image(pixels())
        good.close()
        bad.text("<configuration><reader/></configuration>", 2)

        assert len(good.rest()) == 1
        assert "config text" in bad.refusal()

    def test_parameters_that_ask_for_another_configuration(self, serve) -> None:
        client = serve().connect()
        client.start(1)
        client.text(json.dumps({"parameters": {"config": "invertcontrast"}}))

        assert "'invertcontrast' is not served here" in client.refusal()

    def test_an_image_before_the_configuration(self, serve, pixels) -> None:
        client = serve().connect()
        client.image(pixels())

        assert "the first message is an image" in client.refusal()

    def test_an_image_before_the_header(self, serve, pixels) -> None:
        client = serve().connect()
        client.config()
        client.image(pixels())

        assert "the second message is an image" in client.refusal()

    def test_a_second_header(self, serve, pixels) -> None:
        client = serve().connect()
        client.start(1)
        client.header(2)

        assert "an XML header came again" in client.refusal()

    @pytest.mark.parametrize("number", [0, 6, 1008, 1030, 65535])
    def test_a_message_that_is_not_served(self, serve, number: int) -> None:
        client = serve().connect()
        client.start(1)
        client.send(struct.pack("<H", number))

        assert f"message {number} (" in client.refusal()

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

        assert reason in client.refusal()

    @pytest.mark.parametrize(("last", "reason"), [(-1, "slices 0 to -1"), (999, "1000 slices in a frame; 16 are")])
    def test_of_impossible_slices(self, serve, last: int, reason: str) -> None:
        client = serve().connect()
        client.config()
        client.header(last + 1)

        assert reason in client.refusal()

    def test_without_slices_needs_the_servers_word(self, serve, pixels, header) -> None:
        silent, told = serve().connect(), serve(slices=1).connect()
        for client in (silent, told):
            client.config()
            client.text(re.sub("<slice>.*</slice>", "", header), 3)
        told.image(pixels())
        told.close()

        assert "--slices" in silent.refusal()
        assert len(told.rest()) == 1


class TestTime:
    def test_a_client_that_says_nothing(self, serve) -> None:
        client = serve(stall_s=0.05).connect()

        assert "no message for 0.05 s" in client.refusal()

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
        running.assert_still_serving(pixels)

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
        running.assert_still_serving(pixels)

    def test_in_the_middle_of_a_frame(self, serve, pixels) -> None:
        running = serve()
        client = running.connect()
        client.start(3)
        client.image(pixels(), slice=0)
        client.socket.close()

        running.wait_for_line("lost: ", "1 images, 0 frames")
        running.assert_still_serving(pixels)


class TestSideBySide:
    def test_a_client_that_stands_still_blocks_nobody(self, serve, make_image, pixels) -> None:
        running = serve()
        half, silent = running.connect(), running.connect()
        half.start(1)
        half.send(make_image(pixels())[:100])

        running.assert_still_serving(pixels)
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

        assert "every place is taken" in second.refusal()
        first.socket.close()
        running.wait_for_line("client 1", "lost")
        running.assert_still_serving(pixels)
