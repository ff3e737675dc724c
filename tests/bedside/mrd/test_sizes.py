"""Lengths that a client announces: refused beyond the limits, and no memory for what never comes."""

import dataclasses
import socket
import struct
import threading
import tracemalloc

import pytest

from bedside.mrd.messages import Text
from bedside.mrd.wire import MessageReader


@pytest.mark.parametrize("number", [2, 3, 5])
def test_a_text_that_claims_4_gib(serve, number: int) -> None:
    client = serve().connect()
    if number != 2:
        client.config()
    if number == 5:
        client.header(1)
    client.send(struct.pack("<HI", number, 2**32 - 1))

    assert "has 4294967295 bytes; 65536 are allowed" in client.refusal()


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
def test_an_image_that_claims_what_it_must_not(serve, make_image, pixels, changed, reason: str) -> None:
    client = serve().connect()
    client.start(1)
    client.send(make_image(pixels(), **changed))

    assert reason in client.refusal()


def test_attributes_that_claim_18_exabytes(serve, make_image, pixels) -> None:
    client = serve().connect()
    client.start(1)
    data = bytearray(make_image(pixels()))
    data[200:208] = b"\xff" * 8
    client.send(bytes(data))

    assert "the attribute text of an image has 18446744073709551615 bytes" in client.refusal()


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        (b"<a>", "an image cannot be read"),
        (b"<a/>", "an image cannot be read"),
        (b"\xff\xfe", "the attribute text of an image is not UTF-8"),
        (b"<!DOCTYPE a><ismrmrdMeta/>", "declares a document type"),
    ],
)
def test_attributes_that_are_none(serve, make_image, pixels, attributes: bytes, reason: str) -> None:
    client = serve().connect()
    client.start(1)
    client.send(make_image(pixels(), attributes=attributes))

    assert reason in client.refusal()


def test_what_is_claimed_and_never_sent_takes_no_memory(serve) -> None:
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
def test_a_long_message_is_read_whole(limits, size: int) -> None:
    theirs, ours = socket.socketpair()
    words = ("cine" * (size // 4 + 1))[:size]
    data = struct.pack("<HI", 5, size) + words.encode()
    sender = threading.Thread(target=theirs.sendall, args=(data,))
    with theirs, ours:
        sender.start()
        message = MessageReader(ours, dataclasses.replace(limits, max_text_bytes=2**23)).read()
        sender.join()

    assert message == Text(words)


def test_a_waveform_that_claims_17_gib(serve) -> None:
    client = serve().connect()
    client.start(1)
    client.waveform_head(channels=65535, samples=65535)

    assert "a waveform has 17179344900 bytes" in client.refusal()


def test_slices_that_are_never_completed_are_given_up(serve, make_image, pixels, declared) -> None:
    client = serve(max_held_bytes=5 * 96).connect()
    client.start(2)
    for repetition in range(8):
        client.image(pixels(), slice=0, repetition=repetition)
    client.close()

    drops = declared(client.rest())

    assert [drop["repetition"] for drop in drops] == list(range(8))
    assert ["too many frames wait" in drop["reason"] for drop in drops] == [True] * 3 + [False] * 5
